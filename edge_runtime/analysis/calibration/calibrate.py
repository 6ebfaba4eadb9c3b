"""Measure the device this runs on, within a given time: operators, networks, calls; and fit everything to them."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import geometric_mean
from typing import Any, Final

import msgspec

from edge_runtime.analysis.calibrated import Calibration, look_up
from edge_runtime.analysis.calibration import operators
from edge_runtime.analysis.calibration.caches import Cache, read_caches
from edge_runtime.analysis.calibration.context import Described, fit_context
from edge_runtime.analysis.calibration.far_weights import Chain, far_costs, time_chains
from edge_runtime.analysis.calibration.fitting import LEAST_POINTS, fit_table
from edge_runtime.analysis.calibration.network_timing import PARTS, Known, NetworkTimer
from edge_runtime.analysis.calibration.networks import NETWORKS
from edge_runtime.analysis.calibration.pace import Course, Pace
from edge_runtime.analysis.calibration.probe import in_turns
from edge_runtime.analysis.calibration.probes import all_probes
from edge_runtime.analysis.calibration.profile_text import memory_mb
from edge_runtime.analysis.calibration.timing import Point, ProbeTimer, Sitting
from edge_runtime.analysis.kernel_table import Table
from edge_runtime.errors import EngineError
from edge_runtime.interpreter import Runtime, quiet_native_output

MOST_SECONDS: Final = 60.0
PASSES: Final = ((0.68, 0.26), (0.32, 0.55))
"""Shares of the time, and of each what networks get. The first is long enough for everything to be timed once."""
_CALL_S: Final = 0.15
_LEAST_SHARE: Final = 0.8
"""Of the time is for operators and networks, whatever came before."""
_CHAINS_FROM_S: Final = 10.0
"""Chains of weights are timed where there is so much time: that takes about 3 s."""
SLOWEST_SHARE: Final = 1.5
SLOWEST_US: Final = 10.0
"""More threads that take longer than so many times one, and so much more, were kept from running: left out."""
Progress = Callable[[str, int], object]
"""Told of what is being done, and how many steps of it are done."""


def steps() -> int:
    """Return how many steps ``calibrate`` tells of."""
    return len(PASSES) * (len(all_probes()) + PARTS + NETWORKS)


def calibrate(
    runtime: Runtime,
    *,
    threads: Sequence[int],
    seconds: float,
    machine: dict[str, Any],
    progress: Progress = lambda _what, _done: None,
) -> Calibration:
    """Measure for at most about ``seconds``, then fit, which takes as long as it takes (20 s on a small board).

    ``machine`` is what ``edge_runtime.bench.machine`` says. Raises EngineError when nothing could be measured.
    """
    began_s = time.monotonic()
    with quiet_native_output():
        paces = {count: Pace(runtime, threads=count) for count in threads}
        measured = _measure(runtime, paces, began_s=began_s, seconds=seconds, progress=progress)
    took_s = time.monotonic() - began_s
    if not measured.timer.points():
        raise EngineError("no operator could be timed here; see edge-infer doctor")
    progress("fitting", 0)
    return Calibration(
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        runtime=runtime.version,
        software=f"Python {machine['python']}",
        machine=machine_name(machine),
        system=str(machine["system"]),
        seconds=round(took_s, 1),
        noise=round(measured.timer.noise(measured.slowness), 4),
        **_fitted(measured, paces),
    )


@dataclass(frozen=True, slots=True)
class _Measured:
    """Everything that was measured; all but the first two by number of threads."""

    timer: ProbeTimer
    beside: NetworkTimer
    courses: dict[int, Course]
    chains: dict[int, list[Chain]]
    call: dict[int, tuple[float, float]]

    def slowness(self, threads: int, at_s: float) -> float:
        """Return how many times as long everything took at a moment as at a calm one."""
        return self.courses[threads].slowness(at_s)


def _measure(
    runtime: Runtime, paces: dict[int, Pace], *, began_s: float, seconds: float, progress: Progress
) -> _Measured:
    """Time everything until ``seconds`` after ``began_s``."""

    def keep_up(count: int) -> None:
        paces[count].keep_up()

    threads = tuple(paces)
    beside = NetworkTimer(runtime, threads=threads, meanwhile=keep_up)
    probes = in_turns([*all_probes(), *beside.probes()])
    timer = ProbeTimer(probes, runtime, threads=threads, meanwhile=keep_up)
    call = {count: _call(runtime, count) for count in threads}
    chains = _chains(runtime, threads) if seconds >= _CHAINS_FROM_S else {}
    # Setting up takes its time on a busy machine: that must not be all there is.
    left_s = max(began_s + seconds - time.monotonic(), _LEAST_SHARE * seconds)
    for share, networks_share in PASSES:
        timer.run(left_s * share * (1 - networks_share), lambda done: progress("operators", done))
        beside.run(left_s * share * networks_share, lambda done: progress("networks", done))
    for pace in paces.values():
        pace.settle()
    courses = {count: pace.course() for count, pace in paces.items()}
    return _Measured(timer, beside, courses, chains, call)


def _fitted(measured: _Measured, paces: dict[int, Pace]) -> dict[str, Any]:
    """Return the contexts and the kernels, all at the pace of a calm moment."""
    caches = read_caches()
    tables = tuple(fit_kernels(measured.timer.points(measured.slowness), caches))
    wholes = measured.beside.wholes(_by(tables), measured.slowness)
    contexts = []
    for count, pace in paces.items():
        fitted = fit_context(wholes, threads=count, cache=caches[1], call=measured.call[count])
        far = far_costs(measured.chains.get(count, []), fitted, measured.slowness)
        contexts.append(msgspec.structs.replace(fitted, reference_us=pace.reference_us, far_us_per_mb=far))
    return {"contexts": tuple(contexts), "kernels": tables}


def _by(tables: Sequence[Table]) -> Known:
    """Return what tells the times of operators alone by these tables, as predictions will have them."""
    known = {(table.kernel, table.threads): table for table in tables}

    def alone(described: Described, threads: int) -> list[float] | None:
        found = look_up(known, [described.descriptors[number] for number in described.alone], threads=threads)
        times = [one[0] for one in found if one]
        return times if len(times) == len(found) else None

    return alone


def _chains(runtime: Runtime, threads: Sequence[int]) -> dict[int, list[Chain]]:
    """Return the chains that could be timed, by number of threads; none where the interpreter does not run them."""
    with contextlib.suppress(EngineError):
        return {count: time_chains(runtime, threads=count, memory_mb=memory_mb()) for count in threads}
    return {}


def machine_name(machine: dict[str, Any]) -> str:
    """Return what names a machine in profiles and in the cache of operators."""
    return f"{machine['cpu'] or 'unknown processor'}, {machine['cores']} cores"


def fit_kernels(points: Sequence[Point], caches: tuple[Cache, Cache]) -> list[Table]:
    """Return a table for every kernel that has enough points."""
    took_us: dict[tuple[str, int], dict[tuple[int, ...], list[float]]] = {}
    alone = {point.descriptor: point.us for point in points if point.threads == 1}
    for point in points:
        if point.us > SLOWEST_SHARE * alone.get(point.descriptor, point.us) + SLOWEST_US:
            continue
        table = took_us.setdefault((point.descriptor.kernel, point.threads), {})
        table.setdefault(point.descriptor.sizes, []).append(point.us)
    return [
        fit_table(
            kernel,
            threads,
            {sizes: geometric_mean(times) for sizes, times in measured.items()},
            caches_bytes=(caches[0].of(threads), caches[1].of(threads)),
        )
        for (kernel, threads), measured in sorted(took_us.items())
        if len(measured) >= LEAST_POINTS
    ]


def _call(runtime: Runtime, threads: int) -> tuple[float, float]:
    """Return what a call costs beside the inference, in microseconds, and more per megabyte copied."""
    found = []
    for shape in ([1, 16], [1, 224, 224, 3]):
        content = operators.unary("ABS", "float32", "float32", shape)
        sitting = Sitting(runtime, content, threads=threads)
        found.append(sitting.usual_call_us(_CALL_S / 2) - sitting.usual_us(_CALL_S / 2))
    copied_mb = 2 * 4 * 224 * 224 * 3 / 1e6
    return max(found[0], 0.0), max(found[1] - found[0], 0.0) / copied_mb
