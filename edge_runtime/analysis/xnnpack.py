"""Which operators XNNPACK takes from the interpreter, and the memory it wants for them.

The rules are those of LiteRT 2 as seen on real models (tests compare them with the interpreter's own partition): 8-bit
pooling, softmax and every operator that is not in the tables below stay with the interpreter's plain kernels, which on
a quantised model can be many times slower. tflite-runtime 2.14 takes floating-point operators only (measured: the int8
MobileNetV2 takes 20 to 35 times as long there).
"""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from math import prod
from typing import Final, Literal

from edge_runtime.analysis.cost import cuts_where_stored
from edge_runtime.analysis.graph import Graph, Node
from edge_runtime.analysis.look_ups import looked_up_chains
from edge_runtime.model_file import Tensor
from edge_runtime.tensor_types import TYPES_OF_8_BITS

RuntimeName = Literal["litert", "tflite-runtime"]

_FLOAT_OR_8_BIT: Final = frozenset(
    {
        "ADD", "SUB", "MUL", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "CONCATENATION",
        "PAD", "MAX_POOL_2D", "MEAN", "RESHAPE", "RESIZE_BILINEAR", "LOGISTIC", "TANH", "ELU", "LEAKY_RELU", "SPLIT",
        "SLICE", "STRIDED_SLICE", "TRANSPOSE", "EXPAND_DIMS", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "QUANTIZE",
        "DEQUANTIZE", "BATCH_MATMUL", "SUM",
    }
)  # fmt: skip
_FLOAT_ONLY: Final = frozenset(
    {
        "ABS", "AVERAGE_POOL_2D", "CEIL", "COS", "DIV", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LOG", "MAXIMUM",
        "MINIMUM", "NEG", "POW", "PRELU", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "ROUND", "RSQRT", "SIN",
        "SOFTMAX", "SQRT", "SQUARE", "SQUARED_DIFFERENCE",
    }
)  # fmt: skip
_FLOAT: Final = frozenset({"float32", "float16"})
_WEIGHT_TYPES: Final = frozenset({"int8", "uint8", "int4", "int2"})
_LANES: Final = 16
"""Output channels are packed in groups; 16 is usual on x86 and Arm."""
_8_BIT_DEPTH: Final = 4
"""Input channels of 8-bit products are packed in groups of so many."""
_MOST_TAPS: Final = 25


@dataclass(frozen=True, slots=True)
class Delegation:
    """What XNNPACK does with a graph. ``segment``: per operator the number of its part, or None for plain kernels."""

    segment: tuple[int | None, ...]

    @property
    def taken(self) -> int:
        """Return how many operators XNNPACK runs."""
        return sum(number is not None for number in self.segment)

    @property
    def segments(self) -> int:
        """Return into how many parts the taken operators fall."""
        return max((number + 1 for number in self.segment if number is not None), default=0)


def delegation(graph: Graph, *, runtime: RuntimeName = "litert", enabled: bool = True) -> Delegation:
    """Return which operators XNNPACK takes; none when it is off or the graph has tensors of unknown size."""
    quantized = runtime == "litert"
    taken = [enabled and takes(graph, node, quantized=quantized) for node in graph.nodes]
    parts = _parts(graph, taken)
    number = {part: count for count, part in enumerate(dict.fromkeys(p for p in parts if p is not None))}
    return Delegation(tuple(None if part is None else number[part] for part in parts))


def _parts(graph: Graph, taken: list[bool]) -> list[int | None]:
    """Return per taken operator the part it falls into, as the interpreter finds them (``tflite/graph_info.cc``).

    It goes through the operators again and again: the first that is ready says whether a delegate's part or one of
    plain kernels begins; all of that kind that are ready, or become so through others of it, belong to it. So an
    operator may join a part that lies before others in the file.
    """
    waits = _waits(graph)
    readers: dict[int, list[int]] = {}
    for node in graph.nodes:
        for writer in waits[node.index]:
            readers.setdefault(writer, []).append(node.index)
    missing = [len(writers) for writers in waits]
    ready: dict[bool, list[int]] = {True: [], False: []}
    for index, count in enumerate(missing):
        if not count:
            heappush(ready[taken[index]], index)
    found: list[int | None] = [None] * len(taken)
    part = 0
    while ready[True] or ready[False]:
        kind = not ready[False] or bool(ready[True] and ready[True][0] < ready[False][0])
        while ready[kind]:
            index = heappop(ready[kind])
            found[index] = part if kind else None
            for reader in readers.get(index, ()):
                missing[reader] -= 1
                if not missing[reader]:
                    heappush(ready[taken[reader]], reader)
        part += 1
    return found


