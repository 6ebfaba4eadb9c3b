"""Chains of operators that XNNPACK makes one table look-up of, so that nothing between them is computed or written.

Source: XNNPACK's ``src/subgraph.c``. A chain begins and ends with 8 bits, whatever is between, and computes each value
from one: x times LOGISTIC(x), or DEQUANTIZE, GELU and QUANTIZE (12 microseconds with ai-edge-litert 2.3.0, where one by
one they took 37). Nobody else reads what is between.
"""

from collections.abc import Sequence
from typing import Final

from edge_runtime.analysis.graph import Graph, Node
from edge_runtime.tensor_types import TYPES_OF_8_BITS

_OF_ONE: Final = frozenset(
    {
        "ABS", "CEIL", "COS", "DEQUANTIZE", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG",
        "LOGISTIC", "NEG", "QUANTIZE", "ROUND", "RSQRT", "SIN", "SQRT", "SQUARE", "TANH",
    }
)  # fmt: skip
_OF_TWO: Final = frozenset({"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"})
_LONGEST: Final = 10


def looked_up_chains(graph: Graph, segment: Sequence[int | None]) -> list[tuple[Node, ...]]:
    """Return the chains in order; ``segment`` is per operator the number of XNNPACK's part, or None."""
    readers: dict[int, list[int]] = {}
    for node in graph.nodes:
        for index in node.inputs:
            readers.setdefault(index, []).append(node.index)
    found: list[tuple[Node, ...]] = []
    taken: set[int] = set()
    for node in graph.nodes:
        if node.index in taken or segment[node.index] is None:
            continue
        chain = _chain(graph, node, segment, readers)
        if len(chain) > 1:
            found.append(tuple(chain))
            taken.update(one.index for one in chain)
    return found


def _chain(graph: Graph, begin: Node, segment: Sequence[int | None], readers: dict[int, list[int]]) -> list[Node]:
    """Return the chain that begins with an operator; of one where it is none."""
    chain: list[Node] = [begin]
    source = _source(graph, begin, set())
    if source is None or not _has_8_bits(graph, source):
        return chain
    values = {source}
    while len(chain) < _LONGEST:
        result = chain[-1].outputs[0]
        after = readers.get(result, [])
        values.add(result)
        if len(after) != 1 or result in graph.model.outputs or segment[after[0]] != segment[begin.index]:
            break
        if _source(graph, graph.nodes[after[0]], values) is None:
            break
        chain.append(graph.nodes[after[0]])
    while len(chain) > 1 and not _has_8_bits(graph, chain[-1].outputs[0]):
        chain.pop()
    return chain


def _source(graph: Graph, node: Node, values: set[int]) -> int | None:
    """Return the tensor each of whose values decides one of the result's, None where there is none.

    Of two operands one is a single stored number, or both are of ``values``.
    """
    if len(node.outputs) != 1 or min(node.inputs, default=-1) < 0:
        return None
    if node.name in _OF_ONE and len(node.inputs) == 1:
        return node.inputs[0]
    if node.name not in _OF_TWO or len(node.inputs) != 2:
        return None
    for stored, other in (node.inputs, node.inputs[::-1]):
        if graph.constant[stored] and graph.tensors[stored].elements == 1 and not graph.constant[other]:
            return other
    return node.inputs[0] if set(node.inputs) <= values else None


def _has_8_bits(graph: Graph, tensor: int) -> bool:
    return graph.tensors[tensor].type.name in TYPES_OF_8_BITS
