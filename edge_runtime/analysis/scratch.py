"""Temporary tensors that the interpreter's own kernels ask for beside a model's, as their ``Prepare`` functions do.

Source: the kernels of LiteRT (``tflite/kernels/conv.cc``, ``fully_connected.cc``, ``transpose_conv.cc``,
``batch_matmul.cc``, ``unidirectional_sequence_lstm.cc``, ``detection_postprocess.cc``). Operators that XNNPACK takes
have none of these.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Final

from edge_runtime.analysis.graph import Graph, Node
from edge_runtime.model_file import Tensor

_WEIGHT_TYPES: Final = frozenset({"int8", "uint8", "int4", "int2"})


@dataclass(frozen=True, slots=True)
class Scratch:
    """A temporary tensor: in the arena while its operator runs, or (persistent) as long as the interpreter lives."""

    name: str
    size_bytes: int
    persistent: bool = False
    written: bool = True
    """Whether its kernel uses it; what is never written takes a place and no memory."""


def scratch(graph: Graph, node: Node) -> tuple[Scratch, ...]:
    """Return the temporary tensors of one operator without a delegate; none for operators that have none."""
    find = _SCRATCH.get(node.name)
    return tuple(part for part in find(graph, node) if part.size_bytes > 0) if find else ()


def _conv_2d(graph: Graph, node: Node) -> list[Scratch]:
    fed, weights, result = graph.operand(node, 0), graph.operand(node, 1), graph.result(node)
    if not _are_rank(4, fed, weights, result):
        return []
    assert fed is not None
    assert weights is not None
    assert result is not None
    hybrid = _is_hybrid(fed, weights)
    parts = []
    if fed.type.name == "int16":
        return []  # a reference kernel
    if node.options.stride != (1, 1) or node.options.dilation != (1, 1) or weights.shape[1:3] != (1, 1):
        # Of groups it is the columns of one, which their reference kernel never writes.
        columns, grouped = prod(result.shape[:3]) * prod(weights.shape[1:]), weights.shape[3] != fed.shape[3]
        parts.append(Scratch("im2col", columns * (1 if hybrid else fed.type.bits // 8), written=not grouped))
    if hybrid:
        rows = prod(fed.shape[:3])
        parts += [
            Scratch("input_quantized", fed.elements),
            Scratch("scaling_factors", 4 * rows),
            Scratch("accumulators", 4 * result.elements),
        ]
        if len(weights.scale_values) > 1:
            parts += [Scratch("input_offsets", 4 * rows), Scratch("row_sums", 4 * weights.shape[0], persistent=True)]
    return parts


def _depthwise(graph: Graph, node: Node) -> list[Scratch]:
    fed, weights = graph.operand(node, 0), graph.operand(node, 1)
    if fed is None or weights is None or not _is_hybrid(fed, weights) or not fed.shape:
        return []
    batch = max(fed.shape[0], 1)
    return [
        Scratch("input_quantized", fed.elements),
        Scratch("scaling_factors", 4 * batch),
        Scratch("input_offsets", 4 * batch),
    ]


def _fully_connected(graph: Graph, node: Node) -> list[Scratch]:
    fed, weights, result = graph.operand(node, 0), graph.operand(node, 1), graph.result(node)
    if not fed or not weights or not result or not _is_hybrid(fed, weights) or len(weights.shape) != 2:
        return []
    batch = fed.elements // max(weights.shape[1], 1)
    return [
        Scratch("input_quantized", fed.elements),
        Scratch("scaling_factors", 4 * batch),
        Scratch("accumulators", 4 * result.elements),
        Scratch("input_offsets", 4 * batch),
        Scratch("row_sums", 4 * weights.shape[0], persistent=True),
    ]


def _transpose_conv(graph: Graph, node: Node) -> list[Scratch]:
    weights, fed, result = graph.operand(node, 1), graph.operand(node, 2), graph.result(node)
    if not _are_rank(4, weights, fed, result):
        return []
    assert weights is not None
    assert fed is not None
    assert result is not None
    # Dynamic, as the accumulators: outside the arena, and not given back (seen with ai-edge-litert 2.3.0).
    # Dynamic-range kernels never write the columns.
    parts = [Scratch("transposed_weights", weights.size_bytes, persistent=True)]
    if not _is_hybrid(fed, weights):
        parts.append(Scratch("col2im", 4 * prod(fed.shape[1:3]) * prod(weights.shape[:3]), persistent=True))
    if fed.type.name != "float32":
        wide = 8 if fed.type.name == "int16" else 4
        parts.append(Scratch("accumulators", wide * result.elements, persistent=True))
    return parts


def _batch_matmul(graph: Graph, node: Node) -> list[Scratch]:
    # Both sides have a transposed copy; that of a constant right side is made once and kept.
    left, right = graph.operand(node, 0), graph.operand(node, 1)
    if left is None or right is None:
        return []
    kept = graph.constant[right.index]
    return [Scratch("left_transposed", left.size_bytes), Scratch("right_transposed", right.size_bytes, persistent=kept)]


def _lstm(graph: Graph, node: Node) -> list[Scratch]:
    # Gates of one step: four of floats (three where the input and forget gates are coupled), or four of 16 bits, one of
    # 8 and one of 32. The sums of 8-bit weights' rows are made once: a row for each gate of both products.
    recurrent, fed, weights = graph.operand(node, 6), graph.operand(node, 0), graph.operand(node, 2)
    if recurrent is None or fed is None or weights is None or len(recurrent.shape) != 2 or len(fed.shape) < 2:
        return []
    width, batch = recurrent.shape[0], max(fed.shape[0], 1)
    cells = width * batch
    if fed.type.name != "float32":
        return [Scratch("gates", cells * (4 * 2 + 1 + 4))]
    gates = 4 if graph.operand(node, 1) is not None else 3
    parts = [Scratch("gates", 4 * cells * gates)]
    if _is_hybrid(fed, weights):
        outputs = recurrent.shape[1] * batch
        parts += [
            Scratch("input_quantized", fed.elements),
            Scratch("output_state_quantized", outputs),
            Scratch("cell_state_quantized", cells),
            Scratch("scaling_factors", 4 * 2 * batch),
            Scratch("input_offsets", 4 * batch),
            Scratch("recovered_cell_weights", 4 * width),
            Scratch("accumulators", 4 * cells),
            Scratch("row_sums", 4 * 2 * gates * width, persistent=True),
        ]
    return parts


def _detection(graph: Graph, node: Node) -> list[Scratch]:
    boxes, scores = graph.operand(node, 0), graph.operand(node, 1)
    if boxes is None or scores is None or len(boxes.shape) != 3 or len(scores.shape) != 3:
        return []
    return [
        Scratch("decoded_boxes", 16 * boxes.shape[1]),
        Scratch("scores", 4 * scores.elements),
        Scratch("active_candidates", boxes.shape[1]),
    ]


def _are_rank(rank: int, *tensors: Tensor | None) -> bool:
    return all(tensor is not None and len(tensor.shape) == rank and min(tensor.shape) >= 0 for tensor in tensors)


def _is_hybrid(fed: Tensor, weights: Tensor) -> bool:
    """Tell dynamic-range quantisation: float values meet integer weights."""
    return fed.type.name == "float32" and weights.type.name in _WEIGHT_TYPES


_SCRATCH: Final[dict[str, Callable[[Graph, Node], list[Scratch]]]] = {
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "TRANSPOSE_CONV": _transpose_conv,
    "BATCH_MATMUL": _batch_matmul,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    "TFLite_Detection_PostProcess": _detection,
}