def _waits(graph: Graph) -> list[set[int]]:
    """Return per operator the earlier ones whose results it reads."""
    writer: dict[int, int] = {}
    waits: list[set[int]] = []
    for node in graph.nodes:
        waits.append({writer[index] for index in node.inputs if index in writer})
        writer.update(dict.fromkeys(node.outputs, node.index))
    return waits


def takes(graph: Graph, node: Node, *, quantized: bool = True) -> bool:
    """Tell whether XNNPACK runs an operator; ``quantized`` is whether the build has its 8-bit kernels."""
    if node.custom or node.options.activation in {"tanh", "sign_bit"}:
        return False
    kinds = {graph.tensors[index].type.name for index in node.outputs}
    fed = graph.operand(node, 2 if node.name == "TRANSPOSE_CONV" else 0)
    if node.name == "SPLIT":
        fed = graph.operand(node, 1)
    kinds |= {fed.type.name} if fed else set()
    if not kinds <= _FLOAT | TYPES_OF_8_BITS or (kinds & TYPES_OF_8_BITS and not quantized):
        return False
    limit = _LIMITS.get(node.name)
    if limit and not limit(graph, node):
        return False
    return node.name in _FLOAT_OR_8_BIT or (node.name in _FLOAT_ONLY and kinds <= _FLOAT)


def fused_away(graph: Graph, parts: Delegation) -> frozenset[int]:
    """Return the operators that take no time: those that XNNPACK runs with the one before them, or that run once."""
    chains = looked_up_chains(graph, parts.segment)
    return frozenset({*graph.unpacked.values(), *(node.index for chain in chains for node in chain[1:])})


def is_hybrid(graph: Graph, node: Node) -> bool:
    """Tell dynamic-range quantisation: float values meet integer weights."""
    fed, weights = graph.operand(node, 0), graph.operand(node, 1)
    return fed is not None and weights is not None and fed.type.name in _FLOAT and weights.type.name in _WEIGHT_TYPES


def _stores_weights(graph: Graph, node: Node) -> bool:
    weights = graph.operand(node, 1)
    return weights is not None and (graph.constant[weights.index] or weights.index in graph.unpacked)


def _stores_weights_of_its_type(graph: Graph, node: Node) -> bool:
    """Dynamic-range depthwise convolutions stay with the interpreter (measured: they cut a model into many parts)."""
    fed, weights = graph.operand(node, 0), graph.operand(node, 1)
    kinds = {fed.type.name in _FLOAT if fed else False, weights.type.name in _FLOAT if weights else False}
    return _stores_weights(graph, node) and len(kinds) == 1


def _joins_few(_graph: Graph, node: Node) -> bool:
    return 2 <= len(node.inputs) <= 5


def _splits_few(_graph: Graph, node: Node) -> bool:
    return 2 <= len(node.outputs) <= 4


def _keeps_sign(graph: Graph, node: Node) -> bool:
    fed, result = graph.operand(node, 0), graph.result(node)
    return not fed or not result or {fed.type.name, result.type.name} != TYPES_OF_8_BITS


def _scales_alike(graph: Graph, node: Node) -> bool:
    """Tell whether the scales of both inputs are within 2^-10 and 2^8 of the output's."""
    result = graph.result(node)
    if result is None or result.type.name not in TYPES_OF_8_BITS or not result.scale_values:
        return True
    operands, scale = [graph.operand(node, number) for number in (0, 1)], result.scale_values[0]
    return all(
        2**-10 * scale <= operand.scale_values[0] < 2**8 * scale
        for operand in operands
        if operand is not None and operand.scale_values
    )


def _is_centred(graph: Graph, node: Node) -> bool:
    """Tell whether the second operand of an 8-bit product has the zero point 0 (seen with ai-edge-litert 2.3.0)."""
    right = graph.operand(node, 1)
    return right is None or right.type.name not in TYPES_OF_8_BITS or not any(right.zero_point_values)


