# ruff: noqa: E501 - a table of operators, one per line
"""Each rewrite says the same as the operator it replaces: both run by onnxruntime, on the same numbers."""

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the extra [convert] under Python 3.12")
ort = pytest.importorskip("onnxruntime", reason="needs the extra [convert] under Python 3.12")

from onnx import helper, numpy_helper  # noqa: E402

from converters.onnx_rewrite import prepare  # noqa: E402

pytestmark = [pytest.mark.convert, pytest.mark.usefixtures("convertible")]
F32 = np.float32
RNG = np.random.default_rng(5)


def model_of(
    op: str,
    shapes: list[tuple[int, ...]],
    constants: dict[int, Any],
    *,
    outputs: int = 1,
    version: int = 22,
    **said: Any,
) -> Any:
    """One operator; ``constants`` are inputs by their place, the others are data of ``shapes``."""
    left, names, inputs, initializers = list(shapes), [], [], []
    for place in range(len(shapes) + len(constants)):
        if place in constants and constants[place] is None:
            names.append("")
            continue
        names.append(f"in{place}")
        if place in constants:
            initializers.append(numpy_helper.from_array(np.asarray(constants[place]), f"in{place}"))
        else:
            inputs.append(helper.make_tensor_value_info(f"in{place}", onnx.TensorProto.FLOAT, left.pop(0)))
    made = [f"out{place}" for place in range(outputs)]
    node = helper.make_node(op, names, made, "the_one", **said)
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in made]
    graph = helper.make_graph([node], "one", inputs, ends, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=10)


