"""ONNX models that are no picture's through the command: several inputs, any shape, and what is refused by name."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.cli import main
from edge_runtime.cli import main as edge_infer
from edge_runtime.engines.litert import LiteRtEngine
from edge_runtime.manifest_file import read_embedded
from edge_runtime.model_file import read_model
from edge_runtime.model_metadata import read_metadata

onnx = pytest.importorskip("onnx", reason="needs the extra [convert] under Python 3.12")

from onnx import helper  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

pytestmark = [pytest.mark.convert, pytest.mark.usefixtures("convertible")]
Run = Callable[..., tuple[int, dict[str, Any], str]]
FLOAT = onnx.TensorProto.FLOAT


def save(path: Path, nodes: list[Any], inputs: dict[str, Any], ranks: dict[str, int], **kinds: int) -> Path:
    """Write a model; ``ranks`` are its outputs', ``kinds`` the types of inputs that are no float32."""
    ends = [helper.make_tensor_value_info(name, kinds.get(name, FLOAT), shape) for name, shape in inputs.items()]
    made = [helper.make_tensor_value_info(name, FLOAT, [None] * rank) for name, rank in ranks.items()]
    graph = helper.make_graph(nodes, "g", ends, made)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.fixture(autouse=True)
def steps_in_this_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the start of three processes in all but one test."""
    if "real_processes" in request.keywords:
        return
    from onnx_sweep import StepHere

    from converters import litert, preprocessing, source_check

    for module in (litert, preprocessing, source_check):
        monkeypatch.setattr(module, "Child", StepHere)


@pytest.fixture
def attention(tmp_path: Path) -> Path:
    nodes = [
        helper.make_node("Transpose", ["key"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["query", "turned"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"]),
        helper.make_node("MatMul", ["weights", "value"], ["answer"]),
    ]
    inputs = {"query": [2, 3, 8], "key": [2, 5, 8], "value": [2, 5, 4]}
    return save(tmp_path / "attention.onnx", nodes, inputs, {"answer": 3, "weights": 3})


def _document(text: str) -> dict[str, Any]:
    """Return the JSON document; in this process the converter's own words stand before it."""
    lines = [line for line in text.splitlines() if line.startswith("{")]
    return dict(json.loads(lines[-1])) if lines else {}


@pytest.fixture
def convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(model: Path, *flags: object) -> tuple[int, dict[str, Any], str]:
        status = main([str(model), "-o", str(tmp_path / "out.tflite"), "--json", "-q", *map(str, flags)])
        said = capsys.readouterr()
        return status, _document(said.out), said.err

    return run


@pytest.mark.real_processes
def test_several_inputs_keep_their_names_order_and_layout(convert: Run, attention: Path, tmp_path: Path) -> None:
    status, result, said = convert(attention, "--quantize", "none")
    assert status == 0, said
    assert result["preprocessing"] == "none, tensors as they are"
    assert any("random inputs" in warning for warning in result["warnings"])
    artifact = tmp_path / "out.tflite"
    engine = LiteRtEngine(str(artifact), threads=1)
    assert [(one.name, one.shape) for one in engine.inputs] == [
        ("query", (2, 3, 8)),
        ("key", (2, 5, 8)),
        ("value", (2, 5, 4)),
    ]
    assert [one.shape for one in engine.outputs] == [(2, 3, 4), (2, 3, 5)]
    manifest, metadata = read_embedded(read_model(artifact)), read_metadata(read_model(artifact))
    assert manifest is not None
    assert manifest.provenance is not None
    layout = manifest.provenance["layout"]
    assert [facts["source"] for facts in layout["inputs"]] == ["query", "key", "value"]
    assert [(facts["source"], facts["axes"]) for facts in layout["outputs"]] == [
        ("answer", [0, 1, 2]),
        ("weights", [0, 1, 2]),
    ]
    assert metadata is not None
    assert [one.name for one in metadata.inputs] == ["query", "key", "value"]


@pytest.mark.parametrize("scheme", ["dynamic", "float16"])
def test_several_inputs_quantise_without_samples(convert: Run, attention: Path, scheme: str) -> None:
    status, result, said = convert(attention, "--quantize", scheme)
    assert status == 0, said
    assert min(output["sqnr_db"] for output in result["verdict"]["outputs"]) > 30


