"""The arena's plan, XNNPACK's share and the whole memory, against calculations by hand and real interpreters."""

import sys
from pathlib import Path
from typing import Any

import pytest
from analysis_models import ModelBuilder, mobilenet_v1, schema

from edge_runtime.analysis import arena
from edge_runtime.analysis.arena import plan_arena, plan_workspace
from edge_runtime.analysis.graph import read_graph
from edge_runtime.analysis.scratch import scratch
from edge_runtime.analysis.xnnpack import delegation
from edge_runtime.errors import ModelError

sys.path.append(str(Path(__file__).parents[2] / "scripts/benchmarks"))
from model_memory import row as measured_row

MODELS = [
    "audio/yamnet_audio_classifier_with_metadata",
    "classify/mobilenet_v1_0.25_128_quant",
    "classify/mobilenet_v1_0.75_192_quant",
    "classify/mobilenet_v2_1.0_224_quant",
    "detect/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29",
    "segment/deeplabv3_mnv2_dm05_pascal_quant",
    "pose/movenet_single_pose_lightning_ptq",
    "mlperf_tiny/pretrainedResnet",
    "mlperf_tiny/pretrainedResnet_quant",
    "mlperf_tiny/ad01_fp32",
    "digits/keras_lstm_mnist_ptq",
]


def chain(count: int, *, name: str = "LOGISTIC", size: int = 100) -> Any:
    model = ModelBuilder()
    fed = now = model.tensor([1, size])
    for _ in range(count):
        now = model.op(name, [now], [1, size])
    return model.build([fed], [now])


def test_a_chain_needs_its_input_and_two_tensors_at_a_time() -> None:
    plan = plan_arena(chain(4))
    # Each has 100 bytes at a multiple of 64; what follows the last is not padded.
    assert plan.size_bytes == 128 * 2 + 100
    assert plan.live_bytes == (200, 300, 300, 300)


def test_tensors_alive_together_never_overlap_and_lie_at_multiples_of_64() -> None:
    model = mobilenet_v1(size=64, width=0.25)
    plan = plan_arena(model.build([0], [len(model.graph.tensors) - 1]))
    for number, one in enumerate(plan.allocations):
        assert one.offset % 64 == 0
        for other in plan.allocations[:number]:
            apart_in_time = one.last < other.first or other.last < one.first
            apart_in_place = (
                one.offset + one.size_bytes <= other.offset or other.offset + other.size_bytes <= one.offset
            )
            assert apart_in_time or apart_in_place, (one, other)
    assert plan.size_bytes >= max(plan.live_bytes)


def test_a_reshape_shares_the_memory_of_its_input() -> None:
    model = ModelBuilder()
    fed = model.tensor([1, 8, 8])
    first = model.op("LOGISTIC", [fed], [1, 8, 8])
    flat = model.op("RESHAPE", [first, model.weights([2], "int32")], [1, 64])
    last = model.op("LOGISTIC", [flat], [1, 64])
    assert plan_arena(model.build([fed], [last])).size_bytes == 3 * 64


@pytest.mark.parametrize(("read_again", "tensors"), [(False, 3), (True, 5)])
def test_an_addition_overwrites_an_input_that_nobody_else_reads(read_again: bool, tensors: int) -> None:
    model = ModelBuilder()
    fed = model.tensor([1, 64])
    left, right = model.op("LOGISTIC", [fed], [1, 64]), model.op("TANH", [fed], [1, 64])
    total = model.op("ADD", [left, right], [1, 64], schema.AddOptionsT())
    last = model.op("CONCATENATION", [total, left, right] if read_again else [total], [1, 64])
    assert plan_arena(model.build([fed], [last])).size_bytes == tensors * 64


@pytest.mark.parametrize(("padding", "joined"), [("VALID", True), ("SAME", False)])
def test_xnnpack_never_writes_a_padding_that_belongs_to_a_convolution(padding: str, joined: bool) -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([1, 8, 8, 16])
    first = model.op("LOGISTIC", [fed], [1, 8, 8, 16])
    padded = model.op("PAD", [first, model.weights([4, 2], "int32")], [1, 10, 10, 16])
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    options.padding = getattr(schema.Padding, padding)
    seen = model.op("CONV_2D", [padded, model.weights([4, 3, 3, 16]), model.weights([4])], [1, 8, 8, 4], options)
    graph = model.build([fed], [model.op("LOGISTIC", [seen], [1, 8, 8, 4])])
    written, result = 4 * 10 * 10 * 16, 4 * 8 * 8 * 4
    source = 4 * 8 * 8 * 16
    expected = source + result if joined else written + max(source, result)
    assert plan_workspace(graph, delegation(graph)) == expected


