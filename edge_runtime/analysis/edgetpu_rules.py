"""What keeps an operator off an Edge TPU, by the rules that were published for its compiler.

The rules are those of coral.ai/docs/edgetpu/models-intro, "Supported operations", for compiler and runtime 16 (the last
one): which operators, and under which conditions on their options and shapes. The compiler knows limits that are not
published, so "mapped" here is a prediction. Two rules are from its users: matrix products have one row
(google-coral/edgetpu issues 25 and 27), and one scale for all weights, because the compiler's kernels are those of
TensorFlow 2.5, which read only the first.
"""

from collections.abc import Callable
from typing import Final

from edge_runtime.analysis.graph import Graph, Node
from edge_runtime.model_file import Tensor
from edge_runtime.tensor_types import TYPES_OF_8_BITS

SUPPORTED: Final = frozenset(
    {
        "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "EXPAND_DIMS", "FULLY_CONNECTED",
        "L2_NORMALIZATION", "LOGISTIC", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MUL", "PACK", "PAD", "PRELU",
        "QUANTIZE", "REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR", "RSQRT", "SLICE", "SOFTMAX", "SPACE_TO_DEPTH", "SPLIT", "SQUARED_DIFFERENCE",
        "SQUEEZE", "STRIDED_SLICE", "SUB", "SUM", "TANH", "TRANSPOSE", "TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM",
    }
)  # fmt: skip
_MOST_SOFTMAX: Final = 16_000
_DEPTH_GROUP: Final = 4
_CHUNK: Final = 65_536
"""Bytes of a constant that are looked at together; axes, paddings and steps have fewer."""


def obstacle(graph: Graph, node: Node, *, quantized: bool = True) -> str | None:
    """Return why an operator cannot run on an Edge TPU, or None.

    ``quantized=False`` leaves out what quantisation decides, for a network that is still in float.
    """
    if node.custom or node.name not in SUPPORTED:
        return f"{node.name} is not supported"
    for index in (*node.inputs, *node.outputs):
        if index < 0 or graph.constant[index]:
            continue
        reason = _tensor_obstacle(graph.tensors[index], quantized=quantized)
        if reason:
            return f"{node.name} {reason}"
    rule = _RULES.get(node.name)
    reason = rule(graph, node) if rule else None
    return f"{node.name} {reason}" if reason else None


def _tensor_obstacle(tensor: Tensor, *, quantized: bool) -> str | None:
    if quantized and tensor.type.name not in TYPES_OF_8_BITS and not tensor.is_variable:
        return f"has a {tensor.type.name} tensor; only 8-bit ones map"
    if -1 in tensor.shape_signature:
        return "has a tensor whose size is known at run time only"
    if len(tensor.shape) > 3 and tensor.shape[0] > 1:
        return f"has a batch of {tensor.shape[0]}; only 1 maps"
    if any(side > 1 for side in tensor.shape[:-3]):
        return f"has a tensor of shape {list(tensor.shape)}; only the innermost three sizes may be larger than 1"
    return None


def _weights(graph: Graph, node: Node) -> str | None:
    weights = graph.operand(node, 1)
    if weights is None or not graph.constant[weights.index]:
        return "computes its weights; they must be constant"
    return None


def _convolution(graph: Graph, node: Node) -> str | None:
    height, width = node.options.dilation
    if height != width:
        return f"has a dilation of {height} by {width}; it must be the same both ways"
    return _weights(graph, node)


def _dense(graph: Graph, node: Node) -> str | None:
    reason = _weights(graph, node) or _one_row(graph, node)
    weights = graph.operand(node, 1)
    if reason is None and weights is not None and len(weights.scale_values) > 1:
        return "has a scale for each row of its weights; only one for all maps"
    return reason


def _one_row(graph: Graph, node: Node) -> str | None:
    result = graph.result(node)
    if result is not None and any(side > 1 for side in result.shape[:-1]):
        return f"gives {list(result.shape)}; only one row of values maps"
    return None


def _softmax(graph: Graph, node: Node) -> str | None:
    result = graph.result(node)
    if result is not None and result.elements > _MOST_SOFTMAX:
        return f"is over {result.elements} values; at most {_MOST_SOFTMAX:,} map"
    return _one_row(graph, node)


