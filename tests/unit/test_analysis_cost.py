"""Multiply-accumulates, parameters and bytes against calculations by hand and published figures."""

from pathlib import Path

import pytest
from analysis_models import ModelBuilder, mobilenet_v1, schema

from edge_runtime.analysis.cost import Cost, costs
from edge_runtime.analysis.graph import Graph, read_graph


def only(graph: Graph) -> Cost:
    (cost,) = costs(graph)
    return cost


def test_a_convolution_counts_every_output_value_times_its_window() -> None:
    model = ModelBuilder()
    fed = model.tensor([1, 10, 12, 3])
    cost = only(model.build([fed], [model.conv(fed, 8, kernel=3, stride=2)]))
    assert cost.macs == 5 * 6 * 8 * 3 * 3 * 3
    assert cost.parameters == 8 * 3 * 3 * 3 + 8
    assert cost.weight_bytes == 8 * 27 + 4 * 8
    assert cost.read_bytes + cost.made_bytes == 10 * 12 * 3 + 5 * 6 * 8
    assert cost.elements == 5 * 6 * 8


def test_a_grouped_convolution_counts_the_channels_of_one_group() -> None:
    model = ModelBuilder()
    fed = model.tensor([1, 4, 4, 8])
    result = model.op(
        "CONV_2D", [fed, model.weights([16, 3, 3, 2]), model.weights([16], "int32")], [1, 4, 4, 16], _strides()
    )
    assert only(model.build([fed], [result])).macs == 4 * 4 * 16 * 3 * 3 * 2


def _strides() -> object:
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = 1
    return options


def test_a_depthwise_convolution_has_one_window_per_channel() -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([1, 7, 7, 6])
    cost = only(model.build([fed], [model.depthwise(fed, kernel=5, multiplier=2)]))
    assert cost.macs == 7 * 7 * 12 * 25
    assert cost.parameters == 25 * 12 + 12
    assert cost.weight_bytes == 4 * (25 * 12 + 12)


def test_a_fully_connected_layer_is_a_matrix_product() -> None:
    model = ModelBuilder()
    fed = model.tensor([1, 640])
    cost = only(model.build([fed], [model.fully_connected(fed, 128)]))
    assert (cost.macs, cost.parameters) == (640 * 128, 640 * 128 + 128)


def test_a_matrix_product_counts_every_row_of_its_batch() -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([2, 7, 64])
    options = schema.FullyConnectedOptionsT()
    result = model.op("FULLY_CONNECTED", [fed, model.weights([32, 64]), model.weights([32])], [2, 7, 32], options)
    cost = only(model.build([fed], [result]))
    assert (cost.macs, cost.parameters) == (2 * 7 * 64 * 32, 64 * 32 + 32)


def test_dilation_does_not_change_what_a_convolution_counts() -> None:
    model = ModelBuilder()
    fed = model.tensor([1, 20, 20, 4])
    wide, plain = ModelBuilder(), model.conv(fed, 6, kernel=3)
    other = wide.tensor([1, 20, 20, 4])
    dilated = wide.conv(other, 6, kernel=3, dilation=4)
    assert only(wide.build([other], [dilated])).macs == only(model.build([fed], [plain])).macs == 20 * 20 * 6 * 9 * 4


def test_a_one_dimensional_convolution_has_a_window_of_one_row() -> None:
    model = ModelBuilder()
    fed = model.tensor([1, 1, 128, 6])
    kernel = model.weights([16, 1, 9, 6])
    result = model.op("CONV_2D", [fed, kernel, model.weights([16], "int32")], [1, 1, 64, 16], _strides())
    assert only(model.build([fed], [result])).macs == 64 * 16 * 9 * 6


def test_an_unrolled_gru_counts_its_products_in_every_step_and_its_weights_once() -> None:
    steps, cells, features = 5, 12, 8
    model = ModelBuilder("float32")
    kernel, recurrent = model.weights([3 * cells, features]), model.weights([3 * cells, cells])
    options = schema.FullyConnectedOptionsT()
    fed = [model.tensor([1, features]) for _ in range(steps)]
    state = model.tensor([1, cells])
    inputs = [*fed, state]
    for step in range(steps):
        model.op("FULLY_CONNECTED", [fed[step], kernel, -1], [1, 3 * cells], options)
        gates = model.op("FULLY_CONNECTED", [state, recurrent, -1], [1, 3 * cells], options)
        state = model.op("STRIDED_SLICE", [gates, *(model.weights([2], "int32") for _ in range(3))], [1, cells])
    found = costs(model.build(inputs, [state]))
    assert sum(cost.macs for cost in found) == steps * 3 * cells * (features + cells)
    assert sum(cost.parameters for cost in found) == 3 * cells * (features + cells)


@pytest.mark.parametrize(
    ("name", "directions"), [("UNIDIRECTIONAL_SEQUENCE_RNN", 1), ("BIDIRECTIONAL_SEQUENCE_RNN", 2)]
)
def test_a_recurrent_layer_counts_each_weight_once_per_step(name: str, directions: int) -> None:
    steps, cells, features = 9, 16, 10
    model = ModelBuilder("float32")
    fed, inputs = model.tensor([1, steps, features]), []
    for _ in range(directions):
        inputs += [model.weights([cells, features]), model.weights([cells, cells]), model.weights([cells])]
    cost = only(model.build([fed], [model.op(name, [fed, *inputs], [1, steps, directions * cells])]))
    assert cost.macs == directions * steps * cells * (features + cells)
    assert cost.parameters == directions * cells * (features + cells + 1)


