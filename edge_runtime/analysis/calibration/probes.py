"""Which operators calibration times: a spread over the sizes that networks for small devices have.

The order is such that however early the time runs out, every kind of operator has had its share. Seeded: every device
times the same operators.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from random import Random
from typing import Final

from edge_runtime.analysis.calibration import operators as make
from edge_runtime.analysis.calibration.flat_writer import Scalar
from edge_runtime.analysis.calibration.probe_sizes import MOST_MACS, layer_sizes, picture_sizes

MOST_SINGLE: Final = 60_000
PICTURES: Final = (
    (4, 32),
    (7, 192),
    (14, 480),
    (28, 144),
    (28, 256),
    (7, 960),
    (56, 24),
    (112, 32),
    (112, 80),
)
"""Side and channels of the tensors that operators without weights are timed on."""
LARGE_PICTURES: Final = ((10, 512), (16, 512), (32, 256), (40, 128), (80, 64), (56, 144))
"""More of them for operators of two operands, which are the first to leave a cache of a megabyte or two."""
MAIN_TYPES: Final = ("float32", "int8")

Make = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Probe:
    """One operator to time. ``group`` is its kind, for taking turns."""

    group: str
    make: Make
    """Returns the model."""


def all_probes() -> list[Probe]:
    """Return every probe."""
    return [*_weighted(), *_values()]


def in_turns(probes: Sequence[Probe]) -> list[Probe]:
    """Return them with the kinds taking turns in proportion to their number."""
    groups: dict[str, list[Probe]] = {}
    for probe in probes:
        groups.setdefault(probe.group, []).append(probe)
    placed = [
        ((number + 0.5) / len(members), name, probe)
        for name, members in groups.items()
        for number, probe in enumerate(members)
    ]
    return [probe for _, _, probe in sorted(placed, key=lambda place: place[:2])]


def _weighted() -> Iterator[Probe]:
    """Yield operators with weights, their sizes drawn at random."""
    random = Random(7)  # noqa: S311 - the same operators on every device
    for type_name, share in (("float32", 1.0), ("int8", 1.0), ("uint8", 0.33)):
        yield from _pointwise(random, type_name, int(150 * share))
        yield from _windowed(random, type_name, int(180 * share))
        yield from _grouped(random, type_name, int(60 * share))
        yield from _single(random, type_name, int(28 * share))
        yield from _depthwise(random, type_name, int(80 * share))
        yield from _dense(random, type_name, int(84 * share))
    yield from _dynamic(random, 0.25)
    yield from _recurrent(random, "float32", 12)
    for type_name in MAIN_TYPES:
        yield from _transposed(random, type_name, 50)
        yield from _products(random, type_name, 16)
    for type_name in ("dynamic", "int8"):
        yield from _recurrent(random, type_name, 12)


def _dynamic(random: Random, share: float) -> Iterator[Probe]:
    """Yield operators in float32 whose weights have 8 bits."""
    yield from _pointwise(random, "dynamic", int(150 * share))
    yield from _windowed(random, "dynamic", int(180 * share))
    yield from _depthwise(random, "dynamic", int(80 * share))
    yield from _grouped(random, "dynamic", int(40 * share))
    yield from _dense(random, "dynamic", int(160 * share))


def _pointwise(random: Random, type_name: str, count: int) -> Iterator[Probe]:
    for _ in range(count):
        side, channels = picture_sizes(random, taps=1)
        yield Probe(f"{type_name} pointwise", partial(make.convolution, type_name, side, channels))


def _windowed(random: Random, type_name: str, count: int) -> Iterator[Probe]:
    for _ in range(count):
        window = random.choice(((3, 3), (3, 3), (3, 3), (5, 5), (1, 5), (7, 7), (2, 2), (1, 1)))
        stride = 2 if window == (1, 1) else random.choice((1, 1, 2))
        side, channels = picture_sizes(random, taps=prod(window), thin=True)
        convolution = partial(make.convolution, type_name, side, channels, window=window, stride=stride)
        yield Probe(f"{type_name} convolution", convolution)


def _grouped(random: Random, type_name: str, count: int) -> Iterator[Probe]:
    for _ in range(count):
        groups, side = (
            random.choice((2, 4, 8, 16, 32, 96, 192)),
            random.choice((3, 4, 6, 7, 8, 12, 14, 16, 24, 28, 32, 56)),
        )
        channels, window = groups * random.choice((1, 4, 8, 8, 12, 16, 24, 32, 48)), random.choice((3, 3, 3, 7))
        if side * side * channels * channels // groups * window**2 <= MOST_MACS // 4:
            sizes, stride = (type_name, side, (channels, channels)), random.choice((1, 1, 2))
            made = partial(make.convolution, *sizes, window=(window, window), stride=stride, groups=groups)
            yield Probe(f"{type_name} grouped", made)


def _single(random: Random, type_name: str, count: int) -> Iterator[Probe]:
    """Yield grouped convolutions with a channel in each group, half of them with large windows."""
    while count:
        side, channels = random.choice((3, 4, 6, 7, 12, 14, 20, 24, 28)), random.choice((24, 48, 96, 192, 384, 768))
        window = 7 if count % 2 else 3
        if side * side * channels <= MOST_SINGLE:
            count -= 1
            sizes = type_name, side, (channels, channels)
            made = partial(make.convolution, *sizes, window=(window, window), groups=channels)
            yield Probe(f"{type_name} single", made)


def _depthwise(random: Random, type_name: str, count: int) -> Iterator[Probe]:
    for _ in range(count):
        window, stride = random.choice((3, 3, 5)), random.choice((1, 1, 2))
        side, (channels, _) = picture_sizes(random, taps=1, alike=True)
        depthwise = partial(make.depthwise, type_name, side, channels, window=window, stride=stride)
        yield Probe(f"{type_name} depthwise", depthwise)
    for _ in range(count // 6):
        side, channels, stride = (
            random.choice((4, 7, 8, 14, 16, 28, 32)),
            random.randint(1, 24) * 8,
            random.choice((1, 2)),
        )
        if side * side * channels <= MOST_SINGLE:
            large = partial(make.depthwise, type_name, side, channels, window=random.choice((7, 7, 9)), stride=stride)
            yield Probe(f"{type_name} depthwise large", large)


def _dense(random: Random, type_name: str, count: int) -> Iterator[Probe]:
    """Yield dense layers, every other one of a single vector, their weights spread over what a cache holds and not."""
    for number in range(count):
        rows = 1 if number % 2 else random.choice((1, 4, 16, 64, 144, 256))
        inputs, units = layer_sizes(random, 9 + 12.3 * (number % 28) / 27)
        if rows * inputs * units <= MOST_MACS:
            yield Probe(f"{type_name} dense", partial(make.fully_connected, type_name, rows, inputs, units))


def _transposed(random: Random, type_name: str, count: int) -> Iterator[Probe]:
    """Yield transposed convolutions, most of them to fewer channels, as where a picture is enlarged again."""
    for _ in range(count):
        side, window = random.choice((3, 4, 6, 7, 8, 12, 14, 16, 24, 28, 32, 48, 64)), random.choice((2, 2, 3, 4))
        depth, width = random.choice((16, 24, 32, 48, 64, 96, 128, 256)), random.choice((3, 8, 12, 16, 24, 32, 64, 128))
        if side * side * depth * width * window**2 <= MOST_MACS // 4:
            made = partial(make.transposed, type_name, side, (depth, min(depth, width)), window=window)
            yield Probe(f"{type_name} transposed", made)


def _recurrent(random: Random, type_name: str, count: int) -> Iterator[Probe]:
    for _ in range(count):
        steps, inputs = random.choice((8, 16, 28, 64, 100)), random.choice((4, 8, 16, 28, 64))
        made = partial(make.lstm, type_name, steps, inputs, random.choice((16, 20, 32, 64, 128)))
        yield Probe(f"{type_name} recurrent", made)


def _products(random: Random, type_name: str, count: int) -> Iterator[Probe]:
    for _ in range(count):
        batch, rows = random.choice((1, 2, 3, 4)), random.choice((16, 49, 64, 144, 256))
        depth, columns = random.choice((16, 24, 32, 64, rows)), random.choice((16, 32, 64, rows))
        product = partial(make.matmul, type_name, batch, rows, depth, columns)
        yield Probe(f"{type_name} matmul", product)
        if type_name == "int8":
            yield Probe(f"{type_name} matmul off centre", partial(product, zero_point=3))


def _values() -> Iterator[Probe]:
    """Yield operators without weights, on tensors of chosen sizes."""
    for side, channels in PICTURES:
        shape = [1, side, side, channels]
        yield from _unary(shape)
        for type_name in MAIN_TYPES:
            yield from _binary(type_name, shape)
            yield from _moved(type_name, side, channels)
            yield from _reduced(type_name, side, channels)
    for side, channels in LARGE_PICTURES:
        for type_name in MAIN_TYPES:
            yield from _binary(type_name, [1, side, side, channels], names=("ADD", "MUL"))
    for rows, inner in ((1, 10), (1, 1000), (49, 49), (144, 144), (300, 21), (4096, 4)):
        for type_name in MAIN_TYPES:
            softmax = partial(make.unary, "SOFTMAX", type_name, type_name, [rows, inner], (9, {0: Scalar("f", 1.0)}))
            yield Probe(f"SOFTMAX {type_name}", softmax)


_FLOAT_UNARY: Final = (
    "LOGISTIC",
    "TANH",
    "HARD_SWISH",
    "RELU",
    "ELU",
    "ABS",
    "EXP",
    "RSQRT",
)
_BINARY: Final = ("ADD", "SUB", "MUL", "SQUARED_DIFFERENCE", "MAXIMUM")
_OPTIONS: Final = {"GELU": (116, {0: Scalar("B", False)}), "LEAKY_RELU": (75, {0: Scalar("f", 0.1)})}


def _unary(shape: list[int]) -> Iterator[Probe]:
    for name in (*_FLOAT_UNARY, "GELU", "LEAKY_RELU"):
        yield Probe(f"{name} float32", partial(make.unary, name, "float32", "float32", shape, _OPTIONS.get(name)))
    for name in ("LOGISTIC", "TANH", "HARD_SWISH", "RELU", "LEAKY_RELU", "GELU", "QUANTIZE"):
        yield Probe(f"{name} int8", partial(make.unary, name, "int8", "int8", shape, _OPTIONS.get(name)))
    for type_name in MAIN_TYPES:
        yield Probe(f"PRELU {type_name}", partial(make.prelu, type_name, shape))
    yield Probe("RSQRT int8", partial(make.positive, "RSQRT", shape))
    yield Probe("QUANTIZE float32", partial(make.unary, "QUANTIZE", "float32", "int8", shape))
    yield Probe("DEQUANTIZE int8", partial(make.unary, "DEQUANTIZE", "int8", "float32", shape))


def _binary(type_name: str, shape: list[int], names: tuple[str, ...] = _BINARY) -> Iterator[Probe]:
    for name in (*names, *(("DIV",) if type_name == "float32" and names == _BINARY else ())):
        yield Probe(f"{name} {type_name}", partial(make.binary, name, type_name, shape, shape))
    for name in ("ADD", "MUL"):
        others = {"channels": [1, 1, 1, shape[-1]], "scalar": [1], "broadcast": [*shape[:-1], 1]}
        for variant, other in others.items():
            yield Probe(f"{name} {type_name} {variant}", partial(make.binary, name, type_name, shape, other))


def _moved(type_name: str, side: int, channels: int) -> Iterator[Probe]:
    """Yield operators that move values about."""
    shape = [1, side, side, channels]
    yield Probe(f"PAD {type_name}", partial(make.padded, type_name, side, channels))
    for count in (2, 4):
        part = [1, side, side, channels // count]
        yield Probe(f"CONCATENATION {type_name}", partial(make.joined, type_name, part, count, 3))
    yield Probe(f"SPLIT {type_name}", partial(make.split, type_name, shape, 2))
    moved = partial(make.with_integers, type_name=type_name, shape=shape)
    flat = [1, side * side, channels]
    reshape = partial(moved, "RESHAPE", made_shape=flat, constants=[flat], options=(17, {}), version=1)
    yield Probe(f"RESHAPE {type_name}", reshape)
    half = [1, side, side, channels // 2]
    starts, ends, steps = [0] * 4, [1, side, side, channels // 2], [1] * 4
    cut = partial(moved, "STRIDED_SLICE", made_shape=half, constants=[starts, ends, steps], options=(32, {}))
    yield Probe(f"STRIDED_SLICE {type_name}", cut)
    yield Probe(f"SLICE {type_name}", partial(moved, "SLICE", made_shape=half, constants=[starts, half]))
    for variant, order in (("rows", [0, 2, 1, 3]), ("last", [0, 3, 1, 2])):
        turned = [shape[axis] for axis in order]
        turn = partial(moved, "TRANSPOSE", made_shape=turned, constants=[order], options=(26, {}))
        yield Probe(f"TRANSPOSE {type_name} {variant}", turn)
    pick = partial(make.packed, type_name, [side, side, channels // 2], 2)
    yield Probe(f"PACK {type_name}", pick)
    if side < 80:
        for name in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
            yield Probe(f"{name} {type_name}", partial(make.resized, name, type_name, side, channels // 4, 2))
        small, large = [1, side, side, channels // 4], [1, 2 * side, 2 * side, channels // 4]
        tile = partial(make.with_integers, "TILE", type_name, small, large, [[1, 2, 2, 1]], version=1)
        yield Probe(f"TILE {type_name}", tile)
    yield Probe(f"ARG_MAX {type_name}", partial(make.arg_max, type_name, shape))


def _reduced(type_name: str, side: int, channels: int) -> Iterator[Probe]:
    shape = [1, side, side, channels]
    for name in ("MEAN", "SUM", "REDUCE_MAX"):
        for axes in ([1, 2], [3]):
            yield Probe(f"{name} {type_name} {len(axes)}", partial(make.reduction, name, type_name, shape, axes))
    for name in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
        for window, stride in ((2, 2), (3, 1)):
            small = max(1, side // stride)
            pool = partial(make.pool, name, type_name, small, channels, window=window, stride=stride)
            yield Probe(f"{name} {type_name}", pool)
