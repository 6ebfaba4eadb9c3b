"""A model as a graph of named operators with decoded options: what every other part of the analysis reads.

Nothing is run, and the file is not trusted: sizes beyond what any real model has are refused with ModelError. Field
numbers of the options are those of TensorFlow Lite's ``schema.fbs``. Values are immutable.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from edge_runtime.analysis.operator_names import operator_name
from edge_runtime.errors import ModelError
from edge_runtime.flatbuffer import I8, I32, U8, Table
from edge_runtime.model_file import ModelFile, Operator, Tensor, read_model

MAX_NODES: Final = 10_000
MAX_ELEMENTS: Final = 2**40
"""Of one tensor; keeps every product of sizes a number that can be printed."""
_MAX_STEP: Final = 2**16
_MAX_DEPTH: Final = 8
"""Of graphs that run others; a loop in a loop has 2."""
_MOST_CALLED_TENSORS: Final = 20_000
"""Of all graphs that others run."""

Activation = Literal["none", "relu", "relu_n1_to_1", "relu6", "tanh", "sign_bit"]
Padding = Literal["same", "valid"]
_ACTIVATIONS: Final[tuple[Activation, ...]] = ("none", "relu", "relu_n1_to_1", "relu6", "tanh", "sign_bit")

CONVOLUTIONS: Final = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "CONV_3D_TRANSPOSE"})


@dataclass(frozen=True, slots=True)
class Options:
    """The options that cost or mapping depend on; an operator that has not one of them has its default here."""

    stride: tuple[int, int] = (1, 1)
    """Height, width."""
    dilation: tuple[int, int] = (1, 1)
    """Height, width."""
    window: tuple[int, int] = (1, 1)
    """Height, width of a pooling window; convolutions have theirs in the filter's shape."""
    padding: Padding = "valid"
    depth_multiplier: int = 1
    activation: Activation = "none"
    axis: int = 0
    transpose_a: bool = False
    transpose_b: bool = False
    align_corners: bool = False
    half_pixel_centers: bool = False
    reshapes: bool = False
    """A slice with an ellipsis or a new axis."""
    runs: tuple[int, ...] = ()
    """Graphs of the file that the operator runs: of WHILE its condition and body, of IF both its branches."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operator: ``inputs`` and ``outputs`` are indices of tensors, -1 for an input that is left out."""

    index: int
    name: str
    """Of the builtin operator, ``CONV_2D``, or a custom operator's own."""
    custom: bool
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options


@dataclass(frozen=True, eq=False, slots=True)
class Graph:
    """A model's main graph, or one that an operator of it runs."""

    model: ModelFile
    nodes: tuple[Node, ...]
    tensors: tuple[Tensor, ...]
    constant: tuple[bool, ...]
    """Per tensor: whether its values are stored in the file."""
    called: Mapping[int, tuple["Graph", ...]] = field(default_factory=dict)
    """The graphs that an operator runs, by its index; in the order of its options' ``runs``."""
    unpacked: Mapping[int, int] = field(default_factory=dict)
    """Tensors that are stored in half precision and made float32 once, to the DEQUANTIZE that does it."""

    def operand(self, node: Node, number: int) -> Tensor | None:
        """Return an input of a node, or None where it is left out."""
        if number >= len(node.inputs) or node.inputs[number] < 0:
            return None
        return self.tensors[node.inputs[number]]

    def result(self, node: Node, number: int = 0) -> Tensor | None:
        """Return an output of a node, or None where it has fewer."""
        return self.tensors[node.outputs[number]] if number < len(node.outputs) else None

    def operators(self) -> dict[str, int]:
        """Return how many operators of each kind there are, the most frequent first."""
        return dict(Counter(node.name for node in self.nodes).most_common())

    @property
    def dynamic(self) -> bool:
        """Whether a tensor's size is only known at run time; it is then counted as it is stored, mostly 1."""
        return any(-1 in tensor.shape_signature for tensor in self.tensors)


def read_graph(path: Path) -> Graph:
    """Read a model file's graph. Raises UsageError when there is no such file, ModelError for what is not sound."""
    return build_graph(read_model(path))


def build_graph(model: ModelFile) -> Graph:
    """Return the graph of a model that has been read, with those that it runs. Raises ModelError."""
    return _Building(model).build(model, depth=0)


@dataclass(slots=True)
class _Building:
    """The graphs that run each other, while they are read: each once, and within limits when counted as it is named."""

    model: ModelFile
    tensors_left: int = _MOST_CALLED_TENSORS
    graphs: dict[int, Graph] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    """Operators of a graph and of those it runs."""

    def build(self, model: ModelFile, *, depth: int, number: int = 0) -> Graph:
        """Return a graph and those that it runs. A circle of graphs is too deep."""
        if depth > _MAX_DEPTH:
            raise ModelError(f"{model.path}: its graphs run each other more than {_MAX_DEPTH} deep; convert it again")
        for tensor in model.tensors:
            if tensor.elements > MAX_ELEMENTS:
                raise model.root.flat.damaged(f"tensor {tensor.index} claims {tensor.elements} elements")
        nodes = tuple(_node(operator) for operator in model.operators) if len(model.operators) <= MAX_NODES else ()
        named = [each for node in nodes for each in node.options.runs]
        for each in dict.fromkeys(named):
            self._called(each, depth=depth + 1)
        count = len(model.operators) + sum(1 + self.counts[each] for each in named)
        if count > MAX_NODES:
            raise ModelError(f"{model.path} has {count} operators; up to {MAX_NODES} are analysed")
        self.counts[number] = count
        called = {
            node.index: tuple(self.graphs[each] for each in node.options.runs) for node in nodes if node.options.runs
        }
        constant = _constant(model)
        unpacked = {
            node.outputs[0]: node.index
            for node in nodes
            if node.name == "DEQUANTIZE" and len(node.outputs) == 1 and _holds_halves(model, node, constant)
        }
        return Graph(model, nodes, model.tensors, constant, called, unpacked)

    def _called(self, number: int, *, depth: int) -> None:
        if number not in self.graphs:
            model = self.model.subgraph(number, most_tensors=self.tensors_left)
            self.tensors_left -= len(model.tensors)
            self.graphs[number] = self.build(model, depth=depth, number=number)