@pytest.mark.parametrize(("read_again", "tensors"), [(False, 1), (True, 3)])
def test_xnnpack_needs_no_tensor_between_a_logistic_and_its_product_with_8_bits(read_again: bool, tensors: int) -> None:
    model = ModelBuilder("int8")
    fed = model.tensor([1, 8, 8, 16])
    first = model.op("TANH", [fed], [1, 8, 8, 16])
    gate = model.op("LOGISTIC", [first], [1, 8, 8, 16])
    product = model.op("MUL", [first, gate], [1, 8, 8, 16], schema.MulOptionsT())
    last = model.op("TANH", [product], [1, 8, 8, 16])
    again = [model.op("TANH", [gate], [1, 8, 8, 16])] if read_again else []
    graph = model.build([fed], [last, *again])
    assert plan_workspace(graph, delegation(graph)) == tensors * 8 * 8 * 16


@pytest.mark.parametrize(("read_again", "tensors"), [(False, 1), (True, 2)])
def test_xnnpack_writes_an_activation_over_what_nobody_else_reads(read_again: bool, tensors: int) -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([1, 8, 8, 16])
    first = model.op("ABS", [fed], [1, 8, 8, 16])
    second = model.op("HARD_SWISH", [first], [1, 8, 8, 16])
    outputs = [model.op("NEG", [second], [1, 8, 8, 16])]
    if read_again:
        outputs.append(model.op("NEG", [first], [1, 8, 8, 16]))
    graph = model.build([fed], outputs)
    assert plan_workspace(graph, delegation(graph)) == tensors * 4 * 8 * 8 * 16


def test_a_dynamic_range_product_quantises_its_input_before_its_result_is_written() -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([1, 64])
    now = model.op("ABS", [fed], [1, 64])
    for _ in range(2):
        options = schema.FullyConnectedOptionsT()
        now = model.op("FULLY_CONNECTED", [now, model.weights([64, 64], "int8"), model.weights([64])], [1, 64], options)
    graph = model.build([fed], [model.op("NEG", [now], [1, 64])])
    # The floats of one layer and its 8-bit copy, never those of two layers.
    assert plan_workspace(graph, delegation(graph)) == 4 * 64 + 64


def test_dynamic_range_transposed_convolutions_never_write_their_columns() -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([1, 4, 4, 8])
    graph = model.build([fed], [model.transpose_conv(fed, 16, weights="int8")])
    assert [part.name for part in scratch(graph, graph.nodes[0])] == ["transposed_weights"]


def test_transposed_convolutions_keep_their_columns_outside_the_arena() -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([1, 4, 4, 8])
    graph = model.build([fed], [model.transpose_conv(fed, 16)])
    parts = {part.name: part for part in scratch(graph, graph.nodes[0])}
    assert parts["col2im"].size_bytes == 4 * (4 * 4) * (3 * 3 * 16)
    assert parts["col2im"].persistent


@pytest.mark.parametrize(("coupled", "gates"), [(False, 4), (True, 3)])
def test_a_fused_lstm_wants_one_step_of_its_gates_and_keeps_its_states(coupled: bool, gates: int) -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([1, 20, 12])
    graph = model.build([fed], [model.lstm(fed, 32, coupled=coupled)])
    assert [(part.name, part.size_bytes) for part in scratch(graph, graph.nodes[0])] == [("gates", 4 * 32 * gates)]
    assert plan_arena(graph).persistent_bytes == 2 * 4 * 32


def test_a_dynamic_range_lstm_quantises_its_input_and_states() -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([1, 20, 12])
    graph = model.build([fed], [model.lstm(fed, 32, weights="int8")])
    sizes = {part.name: part.size_bytes for part in scratch(graph, graph.nodes[0])}
    assert sizes["input_quantized"] == 20 * 12
    assert (sizes["output_state_quantized"], sizes["cell_state_quantized"]) == (32, 32)
    assert sizes["accumulators"] == 4 * 32
    assert sizes["row_sums"] == 4 * 8 * 32


