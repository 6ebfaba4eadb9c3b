"""Which operators calibration times: a spread over the sizes that networks for small devices have.

Seeded: every device times the same operators.
"""

from collections.abc import Iterator
from functools import partial
from math import prod
from random import Random
from typing import Final

from edge_runtime.analysis.calibration import operators as make
from edge_runtime.analysis.calibration.probe import MAIN_TYPES, Probe
from edge_runtime.analysis.calibration.probe_sizes import CHANNELS, MOST_MACS, layer_sizes, picture_sizes
from edge_runtime.analysis.calibration.value_probes import value_probes

MOST_SINGLE: Final = 60_000


def all_probes() -> list[Probe]:
    """Return every probe."""
    return [*_weighted(), *value_probes()]


def _weighted() -> Iterator[Probe]:
    """Yield operators with weights, their sizes drawn at random."""
    random = Random(7)  # noqa: S311 - the same operators on every device
    for type_name, share in (("float32", 1.0), ("int8", 1.0), ("uint8", 0.25)):
        yield from _pointwise(random, type_name, int(170 * share))
        yield from _windowed(random, type_name, int(220 * share))
        yield from _grouped(random, type_name, int(60 * share))
        yield from _single(random, type_name, int(28 * share))
        yield from _depthwise(random, type_name, int(80 * share))
        yield from _dense(random, type_name, int(100 * share))
    yield from _dynamic(random, 0.3)
    yield from _recurrent(random, "float32", 12)
    for type_name in MAIN_TYPES:
        yield from _transposed(random, type_name, 50)
        yield from _products(random, type_name, 16)
        yield from _multiplied(random, type_name, 24)
    for type_name in ("dynamic", "int8"):
        yield from _recurrent(random, type_name, 12)


def _dynamic(random: Random, share: float) -> Iterator[Probe]:
    """Yield operators in float32 whose weights have 8 bits."""
    yield from _pointwise(random, "dynamic", int(150 * share))
    yield from _windowed(random, "dynamic", int(180 * share))
    yield from _depthwise(random, "dynamic", int(80 * share))
    yield from _grouped(random, "dynamic", int(60 * share))
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
    for number in range(count // 3):
        side, stride = random.choice((1, 2, 4, 7, 8, 14, 16, 28, 32)), random.choice((1, 2))
        channels = random.randint(1, 32) * 8 if number % 2 else random.randint(4, 192)
        if side * side * channels <= MOST_SINGLE // 2:
            large = partial(make.depthwise, type_name, side, channels, window=random.choice((7, 7, 9)), stride=stride)
            yield Probe(f"{type_name} depthwise large", large)
    for _ in range(count // 4):
        length, channels = (
            random.choice((8, 16, 25, 32, 50, 64, 100, 128, 200, 256, 512)),
            random.choice(CHANNELS[5:33]),
        )
        row = partial(make.depthwise, type_name, length, channels, window=random.choice((3, 5, 9, 15)), row=True)
        yield Probe(f"{type_name} depthwise row", row)


def _multiplied(random: Random, type_name: str, count: int) -> Iterator[Probe]:
    """Yield depthwise convolutions that make several channels of each, over pictures and down their columns."""
    for number in range(count):
        channels, times = random.choice((1, 2, 4, 8, 16)), random.choice((2, 2, 4, 8))
        wide = random.choice((16, 32, 64, 128, 256))
        sizes, window = ((wide, wide), (3, 3)) if number % 2 else ((1, wide), (random.choice((8, 16, 22)), 1))
        if prod(sizes) * channels * times <= MOST_SINGLE:
            made = partial(make.multiplied, type_name, sizes, channels, times=times, window=window)
            yield Probe(f"{type_name} depthwise multiplied", made)


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
