"""The tensor arena as the interpreter plans it, and the workspace of what XNNPACK takes.

The method is that of ``tflite/arena_planner.cc`` and ``simple_memory_arena.cc``: a tensor lives from the operator that
writes it to the last that reads it; inputs, outputs and variables live on. Operators that only rename their input share
its memory, and element-wise ones write over an input of their size that nobody else reads. Tensors that live through
the whole run come first, then all others by size, largest first; each takes the smallest gap that fits between those
it overlaps in time, at a multiple of 64 bytes.
"""

from bisect import insort
from dataclasses import dataclass
from typing import Final

from edge_runtime.analysis.graph import Graph, Node
from edge_runtime.analysis.scratch import scratch
from edge_runtime.analysis.xnnpack import Delegation, fused_away, is_hybrid
from edge_runtime.errors import ModelError

ALIGNMENT: Final = 64
MAX_STEPS: Final = 4_000_000
"""Steps of planning (tensors looked at, operators lived through) before a graph counts as made to keep us busy."""
_RENAMING: Final = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "BITCAST"})
_OVERWRITING: Final = frozenset({"ADD", "SUB", "MUL", "DIV"})
_FOREVER: Final = 2**31


@dataclass(frozen=True, slots=True)
class Allocation:
    """A place in the arena for as long as it is needed: bytes ``offset`` to ``offset + size_bytes``."""

    name: str
    first: int
    """Index of the operator that writes it."""
    last: int
    """Index of the last that reads it."""
    offset: int
    size_bytes: int
    tensor: int | None
    """None for a kernel's temporary."""


@dataclass(frozen=True, slots=True)
class Arena:
    """The plan. ``live_bytes`` has one number per operator: what is needed while it runs."""

    size_bytes: int
    persistent_bytes: int
    """Variables, and what kernels keep between runs."""
    allocations: tuple[Allocation, ...]
    live_bytes: tuple[int, ...]
    peak: int | None
    """The operator while which most is needed; None for a model without operators."""


@dataclass(slots=True)
class _Need:
    """Something to place: a tensor or a temporary."""

    name: str
    size_bytes: int
    first: int
    last: int
    tensor: int | None = None


def plan_arena(graph: Graph, delegation: Delegation | None = None) -> Arena:
    """Return the arena's plan; what lies inside a part that a delegate takes is not in it.

    Raises ModelError for a graph whose planning would take too long.
    """
    end = max(len(graph.nodes) - 1, 0)
    needs, persistent = _tensors(graph)
    if delegation is not None:
        needs = _outside(graph, needs, delegation)
    for node in graph.nodes:
        if delegation is not None and delegation.segment[node.index] is not None:
            continue
        for part in scratch(graph, node):
            if part.persistent:
                persistent += _aligned(part.size_bytes)
            else:
                needs.append(_Need(part.name, part.size_bytes, node.index, node.index))
    allocations = _place(needs, end, graph.model.path)
    live = _live(allocations, len(graph.nodes))
    return Arena(
        size_bytes=max((one.offset + one.size_bytes for one in allocations), default=0),
        persistent_bytes=persistent,
        allocations=tuple(allocations),
        live_bytes=tuple(live),
        peak=max(range(len(live)), key=live.__getitem__) if live else None,
    )


def plan_workspace(graph: Graph, delegation: Delegation) -> int:
    """Return the bytes that XNNPACK wants for tensors that never leave it; its parts share one workspace.

    A padding whose only reader is a convolution becomes that convolution's own (``src/subgraph.c``): its result is
    never written, and its input lives until the convolution has run.
    """
    needs, _ = _tensors(graph)
    for padded, (source, until) in _joined_paddings(graph, delegation).items():
        needs = [need for need in needs if need.tensor != padded]
        for need in needs:
            if need.tensor == source:
                need.last = max(need.last, until)
    needs = _looked_up(graph, delegation, needs)
    outside = {need.tensor for need in _outside(graph, needs, delegation)}
    inside = [need for need in needs if need.tensor not in outside]
    for node in graph.nodes:
        fed = graph.operand(node, 0)
        if delegation.segment[node.index] is not None and fed is not None and is_hybrid(graph, node):
            inside.append(_Need("quantized input", fed.elements, node.index, node.index))
    allocations = _place(inside, max(len(graph.nodes) - 1, 0), graph.model.path)
    return max((one.offset + one.size_bytes for one in allocations), default=0)