_LIMITS: Final[dict[str, Callable[[Graph, Node], bool]]] = {
    "SLICE": cuts_where_stored,
    "CONV_2D": _stores_weights,
    "DEPTHWISE_CONV_2D": _stores_weights_of_its_type,
    "TRANSPOSE_CONV": _stores_weights,
    "FULLY_CONNECTED": _stores_weights,
    "BATCH_MATMUL": _is_centred,
    "CONCATENATION": _joins_few,
    "SPLIT": _splits_few,
    "QUANTIZE": _keeps_sign,
    "ADD": _scales_alike,
    "SUB": _scales_alike,
}


def packed_bytes(graph: Graph, node: Node, *, int8_lanes: int = _LANES) -> int:
    """Return the memory of an operator's repacked weights: groups of output channels, each with its bias and scale.

    ``int8_lanes`` are the channels of a group in int8 products: 64 with AMX, else 16. A depthwise window of more than
    25 elements has no kernel of its own: it is packed as products of one channel each, padded to a whole group.
    """
    weights = graph.operand(node, 1)
    if weights is None or not _stores_weights(graph, node):
        return 0
    is_8_bit = weights.type.name in TYPES_OF_8_BITS | {"int4", "int2"}
    lanes = int8_lanes if weights.type.name == "int8" else _LANES
    element, ends, deep = (1, 8, _8_BIT_DEPTH) if is_8_bit else (4, 4, 1)
    if node.name == "DEPTHWISE_CONV_2D" and len(weights.shape) == 4:
        channels, taps = weights.shape[3], prod(weights.shape[1:3])
        if taps > _MOST_TAPS:
            return channels * lanes * (taps * 4 + ends)
        return -(-channels // _LANES) * _LANES * (taps * element + ends)
    if node.name in {"CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"} and weights.shape:
        groups = _groups(graph, node, weights)
        of_group = -(-weights.shape[0] // groups)
        depth = -(-weights.shape[-1] // deep) * deep * prod(weights.shape[1:-1])
        return groups * -(-of_group // lanes) * lanes * (depth * element + ends)
    return 0


def _groups(graph: Graph, node: Node, weights: Tensor) -> int:
    """Return into how many groups a convolution falls: each is packed for itself, so that narrow ones grow a lot."""
    fed = graph.operand(node, 0)
    if node.name != "CONV_2D" or fed is None or not fed.shape or weights.shape[-1] < 1:
        return 1
    return min(max(fed.shape[-1] // weights.shape[-1], 1), max(weights.shape[0], 1))


def indirection_bytes(graph: Graph, node: Node, *, pointer_bytes: int = 8) -> int:
    """Return the memory of an operator's table of input addresses (and weights, when it resizes).

    Source: XNNPACK's ``src/operators`` and ``src/indirection.c``: a convolution has one address per output pixel and
    element of its window; a depthwise one shares those of neighbouring pixels of a row.
    """
    result = graph.result(node)
    if result is None or len(result.shape) != 4 or min(result.shape) < 1:
        return 0
    _, height, width, _ = result.shape
    if node.name == "RESIZE_BILINEAR":
        return height * width * (4 * pointer_bytes + 2 * (4 if result.type.name == "float32" else 2))
    weights = graph.operand(node, 1)
    if node.name == "TRANSPOSE_CONV" and weights is not None and len(weights.shape) == 4:
        # Made for each part of the window that meets the same pixels: the rest of the table is never written.
        return height * width * prod(weights.shape[1:3]) // prod(node.options.stride) * pointer_bytes
    window = node.options.window
    if node.name in {"CONV_2D", "DEPTHWISE_CONV_2D"} and weights is not None and len(weights.shape) == 4:
        window = (weights.shape[1], weights.shape[2])
    elif node.name not in {"MAX_POOL_2D", "AVERAGE_POOL_2D"}:
        return 0
    if node.name == "CONV_2D" and window == (1, 1) and node.options.stride == (1, 1):
        return 0  # a plain product
    if node.name == "CONV_2D" or (node.name == "DEPTHWISE_CONV_2D" and prod(window) > _MOST_TAPS):
        return height * width * prod(window) * pointer_bytes
    step = min(node.options.stride[1], window[1]) if node.options.dilation[1] == 1 else window[1]
    return height * (prod(window) + (width - 1) * step * window[0]) * pointer_bytes
