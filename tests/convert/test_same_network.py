"""A float model is handed over when it differs from its source by rounding, and by nothing else."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the extra [convert] under Python 3.12")
from onnx import helper, numpy_helper  # noqa: E402

from converters import litert, source_check  # noqa: E402
from converters.sample_pool import Drawn  # noqa: E402
from edge_runtime.errors import ModelError  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
pytestmark = [pytest.mark.convert, pytest.mark.usefixtures("convertible"), pytest.mark.filterwarnings("ignore")]
SIDE, CHANNELS, CLASSES = 16, 8, 5
CALM, MAGNIFYING = 0.0, 3000.0
"""What is added to every feature, and taken away again behind the last layer."""

Change = Callable[[dict[str, Any]], None]


def network(offset: float, change: Change = lambda _: None) -> Any:
    """Two convolutions with batch normalisation, the mean over the picture, a dense layer."""
    generator = np.random.default_rng(3)
    weights = {
        "w1": generator.normal(0, 0.4, (CHANNELS, 3, 3, 3)),
        "w2": generator.normal(0, 0.2, (CHANNELS, CHANNELS, 3, 3)),
        "scale": generator.uniform(0.5, 1.5, CHANNELS),
        "shift": generator.normal(0, 0.3, CHANNELS),
        "mean": generator.normal(0, 0.3, CHANNELS),
        "var": generator.uniform(0.5, 2.0, CHANNELS),
        "w3": generator.normal(0, 1.0, (CHANNELS, CLASSES)),
        "offset": np.full((1, CHANNELS), offset),
    }
    weights["back"] = -(weights["offset"] @ weights["w3"])
    parts: dict[str, Any] = {"weights": weights, "pads": [1, 1, 1, 1], "epsilon": 1e-5, "pool": "GlobalAveragePool"}
    change(parts)
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=parts["pads"], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["b"], epsilon=parts["epsilon"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "w2"], ["d"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node(parts["pool"], ["e"], ["f"]),
        helper.make_node("Flatten", ["f"], ["g"]),
        helper.make_node("Add", ["g", "offset"], ["h"]),
        helper.make_node("MatMul", ["h", "w3"], ["i"]),
        helper.make_node("Add", ["i", "back"], ["y"]),
    ]
    ends = (
        [helper.make_tensor_value_info("x", 1, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", 1, [1, CLASSES])],
    )
    constants = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "network", *ends, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def other_padding(parts: dict[str, Any]) -> None:
    parts["pads"] = [0, 0, 2, 2]


def other_epsilon(parts: dict[str, Any]) -> None:
    parts["epsilon"] = 1e-2


def half_weights(parts: dict[str, Any]) -> None:
    parts["weights"]["w2"] = parts["weights"]["w2"].astype(np.float16)


def other_pool(parts: dict[str, Any]) -> None:
    parts["pool"] = "GlobalMaxPool"


def one_weight(parts: dict[str, Any]) -> None:
    parts["weights"]["w2"][0, 0, 1, 1] *= 1.05


def checked(model: Any, converted: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> source_check.FloatModel:
    """Compare a network with the conversion of another one."""
    import onnx_sweep

    monkeypatch.setattr(litert, "Child", onnx_sweep.StepHere)
    source = onnx_sweep.StepHere("onnx_model", title="source")
    facts = {}
    for name, one in (("other", converted), ("source", model)):
        onnx.save(one, folder / f"{name}.onnx")
        step = source if name == "source" else onnx_sweep.StepHere("onnx_model", title=name)
        where = {"source": str(folder / f"{name}.onnx"), "output": str(folder / f"{name}.tflite")}
        facts = step.call("convert", **where, input_shape=None, unroll=False)
    samples = folder / "samples.npy"
    np.save(samples, np.random.default_rng(5).uniform(0, 1, (12, SIDE, SIDE, 3)).astype(np.float32))
    drawn = Drawn(samples, 12, frozenset(), None, 0, 0.0, 1.0)
    found = source_check.FloatModel(source, path=folder / "other.tflite", folder=folder, facts=facts)
    with litert.LiteRt(folder) as runner:
        found.check(drawn, litert=runner)
    return found


@pytest.mark.parametrize("offset", [CALM, MAGNIFYING])
def test_a_right_conversion_passes(offset: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = checked(network(offset), network(offset), tmp_path, monkeypatch)
    assert (found.sqnr_db < 90.0) is bool(found.warnings) is (offset == MAGNIFYING)


@pytest.mark.parametrize("offset", [CALM, MAGNIFYING])
@pytest.mark.parametrize("change", [other_padding, other_epsilon, other_pool, one_weight])
def test_a_wrong_one_is_refused(offset: float, change: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="not the same network: output 'y'"):
        checked(network(offset), network(offset, change), tmp_path, monkeypatch)


def test_short_weights_are_no_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="rounding alone leaves 13"):
        checked(network(CALM), network(CALM, half_weights), tmp_path, monkeypatch)