def _looked_up(graph: Graph, delegation: Delegation, needs: list[_Need]) -> list[_Need]:
    """Return the needs where x times LOGISTIC(x) is one look-up of XNNPACK's: between them nothing is written.

    That is unless others read what is between. The product is written over x where nobody else reads that (seen:
    EfficientNet-B0 in int8 takes so much less).
    """
    read = [index for node in graph.nodes for index in node.inputs]
    made_by = {index: node for node in graph.nodes for index in node.outputs}
    for number in fused_away(graph, delegation):
        node = graph.nodes[number]
        gates = [index for index in node.inputs if index in made_by and made_by[index].name == "LOGISTIC"]
        if len(gates) != 1 or read.count(gates[0]) != 1:
            continue
        source = next(index for index in node.inputs if index != gates[0])
        # The interpreter would put the product where the gate is.
        made = [need for need in needs if need.tensor in {gates[0], node.outputs[0]} and need.last > number]
        over = [need for need in needs if need.tensor == source and read.count(source) == len(node.inputs)]
        needs = [need for need in needs if need.tensor not in {gates[0], node.outputs[0]}]
        for need in made:
            if over:
                over[0].last = max(over[0].last, need.last)
            else:
                needs.append(_Need(need.name, need.size_bytes, number, need.last, node.outputs[0]))
    return needs


def _joined_paddings(graph: Graph, delegation: Delegation) -> dict[int, tuple[int, int]]:
    """Return the results of paddings that XNNPACK joins with a convolution: to their input and that operator."""
    readers: dict[int, list[Node]] = {}
    for node in graph.nodes:
        for index in node.inputs:
            readers.setdefault(index, []).append(node)
    joined = {}
    for node in graph.nodes:
        fed, result = graph.operand(node, 0), graph.result(node)
        part = delegation.segment[node.index]
        if node.name != "PAD" or part is None or fed is None or result is None or len(fed.shape) != 4:
            continue
        after = readers.get(result.index, [])
        spatial = fed.shape[0] == result.shape[0] and fed.shape[-1] == result.shape[-1]
        if len(after) != 1 or not spatial or delegation.segment[after[0].index] != part:
            continue
        if after[0].name in {"CONV_2D", "DEPTHWISE_CONV_2D"} and after[0].options.padding == "valid":
            joined[result.index] = (fed.index, after[0].index)
    return joined


def _outside(graph: Graph, needs: list[_Need], delegation: Delegation) -> list[_Need]:
    """Return what the interpreter itself has to hold, for as long as the parts that touch it run."""
    ends: dict[int, tuple[int, int]] = {}
    for index, number in enumerate(delegation.segment):
        if number is not None:
            ends[number] = (ends.get(number, (index, index))[0], index)
    touched: dict[int, set[int | None]] = {index: {None} for index in (*graph.model.inputs, *graph.model.outputs)}
    for node in graph.nodes:
        for index in (*node.inputs, *node.outputs):
            touched.setdefault(index, set()).add(delegation.segment[node.index])
    kept = []
    for need in needs:
        parts = touched.get(need.tensor, set()) if need.tensor is not None else set()
        if len(parts) == 1 and None not in parts:
            continue
        spans = [ends[part] for part in parts if part is not None]
        first = min([need.first, *(begin for begin, stop in spans if begin <= need.first <= stop)])
        last = max([need.last, *(stop for begin, stop in spans if begin <= need.last <= stop)])
        kept.append(_Need(need.name, need.size_bytes, first, last, need.tensor))
    return kept


def _live(allocations: list[Allocation], count: int) -> list[int]:
    live = [0] * count
    for one in allocations:
        if one.first < count:
            live[one.first] += one.size_bytes
        if one.last + 1 < count:
            live[one.last + 1] -= one.size_bytes
    for index in range(1, count):
        live[index] += live[index - 1]
    return live