def test_im2col_is_wanted_by_windows_and_strides_and_not_by_pointwise_convolutions() -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([1, 8, 8, 3])
    window = model.conv(fed, 4, kernel=3, stride=2)
    graph = model.build([fed], [model.conv(window, 4)])
    (columns,) = scratch(graph, graph.nodes[0])
    assert columns.size_bytes == 4 * (4 * 4) * (3 * 3 * 3)
    assert scratch(graph, graph.nodes[1]) == ()


def test_columns_of_a_grouped_convolution_have_a_place_and_take_no_memory() -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([1, 8, 8, 32])
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    graph = model.build([fed], [model.op("CONV_2D", [fed, model.weights([64, 3, 3, 8])], [1, 8, 8, 64], options)])
    plan = plan_arena(graph)
    columns = 4 * 8 * 8 * 3 * 3 * 8
    assert plan.size_bytes == 4 * 8 * 8 * (32 + 64) + columns
    assert plan.untouched_bytes == columns


def test_a_graph_made_to_keep_the_planner_busy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena, "MOST_PAIRS", 100)
    with pytest.raises(ModelError, match="20 tensors to find a place for; up to 10 are planned"):
        plan_arena(chain(20))


def test_a_long_unrolled_network_is_planned() -> None:
    """A BiLSTM of 64 steps, unrolled, has 1,900 operators, many of whose results live long."""
    model = ModelBuilder("float32")
    fed = model.tensor([1, 64])
    kept = [model.op("TANH", [fed], [1, 64]) for _ in range(900)]
    for one in kept:
        fed = model.op("ADD", [fed, one], [1, 64])
    plan = plan_arena(model.build([0], [fed]))
    # The input and every kept result; sums are written over what they add to.
    assert plan.size_bytes == 901 * 256


def test_mobilenet_v2_has_the_arena_that_the_interpreter_plans(reference: Path) -> None:
    graph = read_graph(reference / "models/classify/mobilenet_v2_1.0_224_quant.tflite")
    plan = plan_arena(graph)
    assert plan.size_bytes == 1_655_808
    assert plan.peak is not None
    assert graph.nodes[plan.peak].name == "DEPTHWISE_CONV_2D"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kernels", ["plain", "xnnpack"])
def test_the_memory_of_a_model_is_what_the_interpreter_takes(reference: Path, name: str, kernels: str) -> None:
    row = measured_row(reference / "models" / f"{name}.tflite", kernels)
    assert not row.wrong, row


@pytest.mark.parametrize("name", MODELS)
def test_xnnpack_takes_what_is_predicted(reference: Path, name: str) -> None:
    """The real partition's outputs contain every tensor that a predicted part hands to a plain kernel or the user."""
    from ai_edge_litert.interpreter import Interpreter

    path = reference / "models" / f"{name}.tflite"
    graph = read_graph(path)
    parts = delegation(graph).segment
    writer = {index: node.index for node in graph.nodes for index in node.outputs}
    handed = {index for index in graph.model.outputs if parts[writer[index]] is not None}
    for node in graph.nodes:
        if parts[node.index] is None:
            handed |= {index for index in node.inputs if index in writer and parts[writer[index]] is not None}
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    real = [entry for entry in interpreter._get_ops_details() if entry["op_name"] == "DELEGATE"]
    assert handed <= {int(index) for entry in real for index in entry["outputs"]}
    assert bool(real) == (delegation(graph).taken > 0)


def test_tflite_runtime_takes_no_8_bit_operators() -> None:
    model = mobilenet_v1(size=64, width=0.25)
    graph = model.build([0], [len(model.graph.tensors) - 1])
    assert delegation(graph, runtime="tflite-runtime").taken == 0
    assert delegation(graph).taken == len(graph.nodes) - 1, "all but the pooling"
    assert delegation(graph, enabled=False).taken == 0


def test_temporaries_of_more_bytes_than_a_number_has_are_refused() -> None:
    """Found by a fuzzer: each size was within its limit, and the columns of a convolution their product."""
    model = ModelBuilder("float32")
    fed = model.tensor([1, 8, 8, 1])
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = 1
    weights = model.weights([1, 3, 3, 1])
    model.graph.tensors[weights].shape = [1, 2**20, 2**19, 1]
    graph = model.build([fed], [model.op("CONV_2D", [fed, weights, -1], [1, 2**19, 2**19, 1], options)])
    with pytest.raises(ModelError, match="more bytes than any machine has"):
        plan_arena(graph)
