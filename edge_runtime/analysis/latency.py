"""How long a model takes on a device: a sum over its operators, each by the kernel that runs it.

On a device that was calibrated every kernel has a table of its own (``calibrated``). On others an operator takes
``MACs / speed + bytes / bandwidth + overhead``; its MACs are rounded up to what the kernel computes (channels in groups
that depend on the processor). Under LiteRT the sum over single operators is within a few percent of the whole model
(docs/static-inference.md). Pure functions.
"""

from collections.abc import Callable
from dataclasses import replace
from math import inf, prod
from typing import Final

from edge_runtime.analysis.calibrated import UNKNOWN_ERROR, Calibration, interval_factor
from edge_runtime.analysis.cost import CONTROL, Cost, costs
from edge_runtime.analysis.descriptor import describe
from edge_runtime.analysis.graph import Graph, Node
from edge_runtime.analysis.loops import alternatives
from edge_runtime.analysis.prediction import Kind, Latency, NodeLatency, Work
from edge_runtime.analysis.profile import ElementType, Kernel, Profile
from edge_runtime.analysis.surroundings import call_us, in_context_us, surroundings_of
from edge_runtime.analysis.xnnpack import RuntimeName, delegation, fused_away

_DENSE: Final = frozenset({"FULLY_CONNECTED", "BATCH_MATMUL"})
_WINDOW: Final = frozenset({"TRANSPOSE_CONV", "CONV_3D", "CONV_3D_TRANSPOSE"})
_REPEATED_OVERHEAD: Final = 0.1
"""Of an operator's overhead, what it has in a loop (x86-64: 1400 small operators of an LSTM take 0.02 us each)."""
_VIEWS: Final = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "BITCAST"})
# Measured per value, against copying and adding, on x86-64 with ai-edge-litert 2.3.0.
_DELEGATED_WEIGHTS: Final = {"RESIZE_BILINEAR": 6.0, "MEAN": 4.0, "MUL": 2.5, "LOG": 3.0, "SUB": 2.0}
_PLAIN_WEIGHTS: Final = {
    "RFFT2D": 20.0, "COMPLEX_ABS": 7.0, "SUB": 30.0, "MUL": 30.0, "DIV": 30.0, "ADD": 2.0, "SOFTMAX": 4.0,
    "TFLite_Detection_PostProcess": 5.0, "ARG_MAX": 2.0, "ARG_MIN": 2.0, "RESIZE_BILINEAR": 10.0,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 20.0, "LSTM": 20.0, "BIDIRECTIONAL_SEQUENCE_LSTM": 20.0,
}  # fmt: skip


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
        found = _predict(one, profile, works, threads=threads, runtime=runtime, xnnpack=xnnpack, known=known)
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
    counted = [us for number, (us, _) in enumerate(alone) if number not in fused]
    alone_us = sum(counted)
    whole_us = in_context_us(context, counted, around) if counted else 0.0
    beside = whole_us / alone_us if alone_us else 0.0
    nodes = tuple(
        NodeLatency(work, 0.0 if number in fused else us * beside / 1e3, us / 1e3, exact is not None)
        for number, (work, (us, _), exact) in enumerate(zip(works, alone, measured, strict=True))
    )
    copied_us = call_us(context, around)
    ms = (whole_us + copied_us) / 1e3
    far = interval_factor(context, alone)
    return Latency(profile.name, threads, ms, ms / far, ms * far, nodes, copied_us / 1e3)


def model_work(
    graph: Graph, *, runtime: RuntimeName = "litert", xnnpack: bool = True, repeated: bool = False
) -> tuple[Work, ...]:
    """Return the work of every operator in execution order; ``repeated`` is of a graph that another runs."""
    parts = delegation(graph, runtime=runtime, enabled=xnnpack)
    return tuple(
        _work(graph, node, cost, delegated=parts.segment[node.index] is not None, repeated=repeated)
        for node, cost in zip(graph.nodes, costs(graph), strict=True)
    )


def node_ms(work: Work, profile: Profile, *, threads: int) -> float:
    """Return the predicted time of one operator in ms."""
    if work.kind == "nothing":
        return 0.0
    kernels = (profile.xnnpack if work.delegated else profile.plain)[work.type]
    kernel: Kernel = getattr(kernels, work.kind)
    macs = work.macs * _grown(work.depth, kernels.depth_group) * _grown(work.channels, kernels.channel_group)
    busy_ms = _ratio(macs, kernel.gmacs_per_s, 1e6) + _ratio(work.bytes_moved, kernel.gb_per_s, 1e6)
    busy_ms += _ratio(work.values, kernel.mega_values_per_s, 1e3)
    # The interpreter runs its own element-wise kernels in one thread.
    gain = profile.speedup(threads) if work.delegated or work.kind != "values" else 1.0
    return busy_ms * work.weight / gain + kernel.overhead_us * work.overhead / 1e3


def _ratio(amount: float, speed: float | None, unit: float) -> float:
    return amount / (speed * unit) if speed else 0.0


def _work(graph: Graph, node: Node, cost: Cost, *, delegated: bool, repeated: bool) -> Work:
    kind = _kind(graph, node, cost)
    channels, depth = _sides(graph, node, cost, kind)
    fed = sum(graph.tensors[index].elements for index in node.inputs if index >= 0 and not graph.constant[index])
    return Work(
        kind=kind,
        type=_element_type(graph, node),
        delegated=delegated,
        macs=cost.macs,
        channels=channels,
        depth=depth,
        bytes_moved=cost.bytes_moved,
        values=max(fed, cost.elements) if kind == "values" else cost.elements,
        weight=(_DELEGATED_WEIGHTS if delegated else _PLAIN_WEIGHTS).get(node.name, 1.0),
        overhead=_REPEATED_OVERHEAD if repeated else 1.0,
    )


def _kind(graph: Graph, node: Node, cost: Cost) -> Kind:
    if node.name in _VIEWS:
        return "nothing"
    if node.name == "DEPTHWISE_CONV_2D":
        return "depthwise"
    if node.name == "CONV_2D":
        weights = graph.operand(node, 1)
        pointwise = weights is not None and weights.shape[1:3] == (1, 1) and node.options.stride == (1, 1)
        return "dense" if pointwise else "window"
    if node.name in _DENSE or (cost.macs and node.name not in _WINDOW):
        return "dense"
    return "window" if node.name in _WINDOW else "values"


def _element_type(graph: Graph, node: Node) -> ElementType:
    """Return the type whose kernels run it; what is neither float nor 8 bits is counted as float."""
    kinds = {graph.tensors[index].type.name for index in (*node.inputs, *node.outputs) if index >= 0}
    if "uint8" in kinds:
        return "uint8"
    return "int8" if "int8" in kinds else "float32"


def _sides(graph: Graph, node: Node, cost: Cost, kind: Kind) -> tuple[int, int]:
    """Return the output channels and the input channels that a kernel rounds up, 0 for none."""
    weights = graph.operand(node, 1)
    if not cost.macs or weights is None or len(weights.shape) not in {2, 4} or min(weights.shape) < 1:
        return 0, 0
    if kind == "depthwise":
        return weights.shape[-1], 0
    return weights.shape[0], prod(weights.shape[1:]) if kind == "dense" else weights.shape[-1]


def _grown(size: int, group: int) -> float:
    """Return by how much rounding up to whole groups makes a size larger."""
    return -(-size // group) * group / size if size else 1.0