def test_int8_is_calibrated_with_an_array_per_input(convert: Run, attention: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    samples = {name: generator.uniform(-1, 1, (40, *shape)) for name, shape in
               (("query", (2, 3, 8)), ("key", (2, 5, 8)), ("value", (2, 5, 4)))}  # fmt: skip
    np.savez(tmp_path / "samples.npz", **samples)
    status, result, said = convert(attention, "--calibration", tmp_path / "samples.npz")
    assert status == 0, said
    assert 20 <= result["calibration"]["samples"] < 40  # the others are compared
    engine = LiteRtEngine(str(tmp_path / "out.tflite"), threads=1)
    assert {one.dtype.name for one in engine.inputs} == {"int8"}


def test_products_of_what_is_far_from_zero_stay_right_in_int8(convert: Run, attention: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    shapes = {"query": (2, 3, 8), "key": (2, 5, 8), "value": (2, 5, 4)}
    samples = {name: generator.uniform(0.5, 1.0, (60, *shape)).astype(np.float32) for name, shape in shapes.items()}
    np.savez(tmp_path / "samples.npz", **samples)
    status, result, said = convert(attention, "--calibration", tmp_path / "samples.npz", "--no-rescue")
    assert status == 0, said
    assert min(output["sqnr_db"] for output in result["verdict"]["outputs"]) > 35.0
    assert result["float_operators"] == 0


def test_the_device_says_that_it_feeds_one_input(
    convert: Run, attention: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(attention, "--quantize", "none")[0] == 0
    np.save(tmp_path / "x.npy", np.zeros(3))
    status = edge_infer(["batch", "--model", str(tmp_path / "out.tflite"), str(tmp_path / "x.npy")])
    said = capsys.readouterr().err
    assert status in {2, 3}
    assert "Traceback" not in said


def test_open_shapes_are_asked_for_by_name(convert: Run, tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["left", "right"], ["sum"])]
    model = save(tmp_path / "open.onnx", nodes, {"left": ["n", "length"], "right": [1, "length"]}, {"sum": 2})
    status, _, said = convert(model, "--quantize", "none")
    assert status == 2
    assert "--input-shape left:1,LENGTH" in said
    shapes = ("--input-shape", "left:1,6", "--input-shape", "right:1,6")
    assert convert(model, "--quantize", "none", *shapes)[0] == 0
    assert convert(model, "--quantize", "none", "--input-shape", "1,6")[0] == 2
    status, _, said = convert(model, "--quantize", "none", *shapes, "--input-shape", "middle:1,6")
    assert status == 2
    assert "middle: the model has no such input; its inputs: left, right" in said


def test_an_input_of_integers_is_refused_by_name(convert: Run, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["tokens"], ["numbers"], to=FLOAT),
        helper.make_node("Add", ["x", "numbers"], ["y"]),
    ]
    inputs = {"x": [1, 4], "tokens": [1, 4]}
    model = save(tmp_path / "t.onnx", nodes, inputs, {"y": 2}, tokens=onnx.TensorProto.INT64)
    status, _, said = convert(model, "--quantize", "none")
    assert status == 3
    assert "tokens is no float32 tensor" in said


def test_an_operator_that_does_not_convert_is_named_with_its_place(convert: Run, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Magic", ["r"], ["y"], "the_magic", domain="org.example"),
    ]
    path = save(tmp_path / "magic.onnx", nodes, {"x": [3, 4]}, {"y": 2})
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("org.example", 1))
    onnx.save(model, path)
    status, _, said = convert(path, "--quantize", "none")
    assert status == 3
    assert "Magic" in said


def test_what_differs_from_the_source_is_refused_with_the_first_operator_named(
    convert: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"], "before"),
        helper.make_node("Elu", ["x"], ["curved"], "the_wrong_one", alpha=0.3),
        helper.make_node("Add", ["positive", "curved"], ["y"], "after"),
    ]
    model = save(tmp_path / "elu.onnx", nodes, {"x": [3, 4]}, {"y": 2})
    from converters.steps import onnx_lowering

    monkeypatch.setattr(onnx_lowering, "prepare", lambda network: network)  # onnx2tf 2.6 drops Elu's alpha
    status, _, said = convert(model, "--quantize", "none")
    assert status == 3
    assert "the first operator that differs: Elu at the_wrong_one" in said
    assert not (tmp_path / "out.tflite").exists()


