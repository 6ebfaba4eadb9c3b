"""A seeded part of ONNX's own node tests through the real conversion; scripts/onnx_operators runs all of them."""

import random
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx", reason="needs the extra [convert] under Python 3.12")
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

pytestmark = [pytest.mark.convert, pytest.mark.usefixtures("convertible"), pytest.mark.filterwarnings("ignore")]
COUNT = 20


@pytest.fixture(scope="module")
def chosen(convertible: None) -> list[Any]:
    from onnx_cases import cases

    small = [case for case in cases() if all(value.size <= 4096 for value in case.inputs.values())]
    assert len(small) > 700
    return random.Random(2026).sample(small, COUNT)


def test_none_of_a_part_of_the_node_tests_comes_out_wrong(chosen: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx_sweep

    from converters import litert, preprocessing, source_check

    for module in (litert, preprocessing, source_check):
        monkeypatch.setattr(module, "Child", onnx_sweep.StepHere)
    outcomes = [onnx_sweep.sweep(case, "none") for case in chosen]
    assert not [outcome for outcome in outcomes if outcome.outcome in {"wrong", "failed"}]
    assert sum(outcome.outcome == "passed" for outcome in outcomes) >= 0.9 * COUNT


def test_cases_are_what_an_edge_device_could_run(chosen: list[Any]) -> None:
    for case in chosen:
        assert [value.name for value in case.model.graph.input] == list(case.inputs)
        assert all(value.dtype.name == "float32" for value in case.inputs.values())
