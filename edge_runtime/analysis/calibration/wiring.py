"""Networks put together one operator at a time, each of which can also be had as a model of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, Final

from edge_runtime.analysis.calibration.flat_writer import Fields, Scalar
from edge_runtime.analysis.calibration.model_writer import SCALE, ModelWriter, OptionFields

_PROBABILITY: Final = (1 / 256, -128)
_FIRST_VERSION: Final = frozenset({"HARD_SWISH", "ELU"})
_DYNAMIC: Final = frozenset({"convolution", "grouped", "depthwise", "dense"})
"""Steps with weights that may have 8 bits where values are float32."""
_MEMBERS: Final = {"ADD": 11, "MUL": 21, "SUB": 28, "SQUARED_DIFFERENCE": 76}


@dataclass(frozen=True, slots=True)
class Value:
    """A computed tensor: its number in the model that is being written, its shape, scale and zero point."""

    number: int
    shape: tuple[int, ...]
    quantization: tuple[float, int] = (SCALE, 0)


Step = Callable[[ModelWriter, str, Sequence[Value]], tuple[Value, ...]]
"""Adds an operator on some values to a model of some element type, and returns what it makes."""


@dataclass(frozen=True, slots=True)
class Alone:
    """One operator of a network. ``key`` is the same for operators that do the same work."""

    key: tuple[Any, ...]
    step: str
    """The name of the function that adds it."""
    make: Callable[[], bytes]
    """Returns it as a model of its own."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network, each of its operators, and of what kind it is."""

    make: Callable[[], bytes]
    """Returns it as a model, written anew: many networks are kept, and their weights would fill a small memory."""
    parts: tuple[Alone, ...]
    kind: str


class Wiring:
    """A network to which one operator after another is added."""

    def __init__(self, type_name: str, kind: str) -> None:
        self._writer, self.type, self._kind = ModelWriter(), type_name, kind
        self.most_macs = 0
        """What one operator may have; for who draws networks at random."""
        self._parts: list[Alone] = []
        self._fed: list[int] = []

    @property
    def count(self) -> int:
        """Return how many operators there are."""
        return len(self._parts)

    def input(self, shape: Sequence[int]) -> Value:
        """Add an input."""
        made = _tensor(self._writer, self.type, shape)
        self._fed.append(made.number)
        return made

    def add(self, step: Step, *fed: Value) -> Value:
        """Add an operator and return its first result."""
        return self.several(step, *fed)[0]

    def several(self, step: Step, *fed: Value) -> tuple[Value, ...]:
        """Add an operator and return all its results."""
        type_name = self._type_of(step)
        made = step(self._writer, type_name, fed)
        shapes = [(value.shape, value.quantization) for value in fed]
        bound = (*step.args, *step.keywords.values()) if isinstance(step, partial) else ()
        name = _name(step)
        self._parts.append(Alone((type_name, name, *bound, *shapes), name, partial(_alone, step, type_name, shapes)))
        return made

    def _type_of(self, step: Step) -> str:
        """Return the type that a step is to compute with: of float32 with weights of 8 bits not all have weights."""
        return "float32" if self.type == "dynamic" and _name(step) not in _DYNAMIC else self.type

    def finished(self, *ends: Value) -> Network:
        """Return the network with these outputs."""
        make = partial(self._writer.model, self._fed, [end.number for end in ends])
        return Network(make, tuple(self._parts), self._kind)


def _name(step: Step) -> str:
    return (step.func if isinstance(step, partial) else step).__name__


def _alone(step: Step, type_name: str, shapes: Sequence[tuple[tuple[int, ...], tuple[float, int]]]) -> bytes:
    writer = ModelWriter()
    fed = [_tensor(writer, type_name, shape, quantization) for shape, quantization in shapes]
    made = step(writer, type_name, fed)
    return writer.model([value.number for value in fed], [value.number for value in made])


def _tensor(
    writer: ModelWriter, type_name: str, shape: Sequence[int], quantization: tuple[float, int] = (SCALE, 0)
) -> Value:
    scale, zero = quantization
    return Value(writer.tensor(shape, type_name, scale=scale, zero_point=zero), tuple(shape), quantization)


def _version(type_name: str, eight_bit: int = 2) -> int:
    return 1 if type_name == "float32" else eight_bit


def convolution(
    channels: int, window: int | tuple[int, int], stride: int, writer: ModelWriter, type_name: str, fed: Sequence[Value]
) -> tuple[Value, ...]:
    """CONV_2D with a fused ReLU; the first three are bound with ``partial``, as in all steps."""
    return _convolved(channels, window, stride, 1, writer, type_name, fed)


