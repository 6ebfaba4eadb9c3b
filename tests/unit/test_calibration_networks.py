"""What calibration learns from made-up networks: the pace, what operators hand on, and kinds of networks."""

from dataclasses import replace
from itertools import cycle, islice
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from calibration_parts import context, made_up_wholes

from edge_runtime.analysis.calibration import calibrate, operators, pace
from edge_runtime.analysis.calibration.caches import Cache
from edge_runtime.analysis.calibration.context import Whole, describe_graph, fit_context
from edge_runtime.analysis.calibration.fitting import fit_table
from edge_runtime.analysis.calibration.large import large
from edge_runtime.analysis.calibration.mixtures import mixtures
from edge_runtime.analysis.calibration.model_writer import ModelWriter
from edge_runtime.analysis.calibration.networks import NETWORKS, networks, turns
from edge_runtime.analysis.calibration.pace import Course, Pace, references
from edge_runtime.analysis.calibration.probe import Probe
from edge_runtime.analysis.calibration.probes import all_probes
from edge_runtime.analysis.calibration.timing import Point, Sitting, Slowness, Timed, describe_probe, undisturbed
from edge_runtime.analysis.descriptor import Descriptor
from edge_runtime.analysis.graph import build_graph
from edge_runtime.analysis.network_cost import Alone, in_context_us, repeated_us, share_us
from edge_runtime.analysis.surroundings import Part, Surroundings
from edge_runtime.analysis.xnnpack import takes
from edge_runtime.cli.bench_calibrate import report
from edge_runtime.interpreter import load_runtime, quiet_native_output
from edge_runtime.model_file import parse_model

KERNEL = "xnnpack/float32/CONV_2D/1x1"


def handing(fed_bytes: tuple[int, ...]) -> Surroundings:
    """Return operators that are fed so many bytes, with few weights, all in one part of XNNPACK's."""
    sizes = {"kind": 0, "real": True, "delegated": True, "once": False, "weight_bytes": 100, "made_bytes": 100}
    return Surroundings(tuple(Part(fed_bytes=size, **sizes) for size in fed_bytes), runs=1, copied_bytes=0)


def test_networks_and_their_operators_are_compared_at_one_pace() -> None:
    # Everything was timed while the machine was 1.25 times as slow as when it was calm.
    sizes = [(rows, outputs, 64, 1) for rows in (49, 196, 784) for outputs in (16, 64, 256)]
    points = [Point(Descriptor(KERNEL, size), 1, 1e-4 * size[0] * size[1] * 64) for size in sizes]

    def wholes(alone: Any, slowness: Slowness) -> list[Whole]:
        found = []
        for start in range(len(sizes) - 2):
            chosen = points[start : start + 3]
            described = SimpleNamespace(descriptors=[one.descriptor for one in chosen], alone=range(3))
            took = Timed(sum(one.us for one in chosen), 1.0, 1)
            times = alone(described, 1)
            found.append(Whole(handing((100,) * 3), 1, took.at_pace(slowness), Alone.of(times, times), "kind"))
        return found

    def timed(slowness: Slowness) -> list[Point]:
        return [replace(one, us=Timed(one.us, 1.0, 1).at_pace(slowness)) for one in points]

    measured = calibrate._Measured(
        timer=SimpleNamespace(points=timed), beside=SimpleNamespace(wholes=wholes),
        courses={1: Course(np.array([0.9, 1.1]), np.log([1.25, 1.25]))}, chains={}, call={1: (0.0, 0.0)},
    )  # type: ignore[arg-type]  # fmt: skip
    fitted = calibrate._fitted(measured, {1: SimpleNamespace(reference_us=(1.0,))})  # type: ignore[dict-item]
    for whole in wholes(calibrate._by(fitted["kernels"]), undisturbed):
        predicted_us = in_context_us(fitted["contexts"][0], whole.alone, whole.around)
        assert predicted_us == pytest.approx(whole.us / 1.25, rel=0.05)


