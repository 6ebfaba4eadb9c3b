"""How long a model takes on a device: a sum over its operators, each by the kernel that runs it.

On a device that was calibrated every kernel has a table of its own (``calibrated``). On others an operator takes
``MACs / speed + values / rate + bytes / bandwidth + overhead``, of what ``work`` says it asks of its kernel; MACs are
rounded up to what the kernel computes (channels in groups that depend on the processor). Under LiteRT the sum over
single operators is within a few percent of the whole model (docs/static-inference.md). Pure functions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from edge_runtime.analysis.calibrated import UNKNOWN_ERROR, Calibration, interval_factor
from edge_runtime.analysis.cost import CONTROL
from edge_runtime.analysis.descriptor import describe
from edge_runtime.analysis.graph import Graph, Node
from edge_runtime.analysis.loops import alternatives
from edge_runtime.analysis.network_cost import Alone, call_us, in_context_us, repeated_us
from edge_runtime.analysis.prediction import Latency, NodeLatency, Work
from edge_runtime.analysis.profile import Kernel, Kernels, Profile
from edge_runtime.analysis.surroundings import surroundings_of
from edge_runtime.analysis.work import model_work
from edge_runtime.analysis.xnnpack import RuntimeName, delegation, fused_away

_LEAST_SHARED_MS: Final = 0.0003
"""XNNPACK leaves what is shorter to one thread (x86-64: element-wise operators of a few thousand values)."""

Known = Callable[[Graph, Node], float | None]
"""The microseconds that an operator took alone on the device, or None."""


def predict_latency(
    graph: Graph,
    profile: Profile,
    *,
    threads: int | None = None,
    runtime: RuntimeName = "litert",
    xnnpack: bool = True,
    known: Known | None = None,
) -> Latency:
    """Predict one inference; ``threads`` are all cores unless given.

    ``known`` tells of operators that were measured; it is asked only where the profile is of a calibrated device.
    """

    def predict(one: Graph, *, repeated: bool = True) -> Latency:
        works = model_work(one, runtime=runtime, xnnpack=xnnpack, repeated=repeated)
        found = _predict(
            one, profile, works, threads=threads, runtime=runtime, xnnpack=xnnpack, known=known, repeated=repeated
        )
        return _with_called(one, found, predict) if any(node.name in CONTROL for node in one.nodes) else found

    return predict(graph, repeated=False)


def _with_called(graph: Graph, latency: Latency, predict: Callable[[Graph], Latency]) -> Latency:
    """Add what operators run of other graphs: as often as the file says; of branches the costlier, at least the other.

    What it takes to hand tensors over is not counted.
    """
    nodes, low_ms, high_ms, unknown = list(latency.nodes), latency.low_ms, latency.high_ms, latency.unknown
    for node in graph.nodes:
        if node.name not in CONTROL:
            continue
        inner = {id(each): _without_call(predict(each)) for each in graph.called.get(node.index, ())}
        unknown = unknown or next((each.unknown for each in inner.values() if each.unknown), None)
        runs = alternatives(graph, node)
        if runs is None:
            unknown = f"{node.name} runs other graphs in the file as often as its data says, which is not counted"
            continue
        every = [tuple((times, inner[id(each)]) for each, times in one) for one in runs]
        most = max(every, key=_inside_ms)
        low_ms += min(sum(times * each.low_ms for times, each in one) for one in every)
        high_ms += max(sum(times * each.high_ms for times, each in one) for one in every)
        nodes[node.index] = replace(nodes[node.index], ms=nodes[node.index].ms + _inside_ms(most), inside=most)
    ms = latency.ms + sum(node.ms for node in nodes) - sum(node.ms for node in latency.nodes)
    high_ms = inf if unknown else high_ms
    return replace(latency, nodes=tuple(nodes), ms=ms, low_ms=low_ms, high_ms=high_ms, unknown=unknown)


def _without_call(latency: Latency) -> Latency:
    """Return a prediction of a graph whose inputs are not set and outputs not read from without."""
    left = 1 - latency.call_ms / latency.ms if latency.ms else 1.0
    low_ms, high_ms = latency.low_ms * left, latency.high_ms * left
    return replace(latency, ms=latency.ms * left, low_ms=low_ms, high_ms=high_ms, call_ms=0.0)


def _inside_ms(inside: tuple[tuple[int, Latency], ...]) -> float:
    return sum(times * latency.ms for times, latency in inside)


def _predict(
    graph: Graph,
    profile: Profile,
    works: tuple[Work, ...],
    *,
    threads: int | None,
    runtime: RuntimeName,
    xnnpack: bool,
    known: Known | None,
    repeated: bool,
) -> Latency:
    used = threads or int(profile.cores.value)
    if profile.calibration:
        return _by_calibration(
            graph,
            profile,
            profile.calibration,
            works,
            threads=used,
            runtime=runtime,
            xnnpack=xnnpack,
            known=known,
            repeated=repeated,
        )
    times = (node_ms(work, profile, threads=used) for work in works)
    nodes = tuple(NodeLatency(work, ms, ms) for work, ms in zip(works, times, strict=True))
    total = sum(node.ms for node in nodes)
    return Latency(profile.name, used, total, total * profile.interval.low, total * profile.interval.high, nodes)


def _by_calibration(
    graph: Graph,
    profile: Profile,
    calibration: Calibration,
    works: tuple[Work, ...],
    *,
    threads: int,
    runtime: RuntimeName,
    xnnpack: bool,
    known: Known | None,
    repeated: bool,
) -> Latency:
    described = [describe(graph, node, delegated=work.delegated) for node, work in zip(graph.nodes, works, strict=True)]
    tables = calibration.operators(described, threads=threads)
    measured = [known(graph, node) if known else None for node in graph.nodes]
    alone: list[tuple[float, float]] = []
    for work, table, us in zip(works, tables, measured, strict=True):
        if us is not None:
            alone.append((us, calibration.noise))
        else:
            alone.append(table or (1e3 * node_ms(work, profile, threads=threads), UNKNOWN_ERROR))
    taken = delegation(graph, runtime=runtime, enabled=xnnpack)
    fused = fused_away(graph, taken)
    context, around = calibration.context(threads), surroundings_of(graph, taken, fused=fused)
    by_one = tables if threads == 1 else calibration.operators(described, threads=1)
    single = _of_one_thread(by_one, tables, [us for us, _ in alone])
    counted = [number for number in range(len(alone)) if number not in fused]
    took = Alone.of([single[number] for number in counted], [alone[number][0] for number in counted])
    in_context = repeated_us if repeated else in_context_us
    whole_us = in_context(context, took, around) if counted else 0.0
    beside = whole_us / took.total_us if counted else 0.0
    nodes = tuple(
        NodeLatency(work, 0.0 if number in fused else us * beside / 1e3, us / 1e3, exact is not None)
        for number, (work, (us, _), exact) in enumerate(zip(works, alone, measured, strict=True))
    )
    copied_us = call_us(context, around)
    ms = (whole_us + copied_us) / 1e3
    far = interval_factor(context, alone)
    return Latency(profile.name, threads, ms, ms / far, ms * far, nodes, copied_us / 1e3)


def _of_one_thread(
    single: Sequence[tuple[float, float] | None],
    tables: Sequence[tuple[float, float] | None],
    alone_us: Sequence[float],
) -> list[float]:
    """Return what operators take with one thread: as many times more as the tables say, where they know."""
    return [
        us * one[0] / table[0] if one and table else us for one, table, us in zip(single, tables, alone_us, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a kernel has to do for an operator: each is divided by one of its speeds."""

    macs: float
    values: float
    bytes_moved: float
    far_bytes: float
    """Weights that no cache keeps from one inference to the next."""
    overheads: float