def _tensors(graph: Graph) -> tuple[list[_Need], int]:
    """Return the computed tensors with their lifetimes, and the bytes of those that are never given back."""
    shared = _shared(graph)
    kept = {index for index, tensor in enumerate(graph.tensors) if tensor.is_variable}
    persistent = sum(_aligned(graph.tensors[index].size_bytes) for index in kept)
    first: dict[int, int] = dict.fromkeys(graph.model.inputs, 0)
    last: dict[int, int] = {}
    for node in graph.nodes:
        if node.name == "DEQUANTIZE" and all(graph.constant[index] for index in node.inputs if index >= 0):
            # Weights stored in half precision are unpacked once.
            persistent += sum(_aligned(graph.tensors[index].size_bytes) for index in node.outputs)
            kept.update(node.outputs)
        for index in node.inputs:
            owner = shared.get(index, index)
            if owner in first:
                last[owner] = node.index
        for index in node.outputs:
            if index not in shared:
                first.setdefault(index, node.index)
                last.setdefault(index, _FOREVER)
    for index in (*graph.model.inputs, *graph.model.outputs):
        last[shared.get(index, index)] = _FOREVER
    needs = [
        _Need(graph.tensors[index].name, graph.tensors[index].size_bytes, node, last.get(index, _FOREVER), index)
        for index, node in first.items()
        if index not in kept and not graph.constant[index]
    ]
    return needs, persistent


def _shared(graph: Graph) -> dict[int, int]:
    """Return which outputs lie in the memory of an earlier tensor: output to that tensor."""
    readers: dict[int, int] = {}
    for index in (*graph.model.inputs, *graph.model.outputs):
        readers[index] = readers.get(index, 0) + 1
    for node in graph.nodes:
        for index in node.inputs:
            readers[index] = readers.get(index, 0) + 1
    shared: dict[int, int] = {}
    fixed = {*graph.model.inputs}
    ends = {*graph.model.outputs}
    for node in graph.nodes:
        chosen = _overwritten(graph, node, readers, fixed)
        if chosen is None or node.outputs[0] in ends:
            continue
        owner = shared.get(chosen, chosen)
        if node.name in _RENAMING or readers.get(owner, 0) <= 1:
            shared[node.outputs[0]] = owner
    return shared


def _overwritten(graph: Graph, node: Node, readers: dict[int, int], fixed: set[int]) -> int | None:
    """Return the input whose memory a node's output may take, or None."""
    if not node.outputs or node.name not in _RENAMING | _OVERWRITING:
        return None
    output = graph.tensors[node.outputs[0]]
    for index in node.inputs[: 1 if node.name in _RENAMING else 2]:
        if index < 0 or graph.constant[index] or index in fixed or graph.tensors[index].is_variable:
            continue
        size_bytes = graph.tensors[index].size_bytes
        if node.name in _RENAMING or (size_bytes == output.size_bytes > 4 and readers.get(index, 0) <= 1):
            return index
    return None


def _place(needs: list[_Need], end: int, path: str) -> list[Allocation]:
    needs = [need for need in needs if need.size_bytes > 0]
    always = sorted(
        (need for need in needs if need.first == 0 and need.last == _FOREVER), key=lambda need: need.tensor or 0
    )
    others = [need for need in needs if not (need.first == 0 and need.last == _FOREVER)]
    others.sort(key=lambda need: (-need.size_bytes, need.first))
    placed: list[Allocation] = []
    floor = 0
    for need in always:
        offset = _aligned(floor)
        placed.append(_allocation(need, offset, end))
        floor = offset + need.size_bytes
    alive: list[list[tuple[int, int, int]]] = [[] for _ in range(end + 1)]
    steps = 0
    for number, need in enumerate(others):
        span = range(need.first, min(need.last, end) + 1)
        neighbours = alive[need.first] if len(span) == 1 else sorted({one for at in span for one in alive[at]})
        steps += len(span) + sum(len(alive[at]) for at in span)
        if steps > MAX_STEPS:
            raise ModelError(f"{path} has too many tensors alive at once to plan its memory")
        offset = _gap(neighbours, floor, need.size_bytes)
        placed.append(_allocation(need, offset, end))
        for at in span:
            insort(alive[at], (offset, need.size_bytes, number))
    return placed


def _gap(neighbours: list[tuple[int, int, int]], floor: int, size_bytes: int) -> int:
    """Return the offset of the tightest gap between neighbours (sorted by offset) that fits, else behind the last."""
    best, best_slack = -1, _FOREVER * _FOREVER
    current = floor
    for offset, length, _ in neighbours:
        start = _aligned(current)
        if start + size_bytes <= offset and offset - start < best_slack:
            best, best_slack = start, offset - current
        current = max(current, offset + length)
        if best_slack == 0:
            break
    return best if best >= 0 else _aligned(current)


def _allocation(need: _Need, offset: int, end: int) -> Allocation:
    return Allocation(need.name, need.first, min(need.last, end), offset, need.size_bytes, need.tensor)


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNMENT) * ALIGNMENT
