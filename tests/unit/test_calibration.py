"""Probes, the writer of their models, the fit of a device, and predictions by a calibrated profile."""

import json
import tomllib
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from calibration_parts import context, made_up_wholes

from edge_runtime.analysis.calibrated import Calibration
from edge_runtime.analysis.calibration import timing
from edge_runtime.analysis.calibration.caches import Cache, read_caches
from edge_runtime.analysis.calibration.calibrate import calibrate
from edge_runtime.analysis.calibration.context import fit_context
from edge_runtime.analysis.calibration.fitting import fit_table, least_squares_above_zero
from edge_runtime.analysis.calibration.mixtures import mixtures
from edge_runtime.analysis.calibration.network_timing import PARTS, NetworkTimer
from edge_runtime.analysis.calibration.networks import patterns
from edge_runtime.analysis.calibration.probe import MAIN_TYPES, Probe, in_turns
from edge_runtime.analysis.calibration.probes import all_probes
from edge_runtime.analysis.calibration.profile_text import profile_text
from edge_runtime.analysis.calibration.timing import Sitting, describe_probe
from edge_runtime.analysis.descriptor import Descriptor
from edge_runtime.analysis.graph import build_graph, read_graph
from edge_runtime.analysis.inspection import inspect_model
from edge_runtime.analysis.latency import predict_latency
from edge_runtime.analysis.network_cost import Alone, in_context_us
from edge_runtime.analysis.operator_cache import OperatorCache
from edge_runtime.analysis.profile import load_profile, parse_profile
from edge_runtime.analysis.surroundings import Caches, Part, Surroundings
from edge_runtime.cli import bench_expected, main
from edge_runtime.cli.bench_expected import expected, line
from edge_runtime.errors import EngineError, UsageError
from edge_runtime.interpreter import load_runtime, quiet_native_output
from edge_runtime.model_file import parse_model

MACHINE = {"cpu": "a processor", "cores": 2, "system": "Linux", "python": "3.11"}


def network(weight_bytes: tuple[int, ...], *, once: bool = False) -> Surroundings:
    """Return operators with so many bytes of weights, next to no values, all in one part of XNNPACK's."""
    sizes = {"kind": 0, "real": True, "delegated": True, "once": once, "fed_bytes": 500, "made_bytes": 500}
    return Surroundings(tuple(Part(weight_bytes=size, **sizes) for size in weight_bytes), runs=1, copied_bytes=0)


def calibration(points: dict[str, dict[tuple[int, ...], float]], *, threads: tuple[int, ...] = (1,)) -> Calibration:
    """Return one in which more threads take proportionally less."""
    tables = [
        fit_table(kernel, count, {size: us / count for size, us in times.items()}, caches_bytes=(2**15, 2**20))
        for kernel, times in points.items()
        for count in threads
    ]
    return Calibration(
        date="2026-01-01T00:00:00Z", runtime="r", software="s", machine="m", system="y", seconds=1.0, noise=0.02,
        contexts=tuple(context(count) for count in threads), kernels=tuple(tables),
    )  # fmt: skip


def products(us_per_mac: float = 1e-4) -> dict[tuple[int, ...], float]:
    return {
        (rows, outputs, depth, 1): 1.0 + us_per_mac * rows * outputs * depth
        for rows in (1, 49, 784)
        for outputs in (16, 64, 256)
        for depth in (16, 128)
    }


@pytest.mark.runtime
def test_every_kind_of_probe_is_written_and_runs_on_the_interpreter() -> None:
    runtime, seen, refused = load_runtime(), set(), []
    with quiet_native_output():
        for probe in all_probes():
            if probe.group in seen:
                continue
            seen.add(probe.group)
            try:
                Sitting(runtime, probe.make(), threads=1)
            except EngineError as error:
                refused.append(f"{probe.group}: {error}")
    assert len(seen) > 100
    # tflite-runtime is older than some operators' 8-bit versions.
    assert not refused or runtime.name == "tflite-runtime", refused


@pytest.mark.parametrize(
    ("type_name", "types"), [("float32", "float32"), ("dynamic", "float32-int8"), ("int8", "int8")]
)
def test_fused_lstms_are_timed_with_every_kind_of_weights(type_name: str, types: str) -> None:
    probes = [probe for probe in all_probes() if probe.group == f"{type_name} recurrent"]
    described = {describe_probe(probe, probe.make(), quantized=True) for probe in probes}
    assert {one.kernel for one in described} == {f"plain/{types}/UNIDIRECTIONAL_SEQUENCE_LSTM"}
    assert len(described) >= 9  # as many as the law has terms


