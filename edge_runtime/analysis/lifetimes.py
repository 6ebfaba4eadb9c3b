"""From when to when each tensor is needed, by which operators write and read it and which share memory.

The method is that of ``tflite/arena_planner.cc``: a tensor lives from the operator that writes it to the last that
reads it; inputs, outputs and variables live on. Operators that only rename their input share its memory, and
element-wise ones write over an input of their size that nobody else reads. XNNPACK joins some operators, so that less
is written between its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from edge_runtime.analysis.graph import Graph, Node
from edge_runtime.analysis.look_ups import looked_up_chains
from edge_runtime.analysis.xnnpack import Delegation, is_hybrid

ALIGNMENT: Final = 64
FOREVER: Final = 2**31
_RENAMING: Final = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "BITCAST"})
_OVERWRITING: Final = frozenset({"ADD", "SUB", "MUL", "DIV"})
_UNARY: Final = frozenset(
    {
        "ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC", "NEG",
        "PRELU", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "ROUND", "RSQRT", "SIN", "SQRT", "SQUARE", "TANH",
    }
)  # fmt: skip


@dataclass(slots=True, eq=False)
class Need:
    """Something to place: a tensor or a temporary."""

    name: str
    size_bytes: int
    first: int
    last: int
    tensor: int | None = None
    written: bool = True


def tensors(graph: Graph) -> tuple[list[Need], int]:
    """Return the computed tensors with their lifetimes, and the bytes of those that are never given back."""
    shared = _shared(graph)
    kept = {index for index, tensor in enumerate(graph.tensors) if tensor.is_variable}
    persistent = sum(aligned(graph.tensors[index].size_bytes) for index in kept)
    first: dict[int, int] = dict.fromkeys(graph.model.inputs, 0)
    last: dict[int, int] = {}
    for node in graph.nodes:
        if node.name == "DEQUANTIZE" and all(graph.constant[index] for index in node.inputs if index >= 0):
            # Weights stored in half precision are unpacked once.
            persistent += sum(aligned(graph.tensors[index].size_bytes) for index in node.outputs)
            kept.update(node.outputs)
        for index in node.inputs:
            owner = shared.get(index, index)
            if owner in first:
                last[owner] = node.index
        for index in node.outputs:
            if index not in shared:
                first.setdefault(index, node.index)
                last.setdefault(index, FOREVER)
    for index in (*graph.model.inputs, *graph.model.outputs):
        last[shared.get(index, index)] = FOREVER
    needs = [
        Need(graph.tensors[index].name, graph.tensors[index].size_bytes, node, last.get(index, FOREVER), index)
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


def outside(graph: Graph, needs: list[Need], delegation: Delegation) -> list[Need]:
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
        kept.append(Need(need.name, need.size_bytes, first, last, need.tensor))
    return kept


def inside(graph: Graph, delegation: Delegation) -> list[Need]:
    """Return what XNNPACK's parts hold between their own operators, on a clock of two steps for each.

    A padding whose only reader is a convolution becomes that convolution's own (``src/subgraph.c``): its result is
    never written, and its input lives until the convolution has run.
    """
    needs, _ = tensors(graph)
    for padded, (source, until) in _joined_paddings(graph, delegation).items():
        needs = [need for need in needs if need.tensor != padded]
        for need in needs:
            if need.tensor == source:
                need.last = max(need.last, until)
    needs = _without_chains(graph, delegation, needs)
    held = {need.tensor for need in outside(graph, needs, delegation)}
    kept = [need for need in needs if need.tensor not in held]
    return [*_quantized_first(graph, delegation, _in_place(graph, delegation, kept))]


def _in_place(graph: Graph, delegation: Delegation, needs: list[Need]) -> list[Need]:
    """Return the needs where operators of one input write over it when they are its last reader (``src/runtime.c``)."""
    held = {need.tensor: need for need in needs}
    steps = {node.index: (node, node) for node in graph.nodes if node.name in _UNARY and node.inputs and node.outputs}
    steps |= {chain[-1].index: (chain[0], chain[-1]) for chain in looked_up_chains(graph, delegation.segment)}
    for number, (begin, end) in sorted(steps.items()):
        fed, made = held.get(begin.inputs[0]), held.get(end.outputs[0])
        if delegation.segment[number] is None or fed is None or made is None or fed is made:
            continue
        if fed.last == number and fed.size_bytes == made.size_bytes:
            fed.last = made.last
            held[end.outputs[0]] = fed
    return list(dict.fromkeys(held.values()))


def _without_chains(graph: Graph, delegation: Delegation, needs: list[Need]) -> list[Need]:
    """Return the needs where a chain that is one look-up writes nothing but its end, and reads its beginning there."""
    for chain in looked_up_chains(graph, delegation.segment):
        between = {node.outputs[0] for node in chain[:-1]}
        source, end = chain[0].inputs[0], chain[-1]
        kept = []
        for need in needs:
            if need.tensor == source:
                need.last = max(need.last, end.index)
            if need.tensor not in between:
                kept.append(need)
            elif need.last > end.index:  # the interpreter would put the end where something between is
                kept.append(Need(need.name, need.size_bytes, end.index, need.last, end.outputs[0]))
        needs = kept
    return needs


def _quantized_first(graph: Graph, delegation: Delegation, needs: list[Need]) -> Iterator[Need]:
    """Yield needs on a clock of two steps per operator: dynamic-range ones quantise their input in the first.

    What was quantised is not read again, so that its memory may take the result.
    """
    hybrid: dict[int, int] = {}
    for node in graph.nodes:
        fed = graph.operand(node, 0)
        if delegation.segment[node.index] is not None and fed is not None and is_hybrid(graph, node):
            hybrid[node.index] = fed.index
            yield Need("quantized input", fed.elements, 2 * node.index, 2 * node.index + 1)
    for need in needs:
        quantized = need.tensor is not None and hybrid.get(need.last) == need.tensor
        last = FOREVER if need.last == FOREVER else 2 * need.last + (not quantized)
        yield Need(need.name, need.size_bytes, 2 * need.first + (need.first > 0), last, need.tensor)


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


def aligned(size_bytes: int) -> int:
    """Return a size as the arena takes it: a multiple of 64 bytes."""
    return -(-size_bytes // ALIGNMENT) * ALIGNMENT