def test_a_transposed_convolution_counts_every_input_value_times_its_window() -> None:
    model = ModelBuilder()
    fed = model.tensor([1, 5, 5, 4])
    cost = only(model.build([fed], [model.transpose_conv(fed, 6)]))
    assert cost.macs == 5 * 5 * 4 * 3 * 3 * 6
    assert cost.parameters == 6 * 3 * 3 * 4, "the output shape is an argument, not a parameter"


def test_a_three_dimensional_convolution_has_a_window_in_depth_too() -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([1, 4, 6, 6, 2])
    options = schema.Conv3DOptionsT()
    options.strideD = options.strideH = options.strideW = 1
    result = model.op("CONV_3D", [fed, model.weights([3, 3, 3, 2, 5])], [1, 4, 6, 6, 5], options)
    assert only(model.build([fed], [result])).macs == 4 * 6 * 6 * 5 * 27 * 2


@pytest.mark.parametrize(("transpose", "shape"), [(False, [2, 3, 7]), (True, [2, 7, 3])])
def test_a_batch_matmul_multiplies_along_the_inner_side(transpose: bool, shape: list[int]) -> None:
    model = ModelBuilder("float32")
    left, right = model.tensor(shape), model.tensor([2, 7, 5])
    options = schema.BatchMatMulOptionsT()
    options.adjX = transpose
    graph = model.build([left, right], [model.op("BATCH_MATMUL", [left, right], [2, 3, 5], options)])
    assert only(graph).macs == 2 * 3 * 5 * 7


def test_element_wise_operators_and_views_have_no_macs_and_views_move_nothing() -> None:
    model = ModelBuilder()
    fed = model.tensor([1, 4, 4, 2])
    total = model.op("ADD", [fed, model.weights([2])], [1, 4, 4, 2], schema.AddOptionsT())
    flat = model.op("RESHAPE", [total, model.weights([2], "int32")], [1, 32])
    adding, reshaping = costs(model.build([fed], [flat]))
    assert (adding.macs, adding.elements, adding.parameters) == (0, 32, 2)
    assert (reshaping.macs, reshaping.parameters, reshaping.bytes_moved) == (0, 0, reshaping.weight_bytes)


def test_weights_that_two_operators_share_are_counted_once() -> None:
    model = ModelBuilder()
    fed, shared, bias = model.tensor([1, 16]), model.weights([16, 16]), model.weights([16], "int32")
    options = schema.FullyConnectedOptionsT()
    first = model.op("FULLY_CONNECTED", [fed, shared, bias], [1, 16], options)
    graph = model.build([fed], [model.op("FULLY_CONNECTED", [first, shared, bias], [1, 16], options)])
    assert [cost.parameters for cost in costs(graph)] == [16 * 16 + 16, 0]
    assert [cost.macs for cost in costs(graph)] == [256, 256]


def test_mobilenet_v1_has_the_569_million_macs_and_4_24_million_parameters_of_its_paper() -> None:
    model = mobilenet_v1()
    found = costs(model.build([0], [len(model.graph.tensors) - 1]))
    assert sum(cost.macs for cost in found) == pytest.approx(569e6, rel=0.001)
    assert sum(cost.parameters for cost in found) == pytest.approx(4.24e6, rel=0.005)


@pytest.mark.parametrize(
    ("name", "mega_macs", "mega_parameters"),
    [
        # github.com/tensorflow/models, research/slim/nets/mobilenet_v1.md and mobilenet/README.md
        ("classify/mobilenet_v1_0.25_128_quant.tflite", 14, 0.47),
        ("classify/mobilenet_v1_0.25_224_quant.tflite", 41, 0.47),
        ("classify/mobilenet_v1_0.75_192_quant.tflite", 239, 2.59),
        ("classify/mobilenet_v2_1.0_224_quant.tflite", 300, 3.47),
    ],
)
def test_reference_models_have_their_published_figures(
    reference: Path, name: str, mega_macs: float, mega_parameters: float
) -> None:
    found = costs(read_graph(reference / "models" / name))
    assert sum(cost.macs for cost in found) / 1e6 == pytest.approx(mega_macs, abs=1.0)
    assert sum(cost.parameters for cost in found) / 1e6 == pytest.approx(mega_parameters, rel=0.01)


def test_an_lstm_counts_all_its_weights_once_per_step(reference: Path) -> None:
    graph = read_graph(reference / "models/digits/keras_lstm_mnist_ptq.tflite")
    steps, cells, features = 28, 20, 28
    (found,) = [
        cost.macs
        for node, cost in zip(graph.nodes, costs(graph), strict=True)
        if node.name == "UNIDIRECTIONAL_SEQUENCE_LSTM"
    ]
    assert found == steps * 4 * cells * (features + cells)


@pytest.mark.parametrize("weights", ["float32", "int8"])
@pytest.mark.parametrize(("coupled", "gates"), [(False, 4), (True, 3)])
def test_a_fused_lstm_does_its_gates_in_every_step(weights: str, coupled: bool, gates: int) -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([1, 20, 12])
    (cost,) = costs(model.build([fed], [model.lstm(fed, 32, weights=weights, coupled=coupled)]))
    assert cost.macs == 20 * gates * (32 * 12 + 32 * 32)
    assert cost.parameters == gates * (32 * 12 + 32 * 32 + 32)
    width = 4 if weights == "float32" else 1
    assert cost.weight_bytes == gates * (width * (32 * 12 + 32 * 32) + 4 * 32)


def test_of_what_is_picked_from_only_what_is_made_is_read() -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([64, 32])
    row = model.op("GATHER", [fed, model.weights([1], "int32")], [1, 32])
    (picking,) = costs(model.build([fed], [row]))
    assert (picking.read_bytes, picking.made_bytes) == (128, 128)
