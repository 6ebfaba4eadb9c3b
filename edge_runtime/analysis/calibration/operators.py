"""Models of one operator, by the sizes of the work: what calibration times.

Each function returns a ``.tflite``. ``type_name`` is float32, int8, uint8 or, where there are weights, dynamic: float32
with weights of 8 bits. Pictures are NHWC with batch 1.
"""

from collections.abc import Sequence
from math import prod
from typing import Final

from edge_runtime.analysis.calibration.flat_writer import Fields, Scalar
from edge_runtime.analysis.calibration.model_writer import SCALE, ModelWriter, OptionFields

_LOGISTIC_SCALE: Final = 1 / 256
_TANH: Final = 4
_FIRST_VERSION: Final = frozenset({"ELU", "HARD_SWISH"})


def convolution(
    type_name: str,
    side: int,
    channels: tuple[int, int],
    *,
    window: tuple[int, int] = (1, 1),
    stride: int = 1,
    groups: int = 1,
) -> bytes:
    """Return CONV_2D of ``channels`` (in, out) with a result of ``side`` by ``side``."""
    writer, (depth, width) = ModelWriter(), channels
    fed = writer.tensor([1, side * stride, side * stride, depth], type_name)
    weights = writer.weights([width, *window, depth // groups], type_name)
    made = writer.tensor([1, side, side, width], type_name)
    options = (1, {0: Scalar("b", 0), 1: Scalar("i", stride), 2: Scalar("i", stride)})
    version = 5 if type_name == "dynamic" else 3
    writer.operator("CONV_2D", [fed, weights, writer.bias(width, type_name)], [made], options, version=version)
    return writer.model([fed], [made])


def depthwise(
    type_name: str, side: int, channels: int, *, window: int = 3, stride: int = 1, row: bool = False
) -> bytes:
    """Return DEPTHWISE_CONV_2D with a result of ``side`` by ``side``, or of a single ``row``."""
    writer, height = ModelWriter(), 1 if row else side
    fed = writer.tensor([1, 1 if row else side * stride, side * stride, channels], type_name)
    weights = writer.weights([1, 1 if row else window, window, channels], type_name, axis=3)
    made = writer.tensor([1, height, side, channels], type_name)
    options = (2, {0: Scalar("b", 0), 1: Scalar("i", stride), 2: Scalar("i", stride), 3: Scalar("i", 1)})
    inputs, version = [fed, weights, writer.bias(channels, type_name)], 6 if type_name == "dynamic" else 3
    writer.operator("DEPTHWISE_CONV_2D", inputs, [made], options, version=version)
    return writer.model([fed], [made])


def multiplied(type_name: str, sizes: tuple[int, int], channels: int, *, times: int, window: tuple[int, int]) -> bytes:
    """Return DEPTHWISE_CONV_2D that makes ``times`` channels of each; ``sizes`` are height and width of the result."""
    writer, (height, width) = ModelWriter(), sizes
    fed = writer.tensor([1, height + window[0] - 1, width + window[1] - 1, channels], type_name)
    weights = writer.weights([1, *window, channels * times], type_name, axis=3)
    made = writer.tensor([1, height, width, channels * times], type_name)
    options = (2, {0: Scalar("b", 1), 1: Scalar("i", 1), 2: Scalar("i", 1), 3: Scalar("i", times)})
    inputs = [fed, weights, writer.bias(channels * times, type_name)]
    writer.operator("DEPTHWISE_CONV_2D", inputs, [made], options, version=3)
    return writer.model([fed], [made])


def transposed(type_name: str, side: int, channels: tuple[int, int], *, window: int, stride: int = 2) -> bytes:
    """Return TRANSPOSE_CONV that makes a picture of ``side`` by ``side`` larger by ``stride``."""
    writer, (depth, width) = ModelWriter(), channels
    large = [1, side * stride, side * stride, width]
    fed = writer.tensor([1, side, side, depth], type_name)
    weights = writer.weights([width, window, window, depth], type_name)
    made = writer.tensor(large, type_name)
    options = (49, {0: Scalar("b", 0), 1: Scalar("i", stride), 2: Scalar("i", stride)})
    inputs = [writer.integers(large), weights, fed, writer.bias(width, type_name)]
    writer.operator("TRANSPOSE_CONV", inputs, [made], options, version=3)
    return writer.model([fed], [made])


def fully_connected(type_name: str, rows: int, inputs: int, units: int) -> bytes:
    """Return FULLY_CONNECTED of ``rows`` vectors."""
    writer = ModelWriter()
    fed = writer.tensor([rows, inputs], type_name)
    weights = writer.weights([units, inputs], type_name)
    made = writer.tensor([rows, units], type_name)
    # Version 4 has quantised weights per tensor, which converters choose for int8; later ones per channel as well.
    dynamic = type_name == "dynamic"
    options, version = (8, {3: Scalar("B", True)} if dynamic else {}), 12 if dynamic else 4
    fed_with = [fed, weights, writer.bias(units, type_name)]
    writer.operator("FULLY_CONNECTED", fed_with, [made], options, version=version)
    return writer.model([fed], [made])


def lstm(type_name: str, steps: int, inputs: int, cells: int) -> bytes:
    """Return UNIDIRECTIONAL_SEQUENCE_LSTM over ``steps`` vectors, without peepholes and projection.

    In int8 the cells' state has 16 bits and a scale that is a power of two, the outputs' state that of the outputs.
    """
    writer, integer = ModelWriter(), type_name == "int8"
    fed = writer.tensor([1, steps, inputs], type_name)
    weights = [writer.weights([cells, depth], type_name, axis=None) for depth in (inputs, cells) for _ in range(4)]
    bias_type = "uint8" if integer else "float32"  # one scale for all gates
    biases = [writer.bias(cells, bias_type) for _ in range(4)]
    outputs = writer.state([1, cells], "int8" if integer else "float32")
    memory = writer.state([1, cells], "int16" if integer else "float32", scale=2**-11)
    made = writer.tensor([1, steps, cells], type_name)
    options = (71, {0: Scalar("b", _TANH), 4: Scalar("B", type_name == "dynamic")})
    operands = [fed, *weights, -1, -1, -1, *biases, -1, -1, outputs, memory]
    gates = [writer.tensor([], "int8") for _ in range(5)] if integer else []
    name, version = "UNIDIRECTIONAL_SEQUENCE_LSTM", 1 if type_name == "float32" else 3
    writer.operator(name, operands, [made], options, version=version, intermediates=gates)
    return writer.model([fed], [made])


def matmul(type_name: str, batch: int, rows: int, depth: int, columns: int, *, zero_point: int = 0) -> bytes:
    """Return BATCH_MATMUL of two computed operands; XNNPACK wants the second one's ``zero_point`` to be 0."""
    writer = ModelWriter()
    left = writer.tensor([batch, rows, depth], type_name)
    right = writer.tensor([batch, depth, columns], type_name, zero_point=zero_point)
    made = writer.tensor([batch, rows, columns], type_name)
    writer.operator("BATCH_MATMUL", [left, right], [made], (101, {}), version=2 if type_name == "int8" else 1)
    return writer.model([left, right], [made])


def unary(name: str, fed_type: str, made_type: str, shape: Sequence[int], options: OptionFields | None = None) -> bytes:
    """Return an operator that makes a tensor of the same shape."""
    writer = ModelWriter()
    fed = writer.tensor(shape, fed_type)
    made = writer.tensor(shape, made_type, scale=SCALE * 1.5)
    if name in {"LOGISTIC", "SOFTMAX"} and made_type in {"int8", "uint8"}:
        made = writer.tensor(shape, made_type, scale=_LOGISTIC_SCALE, zero_point=-128)
    first = name in _FIRST_VERSION or "int8" not in {fed_type, made_type}
    writer.operator(name, [fed], [made], options, version=1 if first else 2)
    return writer.model([fed], [made])


def prelu(type_name: str, shape: Sequence[int]) -> bytes:
    """Return PRELU with a slope for each channel."""
    writer = ModelWriter()
    fed, slope = writer.tensor(shape, type_name), writer.slopes(shape[-1], type_name)
    made = writer.tensor(shape, type_name)
    writer.operator("PRELU", [fed, slope], [made], None)
    return writer.model([fed], [made])


def positive(name: str, shape: Sequence[int]) -> bytes:
    """Return an int8 operator that is defined for values above zero only."""
    writer = ModelWriter()
    fed, made = writer.tensor(shape, "int8", zero_point=-128), writer.tensor(shape, "int8", zero_point=-128)
    writer.operator(name, [fed], [made], None, version=2)
    return writer.model([fed], [made])


def binary(name: str, type_name: str, shape: Sequence[int], other: Sequence[int]) -> bytes:
    """Return an operator of two operands, the second of which may have to be repeated."""
    writer = ModelWriter()
    left = writer.tensor(shape, type_name)
    constant = prod(other) == 1
    right = writer.weights(other, type_name) if constant and type_name == "float32" else writer.tensor(other, type_name)
    made = writer.tensor(shape, type_name)
    member = {"ADD": 11, "MUL": 21, "SUB": 28, "DIV": 29, "MAXIMUM": 39, "MINIMUM": 39, "SQUARED_DIFFERENCE": 76}
    version = {"SUB": 3, "ADD": 2, "MUL": 2}.get(name, 2) if type_name != "float32" else 1
    writer.operator(name, [left, right], [made], (member[name], {}), version=version)
    fed = [left] if constant and type_name == "float32" else [left, right]
    return writer.model(fed, [made])


def pool(name: str, type_name: str, side: int, channels: int, *, window: int, stride: int) -> bytes:
    """Return MAX_POOL_2D or AVERAGE_POOL_2D with a result of ``side`` by ``side``."""
    writer = ModelWriter()
    fed = writer.tensor([1, side * stride, side * stride, channels], type_name)
    made = writer.tensor([1, side, side, channels], type_name)
    fields: Fields = {0: Scalar("b", 0)} | {
        number: Scalar("i", value) for number, value in ((1, stride), (2, stride), (3, window), (4, window))
    }
    writer.operator(name, [fed], [made], (5, fields), version=2 if type_name == "int8" else 1)
    return writer.model([fed], [made])


def reduction(name: str, type_name: str, shape: Sequence[int], axes: Sequence[int], *, keep: bool = True) -> bytes:
    """Return MEAN or SUM over axes."""
    kept = [1 if axis in axes else size for axis, size in enumerate(shape)]
    made_shape = kept if keep else [size for axis, size in enumerate(shape) if axis not in axes]
    writer = ModelWriter()
    fed, made = writer.tensor(shape, type_name), writer.tensor(made_shape, type_name)
    options = (27, {0: Scalar("B", keep)})
    writer.operator(name, [fed, writer.integers(axes)], [made], options, version=2 if type_name == "int8" else 1)
    return writer.model([fed], [made])


def joined(type_name: str, shape: Sequence[int], count: int, axis: int) -> bytes:
    """Return CONCATENATION of ``count`` tensors of one shape."""
    writer = ModelWriter()
    parts = [writer.tensor(shape, type_name) for _ in range(count)]
    large = [size * count if number == axis else size for number, size in enumerate(shape)]
    made = writer.tensor(large, type_name)
    version = 2 if type_name == "int8" else 1
    writer.operator("CONCATENATION", parts, [made], (10, {0: Scalar("i", axis)}), version=version)
    return writer.model(parts, [made])


def split(type_name: str, shape: Sequence[int], count: int) -> bytes:
    """Return SPLIT of the last axis."""
    writer = ModelWriter()
    fed = writer.tensor(shape, type_name)
    parts = [writer.tensor([*shape[:-1], shape[-1] // count], type_name) for _ in range(count)]
    axis = writer.integers([len(shape) - 1])
    writer.operator("SPLIT", [axis, fed], parts, (35, {0: Scalar("i", count)}), version=2)
    return writer.model([fed], parts)


def with_integers(
    name: str,
    type_name: str,
    shape: Sequence[int],
    made_shape: Sequence[int],
    constants: Sequence[Sequence[int]],
    *,
    options: OptionFields | None = None,
    version: int = 2,
) -> bytes:
    """Return an operator that moves values about as constant vectors say: a reshape, a slice, a permutation."""
    writer = ModelWriter()
    fed, made = writer.tensor(shape, type_name), writer.tensor(made_shape, type_name)
    inputs = [fed, *(writer.integers(values) for values in constants)]
    writer.operator(name, inputs, [made], options, version=version)
    return writer.model([fed], [made])


def picked(type_name: str, rows: int, inner: int, count: int) -> bytes:
    """Return GATHER of some of so many rows, as recurrent layers pick a step of a sequence."""
    writer = ModelWriter()
    fed, made = writer.tensor([rows, inner], type_name), writer.tensor([count, inner], type_name)
    writer.operator("GATHER", [fed, writer.integers(range(count))], [made], (23, {}), version=2)
    return writer.model([fed], [made])


def padded(type_name: str, side: int, channels: int) -> bytes:
    """Return PAD of a picture by one pixel all round."""
    writer = ModelWriter()
    fed = writer.tensor([1, side, side, channels], type_name)
    made = writer.tensor([1, side + 2, side + 2, channels], type_name)
    paddings = writer.matrix([[0, 0], [1, 1], [1, 1], [0, 0]])
    writer.operator("PAD", [fed, paddings], [made], (22, {}), version=2)
    return writer.model([fed], [made])


def resized(name: str, type_name: str, side: int, channels: int, factor: int) -> bytes:
    """Return RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR."""
    large = side * factor
    options = (15, {3: Scalar("B", True)}) if name == "RESIZE_BILINEAR" else (74, {1: Scalar("B", True)})
    shapes = [1, side, side, channels], [1, large, large, channels]
    return with_integers(name, type_name, *shapes, [[large, large]], options=options, version=3)


def arg_max(type_name: str, shape: Sequence[int]) -> bytes:
    """Return ARG_MAX over the last axis."""
    writer = ModelWriter()
    fed, made = writer.tensor(shape, type_name), writer.tensor(shape[:-1], "int32")
    inputs = [fed, writer.integers([len(shape) - 1])]
    writer.operator("ARG_MAX", inputs, [made], (40, {0: Scalar("b", 2)}), version=2)
    return writer.model([fed], [made])


def packed(type_name: str, shape: Sequence[int], count: int) -> bytes:
    """Return PACK of ``count`` tensors along a new first axis."""
    writer = ModelWriter()
    parts = [writer.tensor(shape, type_name) for _ in range(count)]
    made = writer.tensor([count, *shape], type_name)
    writer.operator("PACK", parts, [made], (59, {0: Scalar("i", count), 1: Scalar("i", 0)}), version=2)
    return writer.model(parts, [made])