def _no_activation(graph: Graph, node: Node) -> str | None:
    del graph
    if node.options.activation != "none":
        return f"has a fused {node.options.activation}; it must have none"
    return None


def _concatenation(graph: Graph, node: Node) -> str | None:
    constants = [index for index in node.inputs if index >= 0 and graph.constant[index]]
    zeros = all(_all_zero(graph.model.buffer(graph.tensors[index].buffer)) for index in constants)
    if constants and (len(node.inputs) != 2 or not zeros):
        return "joins a constant that is no padding with zeros"
    return _no_activation(graph, node)


def _all_zero(data: memoryview) -> bool:
    return not any(bytes(data[at : at + _CHUNK]).strip(b"\0") for at in range(0, len(data), _CHUNK))


def _numbers(graph: Graph, node: Node, operand: int) -> list[int] | None:
    """Return the values of a constant integer operand, or None where it is computed or has another type."""
    tensor = graph.operand(node, operand)
    if tensor is None or not graph.constant[tensor.index] or tensor.type.name not in {"int32", "int64"}:
        return None
    size = tensor.type.bits // 8
    data = graph.model.buffer(tensor.buffer)
    if len(data) % size or len(data) > _CHUNK:
        return None
    return [int.from_bytes(data[at : at + size], "little", signed=True) for at in range(0, len(data), size)]


def _reduction(graph: Graph, node: Node) -> str | None:
    axes, source = _numbers(graph, node, 1), graph.operand(node, 0)
    if axes is None or source is None:
        return "has axes that are computed"
    rank = len(source.shape)
    axes = [axis % rank for axis in axes] if rank else []
    if 0 in axes and source.shape[0] > 1:
        return "reduces the batch"
    if node.name == "MEAN" and rank > 1 and rank - 1 in axes and source.shape[-1] % _DEPTH_GROUP:
        return f"averages {source.shape[-1]} channels; their number must be a multiple of {_DEPTH_GROUP}"
    return None


def _pad(graph: Graph, node: Node) -> str | None:
    margins, source = _numbers(graph, node, 1), graph.operand(node, 0)
    if margins is None or source is None:
        return "has margins that are computed"
    return "pads the batch" if len(source.shape) > 3 and any(margins[:2]) else None


def _strided_slice(graph: Graph, node: Node) -> str | None:
    steps = _numbers(graph, node, 3)
    if steps is None or any(step != 1 for step in steps):
        return "takes every second value or fewer; all strides must be 1"
    return "has an ellipsis or a new axis in its slice" if node.options.reshapes else None


def _first_axis(graph: Graph, node: Node) -> str | None:
    """PACK joins, SPLIT cuts: neither along the batch."""
    result = graph.result(node)
    rank = len(result.shape) if result is not None else 0
    axis: int | None = node.options.axis
    if node.name == "SPLIT":
        axis = next(iter(_numbers(graph, node, 0) or ()), None)
    if axis is None:
        return "has an axis that is computed"
    return "works along the batch" if rank > 3 and axis % rank == 0 else None


def _prelu(graph: Graph, node: Node) -> str | None:
    slopes = graph.operand(node, 1)
    if slopes is not None and any(side > 1 for side in slopes.shape[:-1]):
        return f"has slopes of shape {list(slopes.shape)}; only one for each channel maps (shared_axes=[1, 2] in Keras)"
    return None


def _squeeze(graph: Graph, node: Node) -> str | None:
    source = graph.operand(node, 0)
    if source is None:
        return None
    sides = list(source.shape)
    while sides and sides[0] == 1:
        sides.pop(0)
    return f"takes {list(source.shape)}; only leading sizes of 1 can go" if 1 in sides[:-1] else None


_RULES: Final[dict[str, Callable[[Graph, Node], str | None]]] = {
    "AVERAGE_POOL_2D": _no_activation,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "FULLY_CONNECTED": _dense,
    "MAX_POOL_2D": _no_activation,
    "MEAN": _reduction,
    "PACK": _first_axis,
    "PAD": _pad,
    "PRELU": _prelu,
    "REDUCE_MAX": _reduction,
    "REDUCE_MIN": _reduction,
    "SOFTMAX": _softmax,
    "SPLIT": _first_axis,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "SUM": _reduction,
    "TRANSPOSE_CONV": _weights,
}