def amounts(work: Work, profile: Profile, *, threads: int) -> Amounts:
    """Return what an operator asks of its kernel, rounded up to the groups that it computes, in one core."""
    kernels, kernel = _kernel(work, profile)
    grown = _grown(work.depth, kernels.depth_group) * _grown(
        work.channels, kernel.channel_group or kernels.channel_group
    )
    cache_bytes = 1e6 * profile.cache_mb.value * threads if profile.cache_mb else inf
    return Amounts(
        macs=work.macs * grown * work.weight,
        values=work.values * work.weight,
        bytes_moved=work.bytes_moved,
        far_bytes=work.weight_bytes if work.model_weight_bytes > cache_bytes else 0.0,
        overheads=work.overhead,
    )


def node_ms(work: Work, profile: Profile, *, threads: int) -> float:
    """Return the predicted time of one operator in ms."""
    if work.kind == "nothing":
        return 0.0
    used = max(1, min(threads, int(profile.cores.value)))
    asked, kernel = amounts(work, profile, threads=used), _kernel(work, profile)[1]
    busy_ms = _ratio(asked.macs, kernel.gmacs_per_s, 1e6) + _ratio(asked.bytes_moved, kernel.gb_per_s, 1e6)
    busy_ms += _ratio(asked.values, kernel.mega_values_per_s, 1e3)
    busy_ms += _ratio(asked.far_bytes, profile.bandwidth_gb_per_s.value, 1e6)
    # The interpreter runs its own element-wise kernels in one thread.
    if work.delegated or work.kind != "values":
        busy_ms = _shared_ms(busy_ms, profile, used)
    return busy_ms + kernel.overhead_us * asked.overheads / 1e3


def _kernel(work: Work, profile: Profile) -> tuple[Kernels, Kernel]:
    kernels = (profile.xnnpack if work.delegated else profile.plain)[work.type]
    kernel: Kernel = getattr(kernels, work.kind) or kernels.window
    return kernels, kernel


def _shared_ms(busy_ms: float, profile: Profile, threads: int) -> float:
    """Return what threads leave of a time; waking them costs something, and what is too short is not shared."""
    if threads == 1 or profile.wake_us is None:
        return busy_ms / profile.speedup(threads)
    if busy_ms < _LEAST_SHARED_MS:
        return busy_ms
    return busy_ms / profile.speedup(threads) + profile.wake_us.value / 1e3


def _ratio(amount: float, speed: float | None, unit: float) -> float:
    return amount / (speed * unit) if speed else 0.0


def _grown(size: int, group: int) -> float:
    """Return by how much rounding up to whole groups makes a size larger."""
    return -(-size // group) * group / size if size else 1.0
