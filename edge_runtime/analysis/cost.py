"""What each operator costs, exactly: multiply-accumulates, parameters, bytes read and written.

A MAC is one multiplication with its addition in a matrix product or convolution, padding included (the convention of
the MobileNet papers: V1 1.0 224 has 569 million). Element-wise operators, pooling and activations have none; how many
values they compute is in ``elements``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Final

from edge_runtime.analysis.graph import Graph, Node
from edge_runtime.model_file import Tensor

WEIGHTED: Final = frozenset(
    {
        "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "CONV_3D_TRANSPOSE", "FULLY_CONNECTED", "LSTM",
        "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_RNN", "SVDF",
    }
)  # fmt: skip
"""Operators whose constants, integer ones (biases) too, are parameters."""
CONTROL: Final = frozenset({"WHILE", "IF"})
"""Operators that run other graphs of the file (``loops``)."""
_ARGUMENT_TYPES: Final = frozenset({"int32", "int64", "bool", "string", "resource", "variant"})
_PICKING: Final = frozenset({"GATHER", "GATHER_ND", "SLICE", "STRIDED_SLICE"})
_VIEWS: Final = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "BITCAST"})
"""The interpreter shares input and output of these: nothing is moved."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one operator."""

    macs: int
    parameters: int
    """Weights and biases; a constant that several operators share is counted with the first."""
    weight_bytes: int
    """Bytes of the constants it reads."""
    read_bytes: int
    """Bytes of computed tensors it reads."""
    made_bytes: int
    """Bytes of its results."""
    elements: int
    """Values it computes."""

    @property
    def bytes_moved(self) -> int:
        """Return bytes read and written when nothing stays in a cache."""
        return self.weight_bytes + self.read_bytes + self.made_bytes


@lru_cache(maxsize=1)
def costs(graph: Graph) -> tuple[Cost, ...]:
    """Return the cost of every operator, in execution order; of the last graph asked for it is remembered."""
    counted: set[int] = set()
    return tuple(_cost(graph, node, counted) for node in graph.nodes)


def _cost(graph: Graph, node: Node, counted: set[int]) -> Cost:
    operands = dict.fromkeys(index for index in node.inputs if index >= 0)
    constants = [graph.tensors[index] for index in operands if graph.constant[index]]
    computed = [graph.tensors[index] for index in operands if not graph.constant[index]]
    results = [graph.tensors[index] for index in node.outputs]
    parameters = 0
    for tensor in constants:
        if tensor.index not in counted and _is_parameter(node, tensor):
            counted.add(tensor.index)
            parameters += tensor.elements
    made = 0 if node.name in _VIEWS else sum(tensor.size_bytes for tensor in results)
    read = 0 if node.name in _VIEWS else sum(_read_bytes(graph, node, tensor, made) for tensor in computed)
    return Cost(
        macs=macs(graph, node),
        parameters=parameters,
        weight_bytes=sum(tensor.size_bytes for tensor in constants),
        read_bytes=read,
        made_bytes=made,
        elements=sum(tensor.elements for tensor in results),
    )


def _read_bytes(graph: Graph, node: Node, tensor: Tensor, made_bytes: int) -> int:
    """Return how much of a computed tensor an operator reads: of what it picks from, as much as it makes."""
    if node.name not in _PICKING or tensor.index != node.inputs[0]:
        return tensor.size_bytes
    if node.name == "SLICE" and not cuts_where_stored(graph, node):
        return tensor.size_bytes  # the size of its result is not in the file
    return min(tensor.size_bytes, made_bytes)


def cuts_where_stored(graph: Graph, node: Node) -> bool:
    """Return whether a SLICE's begin and size are in the file: in loops over sequences each step computes them."""
    return all(index >= 0 and graph.constant[index] for index in node.inputs[1:3])


def _is_parameter(node: Node, tensor: Tensor) -> bool:
    """Tell a weight or bias from an argument such as a shape, an axis, a padding, or what a loop begins with."""
    if node.name in CONTROL:
        return False
    if node.name in WEIGHTED:
        return not (node.name in {"TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"} and tensor.index == node.inputs[0])
    return tensor.type.name not in _ARGUMENT_TYPES


def macs(graph: Graph, node: Node) -> int:
    """Return the multiply-accumulates of one operator; 0 for what does no matrix product."""
    count = _MACS.get(node.name)
    return count(graph, node) if count else 0


def _shape(tensor: Tensor | None, rank: int) -> tuple[int, ...]:
    """Return a tensor's shape, or zeros when it is absent or of another rank: its operator then counts nothing."""
    if tensor is None or len(tensor.shape) != rank:
        return (0,) * rank
    return tuple(max(size, 1) if size < 0 else size for size in tensor.shape)


def _elements(tensor: Tensor | None) -> int:
    return tensor.elements if tensor else 0


def _conv_2d(graph: Graph, node: Node) -> int:
    # Filter: output channels, height, width, input channels of one group.
    return _elements(graph.result(node)) * prod(_shape(graph.operand(node, 1), 4)[1:])


def _depthwise(graph: Graph, node: Node) -> int:
    # Filter: 1, height, width, output channels.
    return _elements(graph.result(node)) * prod(_shape(graph.operand(node, 1), 4)[1:3])


def _transpose_conv(graph: Graph, node: Node) -> int:
    # Filter: output channels, height, width, input channels; every input value meets the whole window.
    return _elements(graph.operand(node, 2)) * prod(_shape(graph.operand(node, 1), 4)[:3])


def _conv_3d(graph: Graph, node: Node) -> int:
    # Filter: depth, height, width, input channels, output channels.
    return _elements(graph.result(node)) * prod(_shape(graph.operand(node, 1), 5)[:4])


def _conv_3d_transpose(graph: Graph, node: Node) -> int:
    # Filter: depth, height, width, output channels, input channels.
    return _elements(graph.operand(node, 2)) * prod(_shape(graph.operand(node, 1), 5)[:4])


def _fully_connected(graph: Graph, node: Node) -> int:
    return _elements(graph.result(node)) * _shape(graph.operand(node, 1), 2)[1]


def _batch_matmul(graph: Graph, node: Node) -> int:
    left = graph.operand(node, 0)
    if left is None or len(left.shape) < 2:
        return 0
    return _elements(graph.result(node)) * max(left.shape[-2 if node.options.transpose_a else -1], 1)


def _recurrent(graph: Graph, node: Node) -> int:
    """Count every two-dimensional weight once per time step and row of the batch."""
    weights = {
        index
        for index in node.inputs[1:]
        if index >= 0 and graph.constant[index] and len(graph.tensors[index].shape) == 2
    }
    fed = graph.operand(node, 0)
    if fed is None or not fed.shape:
        return 0
    return prod(max(size, 1) for size in fed.shape[:-1]) * sum(graph.tensors[index].elements for index in weights)


_MACS: Final[dict[str, Callable[[Graph, Node], int]]] = {
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transpose_conv,
    "CONV_3D": _conv_3d,
    "CONV_3D_TRANSPOSE": _conv_3d_transpose,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
    "LSTM": _recurrent,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _recurrent,
    "BIDIRECTIONAL_SEQUENCE_LSTM": _recurrent,
    "RNN": _recurrent,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _recurrent,
    "BIDIRECTIONAL_SEQUENCE_RNN": _recurrent,
    "SVDF": _recurrent,
}