@pytest.mark.runtime
def test_made_up_networks_run_and_are_the_same_every_time() -> None:
    first, again = ([*patterns(20), *mixtures(40)] for _ in range(2))
    assert [one.make() for one in first] == [one.make() for one in again]
    with quiet_native_output():
        for network in first:
            Sitting(load_runtime(), network.make(), threads=1)
            nodes = build_graph(parse_model(network.make(), "network")).nodes
            assert len(nodes) == len(network.parts) >= 2
            for node, part in zip(nodes, network.parts, strict=True):
                (alone,) = build_graph(parse_model(part.make(), "part")).nodes
                assert alone.name == node.name


def test_however_early_the_time_runs_out_the_common_kinds_were_timed() -> None:
    early = {probe.group for probe in in_turns(all_probes())[:200]}
    for type_name in MAIN_TYPES:
        assert {f"{type_name} {kind}" for kind in ("pointwise", "convolution", "depthwise", "dense")} <= early


def test_a_second_pass_begins_where_the_time_of_the_first_ran_out(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[str] = []
    ticks = count(0.0, 1.0)
    monkeypatch.setattr(timing, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    monkeypatch.setattr(timing, "_time_probe", lambda probe, *_, **__: timed.append(probe.group) or [])
    timer = timing.ProbeTimer([Probe(name, bytes) for name in "abcd"], SimpleNamespace(), threads=[1])
    timer.run(2.5)
    assert timed == ["a", "b"]
    timer.run(3.5)
    assert timed == ["a", "b", "c", "d", "a"]


@pytest.mark.runtime
def test_the_parts_of_networks_that_are_timed_alone_are_as_many_as_the_progress_bar_counts() -> None:
    assert len(NetworkTimer(load_runtime(), threads=[1]).probes()) == PARTS


def test_a_probe_is_described_by_what_it_computes() -> None:
    probe = next(probe for probe in all_probes() if probe.group == "int8 pointwise")
    content = probe.make()
    (node,) = build_graph(parse_model(content, "probe")).nodes
    described = describe_probe(probe, content, quantized=True)
    assert described.kernel == "xnnpack/int8/CONV_2D/1x1"
    assert len(described.sizes) == 4
    assert node.options.padding == "same"
    assert describe_probe(probe, content, quantized=False).kernel == "plain/int8/CONV_2D/1x1"


def test_no_cost_of_a_law_is_below_zero() -> None:
    random = np.random.default_rng(3)
    matrix = random.random((40, 5))
    true = np.array([2.0, 0.0, 1.0, 0.0, 3.0])
    found = least_squares_above_zero(matrix, matrix @ true)
    assert found == pytest.approx(true, abs=1e-6)
    assert (least_squares_above_zero(matrix, matrix @ np.array([1.0, -1.0, 0.5, -0.2, 0.1])) >= 0).all()


def test_what_was_slow_against_its_neighbours_does_not_count() -> None:
    points = products()
    sizes = list(points)[len(points) // 2]
    disturbed = points | {sizes: 2 * points[sizes]}
    table = fit_table("xnnpack/int8/CONV_2D/1x1", 1, disturbed, caches_bytes=(2**15, 2**21))
    assert len(table.points.splitlines()) == len(points) - 1
    predicted, _ = table.predict(np.array([sizes]))
    assert predicted[0] == pytest.approx(points[sizes], rel=0.1)


def test_a_table_gives_back_what_was_measured_and_is_unsure_far_from_it() -> None:
    table = fit_table("xnnpack/int8/CONV_2D/1x1", 1, products(), caches_bytes=(2**15, 2**21))
    sizes, took_us = table.measured
    predicted, near = table.predict(sizes)
    assert predicted == pytest.approx(took_us, rel=0.1)
    _, far = table.predict(np.array([[200_000, 5000, 5000, 1]]))
    assert far[0] >= near.max()


def test_threads_between_the_measured_ones_lie_between() -> None:
    found = calibration({"xnnpack/int8/CONV_2D/1x1": products()}, threads=(1, 4))
    wanted = [Descriptor("xnnpack/int8/CONV_2D/1x1", (784, 64, 128, 1))]
    one, two, four = (found.operators(wanted, threads=count)[0] for count in (1, 2, 4))
    assert one
    assert two
    assert four
    assert one[0] > two[0] > four[0]
    assert two[0] == pytest.approx(one[0] / 2, rel=0.1)


def test_a_kernel_that_was_not_timed_is_predicted_from_its_relatives_with_more_doubt() -> None:
    found = calibration({"xnnpack/int8/CONV_2D/1x1": products()})
    size = (784, 64, 128, 1)
    names = ("xnnpack/int8/CONV_2D/1x1", "xnnpack/uint8/CONV_2D/1x1", "xnnpack/float32/CONV_2D/1x1", "plain/a/OWN")
    same, other, far, none = found.operators([Descriptor(name, size) for name in names], threads=1)
    assert same
    assert other
    assert far
    assert none is None
    assert same[0] == pytest.approx(other[0])
    assert same[1] < other[1] < far[1]


def test_indices_of_64_bits_take_as_long_as_those_that_were_timed() -> None:
    sizes = ((rows, inner, 1) for rows in (100, 1000, 10_000) for inner in (4, 20, 100))
    points = {(rows, inner, one): 1 + 0.01 * rows + 0.001 * rows * inner for rows, inner, one in sizes}
    slower = {key: 9 * us for key, us in points.items()}
    found = calibration({"plain/int8-int32/ARG_MAX": points, "plain/int8/SUM": slower})
    names = ("plain/int8-int32/ARG_MAX", "plain/int8-int64/ARG_MAX", "plain/uint8-int64/ARG_MAX")
    timed, wide, unsigned = found.operators([Descriptor(name, (784, 21, 1)) for name in names], threads=1)
    assert timed
    assert wide
    assert unsigned
    assert [wide[0], unsigned[0]] == pytest.approx([timed[0]] * 2)
    assert timed[1] <= wide[1]


def test_weights_are_cold_only_where_a_network_is_larger_than_the_cache() -> None:
    one, two = Caches(2**20, 2**20, 1), Caches(2**20, 2**20, 2)
    assert sum(one.cold(network((200_000, 200_000)))) == 0
    assert sum(one.cold(network((500_000,) * 8))) == 4_000_000
    assert sum(one.cold(network((4_000_000, 0)))) == 0, "alone it was as cold"
    dense = network((600_000,) * 3, once=True)
    assert one.cold_sums(dense)[1] > 0
    assert sum(two.cold(dense)) == 0, "each core keeps its half"


def test_an_operator_costs_less_in_a_network_than_an_inference_and_never_nothing() -> None:
    around = network((10,) * 50)
    spared = context(per_operator_us=-0.5)
    assert in_context_us(spared, Alone.of([1.0] * 50, [1.0] * 50), around) == pytest.approx(50 - 49 * 0.5)
    assert 0 < in_context_us(spared, Alone.of([0.4] * 50, [0.4] * 50), around) < 50 * 0.1


def test_what_made_up_networks_took_more_than_their_operators_is_found_again() -> None:
    def more_us(around: Surroundings) -> float:
        cold_mb = sum(Caches(2**20, 2**20, 1).cold(around)) / 1e6
        return 20.0 * cold_mb - 0.4 * (len(around.parts) - 1)

    wholes = made_up_wholes(4, network, more_us)
    found = fit_context(wholes, threads=1, cache=Cache(2**20, 1), call=(1.0, 0.0))
    assert found.error < 0.02
    for whole in wholes[:5]:
        assert in_context_us(found, whole.alone, whole.around) == pytest.approx(whole.us, rel=0.03)


def test_the_caches_are_read_where_the_system_tells(tmp_path: Path) -> None:
    for index, (level, kind, size, shared) in enumerate(
        [(1, "Data", "32K", "0"), (1, "Instruction", "48K", "0"), (2, "Unified", "1M", "0-3")]
    ):
        folder = tmp_path / f"sys/devices/system/cpu/cpu0/cache/index{index}"
        folder.mkdir(parents=True)
        for name, value in (("level", level), ("type", kind), ("size", size), ("shared_cpu_list", shared)):
            (folder / name).write_text(f"{value}\n")
    first, second = read_caches(tmp_path)
    assert (first, second) == (Cache(32 * 1024, 1), Cache(2**20, 4))
    assert (first.of(4), second.of(4)) == (128 * 1024, 2**20)
    assert read_caches(tmp_path / "nothing")[0].size_bytes > 0


def test_a_short_calibration_becomes_a_profile_that_predicts(tmp_path: Path) -> None:
    found = calibrate(load_runtime(), threads=[1], seconds=2.0, machine=MACHINE)
    text = profile_text(found, cores=2, memory_mb=1000.0, clock_mhz=None)
    assert tomllib.loads(text)["calibration"]["basis"] == "measured"
    path = tmp_path / "mine.toml"
    path.write_text(text)
    profile = load_profile(str(path))
    assert profile.calibration == found
    for network in patterns(6):
        latency = predict_latency(build_graph(parse_model(network.make(), "network")), profile, threads=1)
        assert 0 < latency.low_ms < latency.ms < latency.high_ms
        assert latency.ms - latency.call_ms == pytest.approx(sum(node.ms for node in latency.nodes))


def test_bench_tells_what_the_profile_of_this_machine_expects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "network.tflite"
    model.write_bytes(next(patterns(1)).make())
    assert expected(model, threads=1, state=tmp_path) is None
    made = calibration({"xnnpack/float32/CONV_2D/1x1": products()})
    text = profile_text(made, cores=2, memory_mb=1.0, clock_mhz=1.0)
    (tmp_path / "profile.toml").write_text(text)
    # Of another machine: its pace says nothing here.
    assert expected(model, threads=1, state=tmp_path) is None
    monkeypatch.setattr(bench_expected, "pace", lambda _profile, *, threads: 1.25)
    found = expected(model, threads=1, state=tmp_path)
    assert found is not None
    assert found["at_this_pace_ms"] == pytest.approx(1.25 * found["predicted_ms"], abs=0.002)
    assert found["interval_ms"][0] < found["predicted_ms"] < found["interval_ms"][1]
    assert "1.25 times as long" in line(found)
    (tmp_path / "profile.toml").write_text("damaged")
    assert expected(model, threads=1, state=tmp_path) is None


def test_an_operator_that_was_measured_counts_as_measured(tmp_path: Path) -> None:
    made = calibration({"xnnpack/int8/FULLY_CONNECTED": products()})
    profile = parse_profile(profile_text(made, cores=2, memory_mb=1.0, clock_mhz=1.0), name="x", where="x.toml")
    graph = build_graph(parse_model(list(patterns(4))[3].make(), "network"))
    latency = predict_latency(graph, profile, threads=1, known=lambda _graph, node: 1000.0 * (node.index + 1))
    assert all(node.known for node in latency.nodes)
    count = len(latency.nodes)
    assert latency.ms == pytest.approx(count * (count + 1) / 2 + 0.001)


def test_inspecting_takes_operators_that_were_timed_on_the_device(tmp_path: Path) -> None:
    made = calibration({"xnnpack/int8/FULLY_CONNECTED": products()})
    profile = parse_profile(profile_text(made, cores=2, memory_mb=1.0, clock_mhz=1.0), name="x", where="x.toml")
    path = tmp_path / "network.tflite"
    path.write_bytes(list(patterns(4))[3].make())
    cache = OperatorCache(runtime="r", machine="m")
    graph = read_graph(path)
    for node in graph.nodes:
        cache.add(graph, node, threads=1, us=500.0)
    (found,) = inspect_model(path, profiles=(profile,), threads=1, operators=cache).predictions
    assert all(node.known for node in found.latency.nodes)
    (other,) = inspect_model(path, profiles=(profile,), threads=2, operators=cache).predictions
    assert not any(node.known for node in other.latency.nodes)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("reach = ", "reach = -"),
        ("noise = ", "noise = nan #"),
        ('points = """\n', 'points = """\nmany 1 1 1.0\n'),
        ("costs_us = [", "costs_us = [1.0, "),
        ('kernel = "xnnpack/', 'kernel = "'),
        ("kept_bytes = ", "kept_bytes = 0 #"),
        ("threads = 1", "threads = 0"),
    ],
)
def test_a_damaged_calibration_is_refused_in_a_sentence(old: str, new: str) -> None:
    made = calibration({"xnnpack/int8/CONV_2D/1x1": products()})
    text = profile_text(made, cores=2, memory_mb=1.0, clock_mhz=1.0)
    head, begin, rest = text.partition("[[calibration.contexts]]")
    assert old in rest
    with pytest.raises(UsageError, match=r"x\.toml: "):
        parse_profile(head + begin + rest.replace(old, new), name="x", where="x.toml")


def test_the_command_writes_a_profile_and_says_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGE_INFER_STATE_DIR", str(tmp_path / "state"))
    assert main(["bench", "--calibrate", "--seconds", "5", "--threads", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["profile"] == str(tmp_path / "state" / "profile.toml")
    assert document["operators"] > 20
    assert load_profile(document["profile"]).calibration is not None


@pytest.mark.parametrize(
    "words",
    [
        ["--calibrate", "model.tflite"],
        ["--calibrate", "--layers"],
        ["--calibrate", "--threads", "many"],
        ["--calibrate", "--seconds", "1"],
        ["--calibrate", "-o", "/nowhere/at/all.toml"],
        ["-o", "x.toml"],
        [],
    ],
)
def test_what_cannot_be_calibrated_ends_with_status_2_in_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["bench", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