def grouped(groups: int, window: int, writer: ModelWriter, type_name: str, fed: Sequence[Value]) -> tuple[Value, ...]:
    """CONV_2D in groups of channels, as many channels out as in."""
    return _convolved(fed[0].shape[-1], window, 1, groups, writer, type_name, fed)


def _convolved(
    channels: int,
    window: int | tuple[int, int],
    stride: int,
    groups: int,
    writer: ModelWriter,
    type_name: str,
    fed: Sequence[Value],
) -> tuple[Value, ...]:
    _, height, width, depth = fed[0].shape
    sides = (window, window) if isinstance(window, int) else window
    weights = writer.weights([channels, *sides, depth // groups], type_name)
    made = _tensor(writer, type_name, (1, -(-height // stride), -(-width // stride), channels))
    fields = {0: Scalar("b", 0), 1: Scalar("i", stride), 2: Scalar("i", stride), 3: Scalar("b", 1)}
    inputs = [fed[0].number, weights, writer.bias(channels, type_name)]
    writer.operator("CONV_2D", inputs, [made.number], (1, fields), version=5 if type_name == "dynamic" else 3)
    return (made,)


def depthwise(window: int, stride: int, writer: ModelWriter, type_name: str, fed: Sequence[Value]) -> tuple[Value, ...]:
    """DEPTHWISE_CONV_2D with a fused ReLU."""
    _, height, width, channels = fed[0].shape
    # Of a single row, as of sound, the window is a row too.
    weights = writer.weights([1, window if height > 1 else 1, window, channels], type_name, axis=3)
    made = _tensor(writer, type_name, (1, -(-height // stride), -(-width // stride), channels))
    fields = {0: Scalar("b", 0), 1: Scalar("i", stride), 2: Scalar("i", stride), 3: Scalar("i", 1), 4: Scalar("b", 1)}
    inputs = [fed[0].number, weights, writer.bias(channels, type_name)]
    writer.operator("DEPTHWISE_CONV_2D", inputs, [made.number], (2, fields), version=6 if type_name == "dynamic" else 3)
    return (made,)


def dense(units: int, writer: ModelWriter, type_name: str, fed: Sequence[Value]) -> tuple[Value, ...]:
    """FULLY_CONNECTED of two axes, or of three that are kept."""
    shape = fed[0].shape
    weights = writer.weights([units, shape[-1]], type_name)
    made = _tensor(writer, type_name, (*shape[:-1], units))
    dynamic = type_name == "dynamic"
    fields: Fields = {2: Scalar("B", len(shape) > 2), 3: Scalar("B", dynamic)}
    inputs = [fed[0].number, weights, writer.bias(units, type_name)]
    version = 12 if dynamic else 5 if len(shape) > 2 else 4
    writer.operator("FULLY_CONNECTED", inputs, [made.number], (8, fields), version=version)
    return (made,)


def unary(name: str, writer: ModelWriter, type_name: str, fed: Sequence[Value]) -> tuple[Value, ...]:
    """Any operator on each value; SOFTMAX too."""
    made = _tensor(
        writer,
        type_name,
        fed[0].shape,
        _PROBABILITY if name in {"LOGISTIC", "SOFTMAX"} and type_name in {"int8", "uint8"} else (SCALE, 0),
    )
    options: OptionFields | None = (9, {0: Scalar("f", 1.0)}) if name == "SOFTMAX" else None
    version = 1 if name in _FIRST_VERSION else _version(type_name)
    writer.operator(name, [fed[0].number], [made.number], options, version=version)
    return (made,)


def binary(name: str, writer: ModelWriter, type_name: str, fed: Sequence[Value]) -> tuple[Value, ...]:
    """An operator of two operands; the second may have fewer values."""
    made = _tensor(writer, type_name, fed[0].shape)
    version = _version(type_name, 3 if name == "SUB" else 2)
    writer.operator(name, [value.number for value in fed], [made.number], (_MEMBERS[name], {}), version=version)
    return (made,)


def mean(axes: tuple[int, ...], writer: ModelWriter, type_name: str, fed: Sequence[Value]) -> tuple[Value, ...]:
    """MEAN over axes, which are kept with size 1."""
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(fed[0].shape))
    made = _tensor(writer, type_name, shape)
    inputs = [fed[0].number, writer.integers(axes)]
    writer.operator("MEAN", inputs, [made.number], (27, {0: Scalar("B", True)}), version=_version(type_name))
    return (made,)


def joined(writer: ModelWriter, type_name: str, fed: Sequence[Value]) -> tuple[Value, ...]:
    """CONCATENATION along the last axis."""
    axis = len(fed[0].shape) - 1
    made = _tensor(writer, type_name, (*fed[0].shape[:-1], sum(value.shape[-1] for value in fed)))
    options = (10, {0: Scalar("i", axis)})
    inputs = [value.number for value in fed]
    writer.operator("CONCATENATION", inputs, [made.number], options, version=_version(type_name))
    return (made,)


def split(writer: ModelWriter, type_name: str, fed: Sequence[Value]) -> tuple[Value, ...]:
    """SPLIT of the last axis in two."""
    shape = fed[0].shape
    made = tuple(_tensor(writer, type_name, (*shape[:-1], shape[-1] // 2)) for _ in range(2))
    axis = writer.integers([len(shape) - 1])
    numbers = [value.number for value in made]
    writer.operator("SPLIT", [axis, fed[0].number], numbers, (35, {0: Scalar("i", 2)}), version=2)
    return made


def cut(begin: int, end: int, writer: ModelWriter, type_name: str, fed: Sequence[Value]) -> tuple[Value, ...]:
    """STRIDED_SLICE of the last axis."""
    shape = fed[0].shape
    made = _tensor(writer, type_name, (*shape[:-1], end - begin))
    starts, ends, steps = [*[0] * (len(shape) - 1), begin], [*shape[:-1], end], [1] * len(shape)
    inputs = [fed[0].number, *(writer.integers(values) for values in (starts, ends, steps))]
    writer.operator("STRIDED_SLICE", inputs, [made.number], (32, {}), version=_version(type_name))
    return (made,)


def reshaped(shape: tuple[int, ...], writer: ModelWriter, type_name: str, fed: Sequence[Value]) -> tuple[Value, ...]:
    """RESHAPE."""
    assert prod(shape) == prod(fed[0].shape)
    made = _tensor(writer, type_name, shape, fed[0].quantization)
    writer.operator("RESHAPE", [fed[0].number, writer.integers(shape)], [made.number], (17, {}))
    return (made,)


def turned(order: tuple[int, ...], writer: ModelWriter, type_name: str, fed: Sequence[Value]) -> tuple[Value, ...]:
    """TRANSPOSE."""
    made = _tensor(writer, type_name, [fed[0].shape[axis] for axis in order], fed[0].quantization)
    inputs = [fed[0].number, writer.integers(order)]
    writer.operator("TRANSPOSE", inputs, [made.number], (26, {}), version=_version(type_name))
    return (made,)


def product(writer: ModelWriter, type_name: str, fed: Sequence[Value]) -> tuple[Value, ...]:
    """BATCH_MATMUL."""
    made = _tensor(writer, type_name, (*fed[0].shape[:-1], fed[1].shape[-1]))
    inputs = [value.number for value in fed]
    writer.operator("BATCH_MATMUL", inputs, [made.number], (101, {}), version=_version(type_name))
    return (made,)


def pooled(
    writer: ModelWriter,
    type_name: str,
    fed: Sequence[Value],
    *,
    name: str = "MAX_POOL_2D",
    window: int = 2,
    stride: int = 2,
) -> tuple[Value, ...]:
    """MAX_POOL_2D or AVERAGE_POOL_2D."""
    _, height, width, channels = fed[0].shape
    made = _tensor(writer, type_name, (1, -(-height // stride), -(-width // stride), channels), fed[0].quantization)
    fields: Fields = {0: Scalar("b", 0)} | {
        number: Scalar("i", value) for number, value in ((1, stride), (2, stride), (3, window), (4, window))
    }
    writer.operator(name, [fed[0].number], [made.number], (5, fields), version=_version(type_name))
    return (made,)


def enlarged(name: str, writer: ModelWriter, type_name: str, fed: Sequence[Value]) -> tuple[Value, ...]:
    """RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR to twice the sides."""
    _, height, width, channels = fed[0].shape
    made = _tensor(writer, type_name, (1, 2 * height, 2 * width, channels), fed[0].quantization)
    options = (15, {3: Scalar("B", True)}) if name == "RESIZE_BILINEAR" else (74, {1: Scalar("B", True)})
    inputs = [fed[0].number, writer.integers([2 * height, 2 * width])]
    writer.operator(name, inputs, [made.number], options, version=3)
    return (made,)


def transposed(
    channels: int, window: int, writer: ModelWriter, type_name: str, fed: Sequence[Value]
) -> tuple[Value, ...]:
    """TRANSPOSE_CONV to twice the sides."""
    _, height, width, depth = fed[0].shape
    large = (1, 2 * height, 2 * width, channels)
    weights, made = writer.weights([channels, window, window, depth], type_name), _tensor(writer, type_name, large)
    options = (49, {0: Scalar("b", 0), 1: Scalar("i", 2), 2: Scalar("i", 2)})
    inputs = [writer.integers(large), weights, fed[0].number, writer.bias(channels, type_name)]
    writer.operator("TRANSPOSE_CONV", inputs, [made.number], options, version=3)
    return (made,)