def test_the_pace_of_a_moment_is_that_of_the_second_around_it() -> None:
    # Slow for ten seconds, then fast; one look in between says otherwise.
    moments_s = np.arange(0.0, 20.0, 0.2)
    slower = np.where(moments_s < 10, 0.1, 0.0)
    slower[25] = 0.4
    course = Course(moments_s, slower)
    assert course.slowness(2.0) == pytest.approx(np.exp(0.1), rel=1e-3)
    assert np.exp(0.1) < course.slowness(moments_s[25]) < np.exp(0.17)
    assert course.slowness(18.0) == pytest.approx(1.0, rel=1e-3)
    assert 1.0 < course.slowness(1e6) < np.exp(0.1), "far from every look all of them tell"


@pytest.mark.runtime
def test_the_pace_that_is_1_is_a_calm_one(monkeypatch: pytest.MonkeyPatch) -> None:
    times_us = cycle([10.0] * (2 * len(references())) + [12.0] * (2 * len(references())))
    monkeypatch.setattr(Sitting, "time_us", lambda _sitting, _runs: next(times_us))
    looked_at = Pace(load_runtime(), threads=1)
    looked_at.look(15)
    looked_at.settle()
    course = looked_at.course()
    assert looked_at.reference_us == pytest.approx([10.0] * len(references()))
    assert np.exp(course.slower) == pytest.approx([1.0, 1.2] * 10)


def test_operators_that_one_works_on_let_the_others_fall_asleep() -> None:
    alone = Alone.of([100.0, 90.0, 90.0, 100.0, 0.4, 100.0], [50.0, 90.0, 90.0, 50.0, 0.4, 50.0])
    shared, asleep = alone.shared()
    assert shared == 3
    assert asleep == pytest.approx(1 - np.exp(-180 / 60), abs=0.01), "once, behind 180 us of one thread's work"
    around = handing((100,) * 6)
    woken = context(threads=2, shared_us=1.0, wake_us=20.0)
    more_us = in_context_us(woken, alone, around) - in_context_us(context(threads=2), alone, around)
    assert more_us == pytest.approx(3 * 1.0 + 20.0 * asleep)
    assert in_context_us(context(shared_us=1.0, wake_us=20.0), alone, around) == in_context_us(context(), alone, around)


def test_what_sharing_and_waking_cost_is_found_again() -> None:
    random, wholes = np.random.default_rng(5), []
    for number in range(60):
        single_us = random.uniform(20, 120, 12)
        alone = Alone(single_us, single_us * random.choice([0.55, 1.0], 12))
        shared, asleep = alone.shared()
        us = alone.total_us + 2.0 * shared + 25.0 * asleep
        wholes.append(Whole(handing((100,) * 12), 2, us, alone, "abc"[number % 3]))
    found = fit_context(wholes, threads=2, cache=Cache(2**20, 1), call=(0.0, 0.0))
    assert found.wake_us == pytest.approx(25.0, rel=0.15)
    assert found.shared_us == pytest.approx(2.0, rel=0.4)


def test_networks_take_turns_between_what_is_shared_and_what_is_not() -> None:
    made = list(turns(8))
    assert {network.kind.split()[0] for network in made} == {"turns"}
    for network in made:
        kernels = [
            one.kernel
            for one in describe_graph(
                build_graph(parse_model(network.make(), network.kind)), runtime="litert"
            ).descriptors
        ]
        assert any(kernel.endswith("DEPTHWISE_CONV_2D/row") or "HARD_SWISH" in kernel for kernel in kernels)
        assert any(kernel.endswith("CONV_2D/1x1") for kernel in kernels)


def test_what_operators_hand_on_costs_what_the_networks_show() -> None:
    wholes = made_up_wholes(6, handing, lambda around: 15.0 * around.handed_mb)
    found = fit_context(wholes, threads=1, cache=Cache(2**20, 1), call=(1.0, 0.0))
    assert found.handed_us_per_mb == pytest.approx(15.0, rel=0.1)
    assert in_context_us(found, wholes[0].alone, wholes[0].around) == pytest.approx(wholes[0].us, rel=0.03)


def test_a_profile_without_the_cost_of_handing_on_is_refused() -> None:
    with pytest.raises(TypeError, match="handed_us_per_mb"):
        type(context())(
            threads=1, scale=1.0, per_operator_us=0.0, cold_us_per_mb=0.0, cold_once_us_per_mb=0.0, call_us=1.0,
            shared_us=0.0, wake_us=0.0,
            copy_us_per_mb=0.0, kept_bytes=1, level2_bytes=1, caches=1, error=0.1,
        )  # type: ignore[call-arg]  # fmt: skip


