"""What the time of an operator depends on: the kernel that runs it and the sizes that kernel loops over.

A descriptor is what calibration measures, what predictions look up and what the cache of measured operators is keyed
by, so that all three mean the same. Pure functions.
"""

from dataclasses import dataclass
from math import prod
from typing import Final, TypeGuard

from edge_runtime.analysis.cost import cuts_where_stored
from edge_runtime.analysis.graph import Graph, Node
from edge_runtime.model_file import Tensor

_COPIED_PARTS: Final = frozenset({"CONCATENATION", "SPLIT", "SPLIT_V", "PACK", "UNPACK"})
_WINDOWS: Final = frozenset({"MAX_POOL_2D", "AVERAGE_POOL_2D", "L2_POOL_2D"})
_REDUCTIONS: Final = frozenset({"MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"})
_BINARY: Final = frozenset({"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "POW"})
_IN_PIECES: Final = frozenset({"SLICE", "STRIDED_SLICE", "TILE"})
_MOST_TAPS: Final = 25
"""XNNPACK has fast depthwise kernels up to a window of 5 by 5; what is larger takes a hundred times as long."""
_RECURRENT: Final = frozenset(
    {
        "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_RNN", "RNN", "SVDF",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A kernel by name, and the sizes it loops over.

    Rows (pixels), outputs, depth, window for products of matrices; rows, values in a row, window for everything else:
    of what joins and cuts the number of pieces, of what is turned about how many values lie in a row then.
    """

    kernel: str
    """``xnnpack/int8/CONV_2D/1x1``: who runs it, element type, operator, variant."""
    sizes: tuple[int, ...]


def describe(graph: Graph, node: Node, *, delegated: bool) -> Descriptor:
    """Return the descriptor of an operator."""
    name, (variant, sizes) = node.name, _sizes(graph, node)
    if delegated and (name, variant) == ("CONV_2D", "1x1") and sizes[0] == 1:
        # Of a single pixel it is the same kernel, and as much a matter of fetching weights.
        name, variant = "FULLY_CONNECTED", ""
    parts = ["xnnpack" if delegated else "plain", _types(graph, node), name, *([variant] if variant else [])]
    return Descriptor("/".join(parts), tuple(max(1, size) for size in sizes))


def _types(graph: Graph, node: Node) -> str:
    """Return the type of what is computed with; both types where they differ, and the weights' where they do."""
    fed = graph.operand(node, 2 if node.name == "TRANSPOSE_CONV" else 1 if node.name == "SPLIT" else 0)
    result = graph.result(node)
    names = [tensor.type.name for tensor in (fed, result) if tensor]
    if node.name in {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", *_RECURRENT}:
        weights = graph.operand(node, 1)
        names = names[:1] + ([weights.type.name] if weights else [])
    return "-".join(dict.fromkeys(names)) or "none"


def _sizes(graph: Graph, node: Node) -> tuple[str, tuple[int, ...]]:
    result = graph.result(node)
    if result is None:
        return "", (1, 1, 1)
    weights = graph.operand(node, 1)
    if node.name == "CONV_2D" and _has_rank(weights, 4) and _has_rank(result, 4):
        return _conv(graph, node, weights, result)
    if node.name == "DEPTHWISE_CONV_2D" and _has_rank(weights, 4) and _has_rank(result, 4):
        return _depthwise(node, weights, result)
    if node.name == "TRANSPOSE_CONV" and _has_rank(weights, 4):
        taps = prod(weights.shape[1:3])
        fed = graph.operand(node, 2)
        rows = fed.elements // max(weights.shape[3], 1) if fed else 1
        return "", (rows, weights.shape[0], weights.shape[3], taps)
    if node.name == "FULLY_CONNECTED" and _has_rank(weights, 2):
        return "", (result.elements // max(weights.shape[0], 1), weights.shape[0], weights.shape[1], 1)
    if node.name == "BATCH_MATMUL" and len(result.shape) >= 2:
        return _matmul(graph, node, result)
    if node.name in _RECURRENT:
        return _recurrent(graph, node)
    return _values(graph, node, result)


def _has_rank(tensor: Tensor | None, rank: int) -> TypeGuard[Tensor]:
    return tensor is not None and len(tensor.shape) == rank and min(tensor.shape, default=0) > 0


def _conv(graph: Graph, node: Node, weights: Tensor, result: Tensor) -> tuple[str, tuple[int, ...]]:
    rows, taps = prod(result.shape[:3]), weights.shape[1] * weights.shape[2]
    fed = graph.operand(node, 0)
    groups = fed.shape[3] // weights.shape[3] if fed and len(fed.shape) == 4 else 1
    if groups > 1:
        if weights.shape[3] == 1 and weights.shape[0] == groups:
            # A depthwise convolution by another name; what XNNPACK has no depthwise kernel for runs group by group.
            return "single_large" if taps > _MOST_TAPS else "single", (rows, groups, 1, taps)
        return "grouped", (rows * groups, weights.shape[0] // groups, weights.shape[3], taps)
    if taps == 1 and node.options.stride == (1, 1):
        return "1x1", (rows, weights.shape[0], weights.shape[3], 1)
    return "kxk", (rows, weights.shape[0], weights.shape[3], taps)


def _depthwise(node: Node, weights: Tensor, result: Tensor) -> tuple[str, tuple[int, ...]]:
    rows, taps = prod(result.shape[:3]), weights.shape[1] * weights.shape[2]
    variant = "large" if taps > _MOST_TAPS else "" if node.options.depth_multiplier == 1 else "multiplied"
    if not variant and result.shape[1] == 1:
        # Threads share the rows of a picture: one of a single row stays with one of them.
        variant = "row"
    return variant, (rows, result.shape[3], node.options.stride[1], taps)


def _matmul(graph: Graph, node: Node, result: Tensor) -> tuple[str, tuple[int, ...]]:
    left = graph.operand(node, 0)
    depth = left.shape[-2 if node.options.transpose_a else -1] if left and len(left.shape) >= 2 else 1
    batch = prod(result.shape[:-2])
    return "", (result.shape[-2], result.shape[-1], depth, batch)


def _recurrent(graph: Graph, node: Node) -> tuple[str, tuple[int, ...]]:
    """Return steps, cells and all weights read in a step."""
    fed, result = graph.operand(node, 0), graph.result(node)
    weights = sum(
        graph.tensors[index].elements
        for index in dict.fromkeys(node.inputs[1:])
        if index >= 0 and graph.constant[index] and len(graph.tensors[index].shape) == 2
    )
    cells = result.shape[-1] if result and result.shape else 1
    steps = prod(fed.shape[:-1]) if fed and fed.shape else 1
    return "", (steps, cells, weights // max(cells, 1), 1)


def _values(graph: Graph, node: Node, result: Tensor) -> tuple[str, tuple[int, ...]]:
    fed = graph.operand(node, 1 if node.name == "SPLIT" else 0)
    larger = max((tensor for tensor in (fed, result) if tensor), key=lambda tensor: tensor.elements)
    inner = larger.shape[-1] if larger.shape else 1
    if node.name in _BINARY:
        return _binary(graph, node, result)
    if node.name in _WINDOWS:
        return "", (result.elements // max(inner, 1), inner, prod(node.options.window))
    if node.name in _REDUCTIONS and fed is not None and min(fed.shape, default=0) > 0:
        last = bool(result.shape) and result.elements * fed.shape[-1] == fed.elements
        kept = result.elements != 1 and result.elements % fed.shape[-1] == 0
        return ("last" if last and not kept else "space"), (larger.elements // max(inner, 1), inner, 1)
    pieces = 1
    if node.name in _COPIED_PARTS:
        inner = _behind(node.options.axis, larger) if node.name == "CONCATENATION" else inner
        pieces = max(len(node.outputs), sum(not graph.constant[index] for index in node.inputs if index >= 0))
    elif node.name == "RESHAPE":
        # Copied in one piece, whatever its shape.
        return "", (1, larger.elements, 1)
    elif node.name == "SLICE" and fed is not None and not cuts_where_stored(graph, node):
        # What is kept of a sequence as a loop goes on: half of it on average.
        return "", (1, fed.elements // 2, 1)
    elif node.name in _IN_PIECES and fed is not None:
        inner = _run(fed, result)
    elif node.name == "GATHER":
        return "", (result.elements // max(result.shape[-1] if result.shape else 1, 1), inner, 1)
    elif node.name == "TRANSPOSE" and fed is not None and fed.shape and result.shape:
        if fed.shape[:-2] == result.shape[:-2] and prod(fed.shape[:-2]) > 1 and fed.shape != result.shape:
            # As channels are shuffled: many small matrices, each turned by itself.
            return "pairs", (prod(fed.shape[:-2]), prod(fed.shape[-2:]), min(fed.shape[-2:]))
        variant = "rows" if result.shape[-1] == fed.shape[-1] else "last"
        return variant, (larger.elements // max(inner, 1), inner, 1 if variant == "rows" else result.shape[-1])
    return "", (larger.elements // max(inner, 1), inner, pieces)


def _binary(graph: Graph, node: Node, result: Tensor) -> tuple[str, tuple[int, ...]]:
    """Return whether both operands have all values, or one is repeated."""
    inner = result.shape[-1] if result.shape else 1
    sizes = [tensor.elements if (tensor := graph.operand(node, number)) else 1 for number in (0, 1)]
    rows = result.elements // max(inner, 1)
    if min(sizes) == result.elements:
        return "", (rows, inner, 1)
    if min(sizes) == 1:
        return "scalar", (rows, inner, 1)
    return ("channels" if min(sizes) == inner else "broadcast"), (rows, inner, 1)


def _behind(axis: int, tensor: Tensor) -> int:
    """Return how many values lie together from an axis on."""
    rank = len(tensor.shape)
    return prod(tensor.shape[axis if axis >= 0 else rank + axis :])


def _run(fed: Tensor, result: Tensor) -> int:
    """Return how many values are copied in one piece: the axes behind the last that changes, and that one."""
    smaller = min(fed, result, key=lambda tensor: tensor.elements)
    if len(fed.shape) != len(result.shape):
        return smaller.shape[-1] if smaller.shape else 1
    run = 1
    for before, after, size in zip(reversed(fed.shape), reversed(result.shape), reversed(smaller.shape), strict=True):
        run *= size
        if before != after:
            break
    return run
