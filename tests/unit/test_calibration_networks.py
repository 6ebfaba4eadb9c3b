"""What calibration learns from made-up networks: the pace, what operators hand on, and kinds of networks."""

from itertools import islice
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from calibration_parts import made_up_wholes
from test_calibration import context

from edge_runtime.analysis.calibration import calibrate, operators, pace
from edge_runtime.analysis.calibration.caches import Cache
from edge_runtime.analysis.calibration.context import Whole, describe_graph, fit_context
from edge_runtime.analysis.calibration.fitting import fit_table
from edge_runtime.analysis.calibration.large import large
from edge_runtime.analysis.calibration.mixtures import mixtures
from edge_runtime.analysis.calibration.networks import NETWORKS, networks
from edge_runtime.analysis.calibration.pace import Pace
from edge_runtime.analysis.calibration.probe import Probe
from edge_runtime.analysis.calibration.probes import all_probes
from edge_runtime.analysis.calibration.timing import Point, Sitting, describe_probe
from edge_runtime.analysis.descriptor import Descriptor
from edge_runtime.analysis.graph import build_graph
from edge_runtime.analysis.surroundings import Part, Surroundings, in_context_us, share_us
from edge_runtime.cli.bench_calibrate import report
from edge_runtime.interpreter import load_runtime, quiet_native_output
from edge_runtime.model_file import parse_model

KERNEL = "xnnpack/float32/CONV_2D/1x1"


def handing(fed_bytes: tuple[int, ...]) -> Surroundings:
    """Return operators that are fed so many bytes, with few weights, all in one part of XNNPACK's."""
    sizes = {"kind": 0, "real": True, "delegated": True, "once": False, "weight_bytes": 100, "made_bytes": 100}
    return Surroundings(tuple(Part(fed_bytes=size, **sizes) for size in fed_bytes), runs=1, copied_bytes=0)


def test_networks_and_their_operators_are_compared_at_one_pace() -> None:
    # Everything was timed while the machine was 1.25 times as slow as in the median of the session.
    sizes = [(rows, outputs, 64, 1) for rows in (49, 196, 784) for outputs in (16, 64, 256)]
    points = [Point(Descriptor(KERNEL, size), 1, 1e-4 * size[0] * size[1] * 64) for size in sizes]

    def wholes(alone: Any) -> list[Whole]:
        found = []
        for start in range(len(sizes) - 2):
            chosen = points[start : start + 3]
            described = SimpleNamespace(descriptors=[one.descriptor for one in chosen], alone=range(3))
            us = sum(one.us for one in chosen)
            found.append(Whole(handing((100,) * 3), 1, us, tuple(alone(described, 1)), "kind"))
        return found

    measured = SimpleNamespace(
        timer=SimpleNamespace(points=points), beside=SimpleNamespace(wholes=wholes),
        chains={}, call={1: (0.0, 0.0)}, longer={1: ()},
    )  # fmt: skip
    paces = {1: SimpleNamespace(settle=lambda: 1 / 1.25, reference_us=(1.0,))}
    fitted = calibrate._fitted(measured, paces)  # type: ignore[arg-type]
    for whole in wholes(calibrate._by(fitted["kernels"])):
        predicted_us = in_context_us(fitted["contexts"][0], whole.alone_us, whole.around)
        assert predicted_us == pytest.approx(whole.us / 1.25, rel=0.05)


def test_what_operators_hand_on_costs_what_the_networks_show() -> None:
    wholes = made_up_wholes(6, handing, lambda around: 15.0 * around.handed_mb)
    found = fit_context(wholes, threads=1, cache=Cache(2**20, 1), call=(1.0, 0.0))
    assert found.handed_us_per_mb == pytest.approx(15.0, rel=0.1)
    assert in_context_us(found, wholes[0].alone_us, wholes[0].around) == pytest.approx(wholes[0].us, rel=0.03)


def test_a_profile_without_the_cost_of_handing_on_is_refused() -> None:
    with pytest.raises(TypeError, match="handed_us_per_mb"):
        type(context())(
            threads=1, scale=1.0, per_operator_us=0.0, cold_us_per_mb=0.0, cold_once_us_per_mb=0.0, call_us=1.0,
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
    slow.now()
    assert len(slow._looks) == looks, "a look takes two seconds here"
    now_s += 30.0
    slow.now()
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
