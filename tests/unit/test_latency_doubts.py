"""What the prediction says of loops, of weights that come from memory, and of a machine that has become slower."""

import json
from pathlib import Path

import pytest
from calibration_parts import context

from edge_runtime.analysis.calibration import operators
from edge_runtime.analysis.calibration.far_weights import Chain, far_costs, time_chains
from edge_runtime.analysis.calibration.networks import chain
from edge_runtime.analysis.calibration.pace import Pace, references
from edge_runtime.analysis.calibration.timing import Sitting, Timed
from edge_runtime.analysis.descriptor import describe
from edge_runtime.analysis.expectation import expect
from edge_runtime.analysis.graph import build_graph
from edge_runtime.analysis.profile import load_profile
from edge_runtime.analysis.surroundings import Part, Surroundings
from edge_runtime.cli import main
from edge_runtime.errors import EngineError
from edge_runtime.interpreter import load_runtime
from edge_runtime.model_file import parse_model


def weighing(megabytes: float) -> Surroundings:
    one = Part(
        kind=0, real=True, delegated=True, once=False, weight_bytes=int(megabytes * 1e6), fed_bytes=0, made_bytes=0
    )
    return Surroundings((one,), runs=1, copied_bytes=0)


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    path = tmp_path / "loop.tflite"
    path.write_bytes(operators.unary("WHILE", "float32", "float32", [1, 4]))
    return path


def test_a_loop_has_no_predicted_time_and_says_why(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(loop), "--device", "pi-4b-64", "--json"]) == 0
    (device,) = json.loads(capsys.readouterr().out)["devices"]
    assert device["latency_ms"]["predicted"] is None
    assert device["latency_ms"]["high"] is None
    assert device["fps"] is None
    assert "WHILE" in device["latency_unknown"]
    assert main(["inspect", str(loop), "--device", "pi-4b-64"]) == 0
    assert "unknown    WHILE runs other graphs" in capsys.readouterr().out


def test_a_loop_is_never_said_to_fit(loop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert main(["inspect", str(loop), "--device", "pi-4b-64", "--fps", "1", "--html", str(page)]) in {0, 3}
    assert "time: fits" not in capsys.readouterr().out
    assert page.read_text()


def test_models_with_loops_are_compared_by_all_but_time(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--compare", str(loop), str(loop), "--device", "pi-4b-64"]) == 0
    assert "pi-4b-64, ms" not in capsys.readouterr().out


def test_the_daemon_expects_nothing_of_a_loop(loop: Path) -> None:
    assert expect(loop, load_profile("pi-4b-64"), threads=1, runtime="litert").predicted_ms is None


def test_weights_from_memory_cost_more_the_more_there_are() -> None:
    far = context(far_us_per_mb=((4.0, 0.0), (16.0, 10.0), (64.0, 100.0)))
    assert far.far_us(weighing(3)) == 0
    assert far.far_us(weighing(16)) == pytest.approx(160)
    assert far.far_us(weighing(32)) == pytest.approx(32 * 55)
    assert far.far_us(weighing(128)) == pytest.approx(128 * 100)
    assert context().far_us(weighing(128)) == 0


@pytest.mark.parametrize("far", [((4.0, 1.0), (4.0, 2.0)), ((0.0, 1.0), (4.0, 2.0)), ((4.0, -1.0),)])
def test_costs_of_memory_that_no_device_has_are_refused(far: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ValueError, match="no device"):
        context(far_us_per_mb=far)


def chained(length: int, us: float) -> Chain:
    """Return a chain of so many layers of 100 us."""
    return Chain(length, Timed(us, 0.0, 1), Timed(100.0, 0.0, 1))


def test_what_a_chain_takes_beyond_its_layers_is_the_cost_of_its_weights() -> None:
    costs = far_costs([chained(8, 1600.0), chained(64, 12_800.0)], context())
    taught = (pytest.approx(8.4, abs=0.1), 0.0)
    assert costs == (taught, (pytest.approx(67.2, abs=0.5), pytest.approx(95.1, abs=1)))


@pytest.mark.runtime
def test_only_chains_that_the_memory_allows_are_timed() -> None:
    chains = time_chains(load_runtime(), threads=1, memory_mb=200)
    assert [one.length for one in chains] == [3, 8]
    assert all(one.whole.us > 0 and one.layer.us > 0 for one in chains)


def test_a_chain_has_weights_of_its_own_for_every_layer() -> None:
    network = chain(3, side=5, channels=64)
    graph = build_graph(parse_model(network.make(), "chain"))
    assert len({node.inputs[1] for node in graph.nodes}) == 3


@pytest.mark.runtime
def test_the_pace_is_told_against_what_the_references_took_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sitting, "time_us", lambda _sitting, _runs: 10.0)
    pace = Pace(load_runtime(), threads=1, every_s=3600)
    assert pace.now() == pytest.approx(1.0)
    pace.reference_us = tuple(us / 2 for us in pace.reference_us)
    assert pace.now() == pytest.approx(2.0)
    first, *others = pace.reference_us
    pace.reference_us = (first / 3, *others)
    assert pace.now() == pytest.approx(2.0), "one that lies badly in memory tells nothing"


@pytest.mark.runtime
def test_a_profile_with_other_references_tells_no_pace() -> None:
    with pytest.raises(EngineError, match="calibrate again"):
        Pace(load_runtime(), threads=1, reference_us=(1.0,) * (len(references()) + 1))


def test_a_group_for_every_channel_is_a_kernel_of_its_own() -> None:
    kernels = []
    for groups, side in ((8, 3), (32, 3), (32, 7)):
        content = operators.convolution("int8", 14, (32, 32), window=(side, side), groups=groups)
        graph = build_graph(parse_model(content, "grouped"))
        kernels.append(describe(graph, graph.nodes[0], delegated=True))
    assert [one.kernel.rsplit("/", 1)[1] for one in kernels] == ["grouped", "single", "single_large"]
    assert kernels[1].sizes == (14 * 14, 32, 1, 9)