def test_a_long_operator_may_deviate_by_more_time_and_a_smaller_share() -> None:
    short, long = share_us(np.array([10.0, 1000.0]))
    assert long > short
    assert long / 1000 < short / 10


def test_large_networks_have_more_weights_and_values_than_a_cache_holds() -> None:
    made = [
        describe_graph(build_graph(parse_model(one.make(), one.kind)), runtime="litert").around for one in large(10)
    ]
    assert sum(one.weights_mb > 4 for one in made) >= 5
    assert sum(one.handed_mb > 4 for one in made) >= 3
    assert sum(network.kind.startswith("large") for network in networks()) >= 10
    assert sum(1 for _ in networks()) == NETWORKS


@pytest.mark.runtime
def test_large_networks_run() -> None:
    with quiet_native_output():
        for network in large(5):
            Sitting(load_runtime(), network.make(), threads=1)


def test_some_made_up_networks_have_weights_of_8_bits_and_values_in_float32() -> None:
    kernels = set()
    for network in islice(mixtures(16), 16):
        content = network.make()
        graph = build_graph(parse_model(content, "mixture"))
        if any("dynamic" in part.key for part in network.parts):
            assert {graph.tensors[index].type.name for index in graph.model.inputs} == {"float32"}
            kernels |= {one.kernel for one in describe_graph(graph, runtime="litert").descriptors}
    assert any("/float32-int8/CONV_2D" in kernel for kernel in kernels)
    assert not any("/int8/" in kernel for kernel in kernels)


def test_a_depthwise_convolution_on_a_single_row_is_a_kernel_of_its_own() -> None:
    kernels = []
    for row in (False, True):
        content = operators.depthwise("int8", 64, 32, window=5, row=row)
        described = describe_probe(Probe("one", lambda content=content: content), content, quantized=True)  # type: ignore[misc]
        kernels.append(described)
    picture, single = kernels
    assert picture.kernel == "xnnpack/int8/DEPTHWISE_CONV_2D"
    assert single.kernel == "xnnpack/int8/DEPTHWISE_CONV_2D/row"
    assert single.sizes == (64, 32, 1, 5)
    assert sum(probe.group.endswith("depthwise row") for probe in all_probes()) > 40


@pytest.mark.runtime
def test_on_a_slow_machine_the_pace_is_looked_at_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0

    def timed(_sitting: Sitting, _runs: int) -> float:
        nonlocal now_s
        now_s += 0.1
        return 10.0

    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: now_s))
    monkeypatch.setattr(Sitting, "time_us", timed)
    slow = Pace(load_runtime(), threads=1)
    looks = len(slow._looks)
    now_s += 2.0
    slow.keep_up()
    assert len(slow._looks) == looks, "a look takes two seconds here"
    now_s += 30.0
    slow.keep_up()
    assert len(slow._looks) == looks + 1


def test_what_is_left_of_the_outputs_costs_what_it_does_and_not_what_whole_tiles_do() -> None:
    def took_us(rows: int, outputs: int, depth: int) -> float:
        whole, rest = divmod(outputs, 32)
        return 1.0 + 1e-4 * rows * depth * (32 * whole + 1.5 * 16 * -(-rest // 16))

    widths = (8, 12, 16, 20, 24, 28, 40, 48, 56, 64, 72, 80, 96, 100)
    points = {(rows, width, depth, 1): took_us(rows, width, depth) for rows in (49, 784) for width in widths
              for depth in (16, 128)}  # fmt: skip
    table = fit_table(KERNEL, 1, points, caches_bytes=(2**15, 2**21))
    assert (table.tile[1], table.tile[3]) == (32, 2)
    predicted, _ = table.predict(np.array([(784, 32, 128, 1), (784, 28, 128, 1)]))
    assert predicted == pytest.approx([took_us(784, 32, 128), took_us(784, 28, 128)], rel=0.05)
    assert predicted[0] < predicted[1], "as fast kernels are: a whole tile takes less than most of one"


@pytest.mark.parametrize(("noise", "said"), [(0.021, "2.1% apart"), (0.0, "time each once")])
def test_the_noise_is_said_only_where_something_was_timed_twice(noise: float, said: str) -> None:
    found = {
        "machine": "m", "system": "s", "runtime": "r", "operators": 9, "kernels": 2, "seconds": 60.0, "noise": noise,
        "contexts": [], "profile": "x.toml",
    }  # fmt: skip
    assert said in report(found)


@pytest.mark.runtime
def test_the_pace_is_that_of_this_moment_and_not_of_a_second_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, took_us = 0.0, 10.0
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: now_s))
    monkeypatch.setattr(Sitting, "time_us", lambda _sitting, _runs: took_us)
    looked_at = Pace(load_runtime(), threads=1)
    now_s, took_us = 1.0, 11.0
    assert looked_at.now() == pytest.approx(1.1)


