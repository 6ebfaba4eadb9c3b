"""The probes of operators without weights: each on tensors of chosen sizes."""

from collections.abc import Iterator
from functools import partial
from typing import Final

from edge_runtime.analysis.calibration import operators as make
from edge_runtime.analysis.calibration.flat_writer import Scalar
from edge_runtime.analysis.calibration.probe import MAIN_TYPES, Probe

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


def value_probes() -> Iterator[Probe]:
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
    for groups in (2, 4):
        parts, order = [1, side * side, groups, channels // groups], [0, 1, 3, 2]
        mixed = [1, side * side, channels // groups, groups]
        shuffle = partial(make.with_integers, "TRANSPOSE", type_name, parts, mixed, [order], options=(26, {}))
        yield Probe(f"TRANSPOSE {type_name} pairs", shuffle)
    for count in (1, 8):
        gather = partial(make.picked, type_name, side * side, channels, count)
        yield Probe(f"GATHER {type_name}", gather)
    pick = partial(make.packed, type_name, [side, side, channels // 2], 2)
    yield Probe(f"PACK {type_name}", pick)
    if side < 80:
        for name in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
            yield Probe(f"{name} {type_name}", partial(make.resized, name, type_name, side, channels // 4, 2))
        small, large = [1, side, side, channels // 4], [1, 2 * side, 2 * side, channels // 4]
        tile = partial(make.with_integers, "TILE", type_name, small, large, [[1, 2, 2, 1]], version=1)
        yield Probe(f"TILE {type_name}", tile)
        # Values of one pixel beside each other: as pictures are enlarged by repeating.
        thin, twice = [1, side, side, 1, channels // 4], [1, side, side, 2, channels // 4]
        tile = partial(make.with_integers, "TILE", type_name, thin, twice, [[1, 1, 1, 2, 1]], version=1)
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