def run(model: Any, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def weights(*shape: int) -> np.ndarray:
    return RNG.normal(0.0, 0.4, shape).astype(F32)


I64 = np.int64
RECURRENT = {
    "RNN": {1: weights(2, 4, 3), 2: weights(2, 4, 4), 3: weights(2, 8)},
    "GRU": {1: weights(2, 12, 3), 2: weights(2, 12, 4), 3: weights(2, 24)},
    "LSTM": {1: weights(2, 16, 3), 2: weights(2, 16, 4), 3: weights(2, 32)},
}
CASES: dict[str, tuple[Any, ...]] = {
    "elu with an alpha": ("Elu", [(3, 4)], {}, {"alpha": 0.3}),
    "celu": ("Celu", [(3, 4)], {}, {"alpha": 2.0}),
    "selu": ("Selu", [(3, 4)], {}, {"alpha": 2.0, "gamma": 3.0}),
    "thresholded relu": ("ThresholdedRelu", [(3, 4)], {}, {"alpha": 0.4}),
    "shrink": ("Shrink", [(3, 4)], {}, {"bias": 0.2, "lambd": 0.7}),
    "hard sigmoid": ("HardSigmoid", [(3, 4)], {}, {"alpha": 0.5, "beta": 0.3}),
    "hard swish": ("HardSwish", [(3, 4)], {}, {}),
    "softplus": ("Softplus", [(3, 4)], {}, {}),
    "softsign": ("Softsign", [(3, 4)], {}, {}),
    "mish": ("Mish", [(3, 4)], {}, {}),
    "gelu by tanh": ("Gelu", [(3, 4)], {}, {"approximate": "tanh"}),
    "prelu with a slope per value": ("PRelu", [(2, 3, 4)], {1: weights(3, 4)}, {}),
    "hardmax along another axis": ("Hardmax", [(3, 4, 5)], {}, {"axis": 1}),
    "softmax along another axis": ("Softmax", [(3, 4, 5)], {}, {"axis": 0}),
    "log-softmax": ("LogSoftmax", [(3, 4, 5)], {}, {"axis": 1}),
    "gemm of two computed matrices": ("Gemm", [(4, 3), (5, 4)], {2: weights(5)}, {"transA": 1, "transB": 1, "alpha": 0.5}),
    "sum of three": ("Sum", [(3, 4), (3, 4), (4,)], {}, {}),
    "mean of three": ("Mean", [(3, 4), (3, 4), (3, 4)], {}, {}),
    "tan": ("Tan", [(3, 4)], {}, {}),
    "sinh": ("Sinh", [(3, 4)], {}, {}),
    "cosh": ("Cosh", [(3, 4)], {}, {}),
    "modulo with the sign of x": ("Mod", [(3, 4)], {1: np.full((4,), 0.7, F32)}, {"fmod": 1}),
    "cumulative sum backwards": ("CumSum", [(3, 4)], {1: np.asarray(1)}, {"reverse": 1, "exclusive": 1}),
    "sum over nothing": ("ReduceSum", [(3, 4)], {1: np.zeros(0, I64)}, {"noop_with_empty_axes": 1}),
    "l1 norm over negative axes": ("ReduceL1", [(3, 4, 2)], {1: np.asarray([-2])}, {"keepdims": 0}),
    "log of the sum of exponentials": ("ReduceLogSumExp", [(3, 4, 2)], {1: np.asarray([2, 0])}, {}),
    "layer norm, three outputs": ("LayerNormalization", [(2, 3, 4)], {1: weights(3, 4), 2: weights(3, 4)}, {"axis": 1, "outputs": 3}),
    "rms norm": ("RMSNormalization", [(2, 3, 4)], {1: weights(4)}, {"version": 23}),
    "group norm": ("GroupNormalization", [(2, 4, 3)], {1: weights(4), 2: weights(4)}, {"num_groups": 2}),
    "instance norm": ("InstanceNormalization", [(2, 3, 4)], {1: weights(3), 2: weights(3)}, {}),
    "mean and variance norm": ("MeanVarianceNormalization", [(2, 3, 4, 4)], {}, {}),
    "lp norm": ("LpNormalization", [(2, 3, 4)], {}, {"axis": 1, "p": 1}),
    "local response norm": ("LRN", [(1, 5, 3, 3)], {}, {"size": 3, "alpha": 0.1, "beta": 0.6, "bias": 1.5}),
    "batch norm without positions": ("BatchNormalization", [(3, 4)], {1: weights(4), 2: weights(4), 3: weights(4), 4: np.abs(weights(4)) + 0.1}, {}),
    "average pool, padding not counted": ("AveragePool", [(1, 2, 6, 7)], {}, {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1], "ceil_mode": 1}),
    "average pool, padding counted": ("AveragePool", [(1, 2, 6, 7)], {}, {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "count_include_pad": 1}),
    "max pool, dilated, one axis": ("MaxPool", [(1, 2, 9)], {}, {"kernel_shape": [3], "dilations": [2], "pads": [1, 1]}),
    "lp pool": ("LpPool", [(1, 2, 6, 6)], {}, {"kernel_shape": [2, 3], "p": 3, "strides": [2, 1]}),
    "global lp pool": ("GlobalLpPool", [(1, 2, 3, 4)], {}, {"p": 2, "version": 18}),
    "resize, cubic": ("Resize", [(1, 2, 4, 5)], {1: None, 2: np.asarray([1, 1, 1.6, 2.0], F32)}, {"mode": "cubic", "cubic_coeff_a": -0.5}),
    "resize, smaller and antialiased": ("Resize", [(1, 1, 8, 8)], {1: None, 2: None, 3: np.asarray([1, 1, 3, 5])}, {"mode": "linear", "antialias": 1}),
    "resize, nearest of other rounding": ("Resize", [(1, 1, 3, 4)], {1: None, 2: np.asarray([1, 1, 2.0, 1.5], F32)}, {"mode": "nearest", "nearest_mode": "ceil", "coordinate_transformation_mode": "half_pixel"}),
    "grid sample, bicubic and mirrored": ("GridSample", [(2, 3, 4, 5), (2, 3, 2, 2)], {}, {"mode": "cubic", "padding_mode": "reflection", "version": 20}),
    "grid sample, nearest": ("GridSample", [(1, 2, 4, 5), (1, 3, 2, 2)], {}, {"mode": "nearest", "align_corners": 1, "version": 20}),
    "grid sample, linear at the border": ("GridSample", [(1, 2, 4, 5), (1, 3, 2, 2)], {}, {"mode": "linear", "padding_mode": "border", "version": 20}),
    "fourier": ("DFT", [(2, 6, 1)], {1: np.asarray(8), 2: np.asarray(1)}, {"onesided": 1, "version": 20}),
    "inverse fourier": ("DFT", [(2, 6, 2)], {1: None, 2: np.asarray(1)}, {"inverse": 1, "version": 20}),
    "short-time fourier": ("STFT", [(1, 32, 1)], {1: np.asarray(8), 2: np.hanning(16).astype(F32)}, {}),
    "gather elements": ("GatherElements", [(3, 4)], {1: np.asarray([[0, -1, 2, 1]])}, {"axis": 0}),
    "gather nd": ("GatherND", [(3, 4)], {1: np.asarray([[0, 1], [2, 3]])}, {}),
    "scatter elements": ("ScatterElements", [(3, 4), (1, 2)], {1: np.asarray([[1, -1]])}, {"axis": 1}),
    "scatter elements, added twice": ("ScatterElements", [(2, 4), (1, 3)], {1: np.asarray([[1, 1, 0]])}, {"axis": 1, "reduction": "add"}),
    "scatter nd, largest": ("ScatterND", [(4, 2), (3, 2)], {1: np.asarray([[0], [2], [0]])}, {"reduction": "max"}),
    "compress": ("Compress", [(3, 4)], {1: np.asarray([True, False, True])}, {"axis": 0}),
    "reverse sequence": ("ReverseSequence", [(4, 2)], {1: np.asarray([3, 2])}, {"time_axis": 0, "batch_axis": 1}),
    "max unpool": ("MaxUnpool", [(1, 1, 2, 2)], {1: np.asarray([[[[5, 7], [13, 15]]]])}, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "pad on named axes": ("Pad", [(2, 3, 4)], {1: np.asarray([1, -1]), 2: F32(0.5), 3: np.asarray([-1])}, {}),
    "split unevenly": ("Split", [(7, 2)], {}, {"num_outputs": 2, "outputs": 2}),
    "slice backwards": ("Slice", [(4, 5)], {1: np.asarray([-1, 4]), 2: np.asarray([-9, 1]), 3: np.asarray([0, 1]), 4: np.asarray([-2, -1])}, {}),
    "convolution that pads below": ("Conv", [(1, 2, 5, 6)], {1: weights(3, 2, 2, 3)}, {"auto_pad": "SAME_LOWER", "strides": [2, 1]}),
    "one-hot of computed values": ("OneHot", [(2,)], {0: np.asarray([1, -1, 3]), 1: np.asarray(4)}, {"axis": 0}),
    "affine grid": ("AffineGrid", [(1, 2, 3)], {1: np.asarray([1, 1, 3, 4])}, {"version": 20}),
    "col2im": ("Col2Im", [(1, 4, 4)], {1: np.asarray([3, 3]), 2: np.asarray([2, 2])}, {}),
    "regions of interest": ("RoiAlign", [(1, 2, 5, 5)], {1: np.asarray([[0, 0, 4, 4]], F32), 2: np.zeros(1, I64)}, {"output_height": 2, "output_width": 2, "version": 18}),
    "largest of regions": ("RoiAlign", [(2, 3, 6, 5)], {1: np.asarray([[0, 0, 4, 4], [1.3, -2, 9, 3], [-8, -8, -4, -3]], F32), 2: np.asarray([1, 0, 1])}, {"output_height": 2, "output_width": 3, "sampling_ratio": 2, "mode": "max", "version": 18}),
    "largest of as many points as it takes": ("RoiAlign", [(1, 2, 7, 7)], {1: np.asarray([[0, 0, 6, 5], [1, 1, 2.5, 6]], F32), 2: np.zeros(2, I64)}, {"output_height": 2, "output_width": 1, "mode": "max", "spatial_scale": 0.9, "coordinate_transformation_mode": "output_half_pixel", "version": 16}),
    "nll": ("NegativeLogLikelihoodLoss", [(3, 4)], {1: np.asarray([0, 3, 1]), 2: np.asarray([1, 2, 3, 4], F32)}, {"ignore_index": 1}),
    "cross entropy": ("SoftmaxCrossEntropyLoss", [(2, 4, 3)], {1: np.asarray([[0, 3, 1], [1, 2, 2]])}, {"reduction": "sum", "outputs": 2}),
    "rnn both ways": ("RNN", [(5, 2, 3)], RECURRENT["RNN"], {"direction": "bidirectional", "hidden_size": 4, "outputs": 2}),
    "gru of three lengths": ("GRU", [(5, 2, 3)], {**RECURRENT["GRU"], 4: np.asarray([5, 2], np.int32)}, {"direction": "bidirectional", "hidden_size": 4, "outputs": 2, "linear_before_reset": 1}),
    "lstm with peepholes": ("LSTM", [(5, 2, 3)], {**RECURRENT["LSTM"], 4: None, 5: weights(2, 2, 4), 6: weights(2, 2, 4), 7: weights(2, 12)}, {"direction": "bidirectional", "hidden_size": 4, "outputs": 3}),
    "attention": ("Attention", [(1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4)], {}, {"is_causal": 1, "version": 23}),
    "rotary embedding": ("RotaryEmbedding", [(1, 2, 3, 4)], {1: weights(6, 2), 2: weights(6, 2), 3: np.asarray([[0, 2, 4]])}, {"version": 23}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_rewrite_gives_the_same_numbers(name: str) -> None:
    op, shapes, constants, said = CASES[name]
    model = model_of(op, shapes, constants, **said)
    plain = prepare(model)
    assert op not in {node.op_type for node in plain.graph.node} or op in {"Conv", "Pad", "Softmax"}
    names = [value.name for value in model.graph.input]
    feeds = {key: RNG.uniform(-1.2, 1.2, shape).astype(F32) for key, shape in zip(names, shapes, strict=True)}
    assert [value.name for value in plain.graph.output] == [value.name for value in model.graph.output]
    for wanted, got in zip(run(model, feeds), run(plain, feeds), strict=True):
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=2e-6)


def test_what_is_constant_is_computed_once() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["width"], axis=0),
        helper.make_node("Cast", ["width"], ["factor"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "factor"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 3]) for name in ("x", "y")]
    one = numpy_helper.from_array(np.asarray(1), "one")
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [one])
    plain = prepare(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10))
    assert [node.op_type for node in plain.graph.node] == ["Mul"]


def test_the_source_is_not_changed() -> None:
    model = model_of("Elu", [(2, 2)], {}, alpha=0.5)
    before = model.SerializeToString()
    prepare(model)
    assert model.SerializeToString() == before


def test_operators_of_other_domains_stay_and_are_named() -> None:
    from converters.onnx_rewrite.coverage import unsupported

    node = helper.make_node("Magic", ["x"], ["y"], "the_magic", domain="org.example")
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in ("x", "y")]
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("org.example", 1)]
    plain = prepare(helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:]), opset_imports=imports))
    assert unsupported(plain) == ["Magic at the_magic"]