def _constant(model: ModelFile) -> tuple[bool, ...]:
    """Return per tensor whether the file has its values."""
    produced = {*model.inputs, *(index for operator in model.operators for index in operator.outputs)}
    stored: dict[int, bool] = {0: False}
    for tensor in model.tensors:
        if tensor.buffer not in stored:
            stored[tensor.buffer] = len(model.buffer(tensor.buffer)) > 0
    return tuple(stored[tensor.buffer] and tensor.index not in produced for tensor in model.tensors)


def _holds_halves(model: ModelFile, node: Node, constant: tuple[bool, ...]) -> bool:
    fed = node.inputs[0] if len(node.inputs) == 1 else -1
    return fed >= 0 and constant[fed] and model.tensors[fed].type.name == "float16"


def _node(operator: Operator) -> Node:
    name = operator_name(operator.code)
    return Node(
        index=operator.index,
        name=name,
        custom=operator.code.custom is not None,
        version=operator.code.version,
        inputs=operator.inputs,
        outputs=operator.outputs,
        options=_options(operator, name),
    )


def _options(operator: Operator, name: str) -> Options:
    reader = _READERS.get(operator.options_type)
    if reader is None or operator.code.custom is not None:
        return Options()
    table = operator.options
    if table is None:
        return Options()
    options = reader(table)
    if not all(0 < step <= _MAX_STEP for step in (*options.stride, *options.dilation)):
        raise table.flat.damaged(f"operator {operator.index} ({name}) has stride {options.stride}")
    return options


def _activation(table: Table, field: int) -> Activation:
    code = int(table.scalar(field, I8))
    if not 0 <= code < len(_ACTIVATIONS):
        raise table.flat.damaged(f"there is no activation {code}")
    return _ACTIVATIONS[code]


def _padding(table: Table) -> Padding:
    return "valid" if table.scalar(0, I8) else "same"


def _pair(table: Table, height: int, width: int, default: int = 0) -> tuple[int, int]:
    return table.scalar(height, I32, default), table.scalar(width, I32, default)


def _conv(table: Table) -> Options:
    return Options(
        padding=_padding(table),
        stride=_pair(table, 2, 1),
        dilation=_pair(table, 5, 4, 1),
        activation=_activation(table, 3),
    )


def _depthwise(table: Table) -> Options:
    return Options(
        padding=_padding(table),
        stride=_pair(table, 2, 1),
        depth_multiplier=table.scalar(3, I32),
        dilation=_pair(table, 6, 5, 1),
        activation=_activation(table, 4),
    )


def _pool(table: Table) -> Options:
    return Options(
        padding=_padding(table), stride=_pair(table, 2, 1), window=_pair(table, 4, 3), activation=_activation(table, 5)
    )


def _transpose_conv(table: Table) -> Options:
    return Options(padding=_padding(table), stride=_pair(table, 2, 1), activation=_activation(table, 3))


def _conv_3d(table: Table) -> Options:
    return Options(
        padding=_padding(table),
        stride=_pair(table, 3, 2),
        dilation=_pair(table, 7, 6, 1),
        activation=_activation(table, 4),
    )


def _activation_only(table: Table) -> Options:
    return Options(activation=_activation(table, 0))


def _concatenation(table: Table) -> Options:
    return Options(axis=table.scalar(0, I32), activation=_activation(table, 1))


def _matmul(table: Table) -> Options:
    return Options(transpose_a=bool(table.scalar(0, U8)), transpose_b=bool(table.scalar(1, U8)))


def _bilinear(table: Table) -> Options:
    return Options(align_corners=bool(table.scalar(2, U8)), half_pixel_centers=bool(table.scalar(3, U8)))


def _strided_slice(table: Table) -> Options:
    return Options(reshapes=bool(table.scalar(2, I32) or table.scalar(3, I32)))


def _control(table: Table) -> Options:
    return Options(runs=(table.scalar(0, I32), table.scalar(1, I32)))


def _pack(table: Table) -> Options:
    return Options(axis=table.scalar(1, I32))


_READERS: Final = {
    1: _conv,
    2: _depthwise,
    5: _pool,
    8: _activation_only,  # FULLY_CONNECTED
    10: _concatenation,
    11: _activation_only,  # ADD
    15: _bilinear,
    21: _activation_only,  # MUL
    28: _activation_only,  # SUB
    29: _activation_only,  # DIV
    32: _strided_slice,
    49: _transpose_conv,
    59: _pack,
    92: _control,  # IF
    93: _control,  # WHILE
    101: _matmul,
    106: _conv_3d,
}
"""Member of the schema's ``BuiltinOptions`` union to what reads it."""