def _channels_added(path: Path, side: int) -> Path:
    nodes = [helper.make_node("ReduceSum", ["x"], ["one"], axes=[1], keepdims=1)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [1, 3, side, side + 1])],
        [helper.make_tensor_value_info("one", FLOAT, [1, 1, side, side + 1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8), path)
    return path


def _input_layout(artifact: Path) -> tuple[list[int], list[int]]:
    manifest = read_embedded(read_model(artifact))
    assert manifest is not None
    assert manifest.provenance is not None
    (facts,) = manifest.provenance["layout"]["inputs"]
    return facts["shape"], facts["axes"]


def test_four_axes_too_small_for_a_picture_are_taken_as_they_are(convert: Run, tmp_path: Path) -> None:
    status, result, said = convert(_channels_added(tmp_path / "tiny.onnx", 4), "--quantize", "none")
    assert status == 0, said
    assert result["preprocessing"] == "none said: values as they are"
    assert _input_layout(tmp_path / "out.tflite") == ([1, 3, 4, 5], [0, 1, 2, 3])


def test_a_tiny_picture_that_is_said_to_be_one_comes_out_as_pictures_do(convert: Run, tmp_path: Path) -> None:
    status, _, said = convert(_channels_added(tmp_path / "tiny.onnx", 4), "--quantize", "none", "--preset", "raw")
    assert status == 0, said
    assert _input_layout(tmp_path / "out.tflite") == ([1, 4, 5, 3], [0, 2, 3, 1])


def test_what_looks_like_a_picture_is_asked_about_and_told_of_raw(convert: Run, tmp_path: Path) -> None:
    model = _channels_added(tmp_path / "picture.onnx", 12)
    status, _, said = convert(model, "--quantize", "none")
    assert status == 2
    assert "--preset raw" in said
    assert convert(model, "--quantize", "none", "--preset", "raw")[0] == 0
    assert _input_layout(tmp_path / "out.tflite") == ([1, 12, 13, 3], [0, 2, 3, 1])


def test_a_picture_whose_colours_come_last_keeps_its_layout(convert: Run, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("MaxPool", ["turned"], ["pooled"], kernel_shape=[12, 16]),
        helper.make_node("Flatten", ["pooled"], ["y"]),
    ]
    source = save(tmp_path / "last.onnx", nodes, {"x": [1, 12, 16, 3]}, {"y": 2})
    status, _, said = convert(source, "--quantize", "none", "--preset", "raw")
    assert status == 0, said
    converted = read_model(tmp_path / "out.tflite")
    assert [converted.tensors[index].shape for index in converted.inputs] == [(1, 12, 16, 3)]


def test_names_with_a_colon_and_colours_last_stay_as_tensorflow_exports_them(convert: Run, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    constants = [
        onnx.numpy_helper.from_array(generator.normal(size=(4, 3, 3, 3)).astype(np.float32), "weights:0"),
        onnx.numpy_helper.from_array(generator.normal(size=(4, 2)).astype(np.float32), "last:0"),
    ]
    nodes = [
        helper.make_node("Transpose", ["image:0"], ["turned:0"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["turned:0", "weights:0"], ["map:0"], strides=[2, 2]),
        helper.make_node("Transpose", ["map:0"], ["back:0"], perm=[0, 2, 3, 1]),
        helper.make_node("ReduceMean", ["back:0"], ["means:0"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["means:0", "last:0"], ["answer:0"]),
    ]
    entry = helper.make_tensor_value_info("image:0", FLOAT, ["batch", 12, 20, 3])
    ends = [helper.make_tensor_value_info("answer:0", FLOAT, ["batch", 2])]
    graph = helper.make_graph(nodes, "g", [entry], ends, constants)
    path = tmp_path / "tensorflow.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7), path)
    status, result, said = convert(path, "--quantize", "none", "--preset", "raw")
    assert status == 0, said
    assert [(one["source"], one["shape"]) for one in result["layout"]["inputs"]] == [("image:0", [1, 12, 20, 3])]
    assert [one["name"] for one in result["verdict"]["outputs"]] == ["answer:0"]


@pytest.mark.parametrize("kind", ["QuantizeLinear", "QLinearMatMul"])
def test_a_network_of_integers_is_refused_with_what_to_give_instead(convert: Run, tmp_path: Path, kind: str) -> None:
    scale, zero = np.float32(0.1), np.uint8(3)
    eight = np.full((8, 8), 5, np.uint8)
    constants = {"s": scale, "z": zero, "w": eight}
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="rounds")]
    if kind == "QLinearMatMul":
        nodes = [
            helper.make_node("Cast", ["x"], ["q0"], to=onnx.TensorProto.UINT8),
            helper.make_node("QLinearMatMul", ["q0", "s", "z", "w", "s", "z", "s", "z"], ["q"], name="rounds"),
        ]
    nodes.append(helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", FLOAT, [1, 8])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    path = tmp_path / "integers.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    status, _, said = convert(path, "--quantize", "none")
    assert status == 3
    assert f"quantised already ({kind} at rounds); give the float model that it was made from" in said


def test_another_float_type_is_named_with_what_to_do(convert: Run, tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Cast", ["h"], ["y"], to=FLOAT)]
    path = save(tmp_path / "half.onnx", nodes, {"x": [1, 8]}, {"y": 2}, x=onnx.TensorProto.FLOAT16)
    status, _, said = convert(path, "--quantize", "none")
    assert status == 3
    assert "input x is float16; export the network in float32" in said