def test_what_a_loop_runs_is_not_paid_for_as_inferences() -> None:
    around, alone = handing((0,) * 20), Alone.of([0.4] * 20, [0.4] * 20)
    plain = replace(around, parts=tuple(replace(part, delegated=False) for part in around.parts), runs=20)
    spared = context(per_operator_us=-0.35)
    assert in_context_us(spared, alone, plain) == pytest.approx(20 * 0.4)
    assert repeated_us(spared, alone, plain) == pytest.approx(in_context_us(spared, alone, around))
    assert 0 < repeated_us(spared, alone, plain) < 20 * 0.1


@pytest.mark.parametrize("stored", [True, False])
def test_a_slice_whose_place_is_computed_stays_with_the_interpreter_and_takes_half_on_average(*, stored: bool) -> None:
    writer = ModelWriter()
    fed = writer.tensor([64, 1, 32], "float32")
    places = [writer.integers([0, 0, 0]), writer.integers([1, 1, 32])]
    if not stored:
        places = [writer.tensor([3], "int32") for _ in places]
    made = writer.tensor([1, 1, 32] if stored else [1, 1, 1], "float32")
    writer.operator("SLICE", [fed, *places], [made], version=2)
    graph = build_graph(parse_model(writer.model([fed, *([] if stored else places)], [made]), "slice"))
    (node,) = graph.nodes
    assert takes(graph, node) == stored
    (described,) = describe_graph(graph, runtime="litert").descriptors
    assert described.sizes == ((64, 32, 1) if stored else (1, 1024, 1))


@pytest.mark.parametrize(
    ("shape", "made_shape", "sizes"),
    [((1, 8, 8, 4), (1, 16, 16, 4), (32, 32, 1)), ((1, 8, 8, 1, 4), (1, 8, 8, 2, 4), (128, 4, 1))],
)
def test_what_is_repeated_is_copied_in_pieces(
    shape: tuple[int, ...], made_shape: tuple[int, ...], sizes: tuple[int, ...]
) -> None:
    times = [made // fed for made, fed in zip(made_shape, shape, strict=True)]
    content = operators.with_integers("TILE", "float32", shape, made_shape, [times], version=1)
    (described,) = describe_graph(build_graph(parse_model(content, "tile")), runtime="litert").descriptors
    assert described.sizes == sizes


def test_shuffled_channels_are_many_small_matrices() -> None:
    content = operators.with_integers(
        "TRANSPOSE", "int8", [1, 100, 2, 29], [1, 100, 29, 2], [[0, 1, 3, 2]], options=(26, {})
    )
    (described,) = describe_graph(build_graph(parse_model(content, "shuffle")), runtime="litert").descriptors
    assert described.kernel == "xnnpack/int8/TRANSPOSE/pairs"
    assert described.sizes == (100, 58, 2)
    turned = operators.with_integers("TRANSPOSE", "int8", [1, 10, 58], [1, 58, 10], [[0, 2, 1]], options=(26, {}))
    (described,) = describe_graph(build_graph(parse_model(turned, "turned")), runtime="litert").descriptors
    assert described.kernel == "xnnpack/int8/TRANSPOSE/last"


@pytest.mark.runtime
def test_channel_multipliers_and_prelu_and_picking_run_as_probes() -> None:
    groups = ("float32 depthwise multiplied", "int8 depthwise multiplied", "PRELU float32", "PRELU int8")
    groups += ("GATHER float32", "GATHER int8")
    with quiet_native_output():
        for group in groups:
            probes = [probe for probe in all_probes() if probe.group == group]
            assert len(probes) >= 9
            Sitting(load_runtime(), probes[0].make(), threads=1)
