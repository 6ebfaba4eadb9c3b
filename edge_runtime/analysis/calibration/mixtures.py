"""Made-up networks of everything: blocks of many kinds in any order, with branches, sums, joins and ways past.

What operators cost beside others depends on what is beside them: whose result they read, how long ago it was made, and
by which core. So networks are drawn at random (seeded) that have little in common but the kinds of operators.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from random import Random
from typing import Final

from edge_runtime.analysis.calibration import wiring as make
from edge_runtime.analysis.calibration.wiring import Network, Value, Wiring

_TYPES: Final = ("float32", "int8", "float32", "int8", "dynamic", "float32", "int8", "uint8")
_SIDES: Final = (4, 5, 7, 7, 8, 12, 14, 16, 24, 32, 32, 48, 64, 64, 96, 128)
_WIDTHS: Final = (8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512)
_MOST_MACS: Final = 3_000_000
"""Of one operator, times a few: a network of a few hundred microseconds says as much as a long one."""
_GREATEST_MACS: Final = 40_000_000
_MOST_VALUES: Final = 1_000_000
_MOST_CHANNELS: Final = 768
_LEAST_WIDTH: Final = 8
_ROWS_SHARE: Final = 0.15
"""Of the networks work on one row, as those for sound and for movement do."""

Block = Callable[[Random, Wiring, Value], Value]


def mixtures(count: int) -> Iterator[Network]:
    """Yield networks of every element type."""
    random = Random(23)  # noqa: S311 - the same networks on every device
    for number in range(count):
        type_name = _TYPES[number % len(_TYPES)]
        wiring = Wiring(type_name, f"mixture {number % 10}")
        yield _mixture(random, wiring)


def _mixture(random: Random, network: Wiring) -> Network:
    """Return a picture that goes through a few kinds of blocks, and now and then back to a larger one."""
    side, depth = random.choice(_SIDES), random.randint(4, 30)
    shape = (1, 1, side * random.choice((1, 4, 8))) if random.random() < _ROWS_SHARE else (1, side, side)
    names = [name for name in _BLOCKS if network.type != "uint8" or name in _UNSIGNED]
    blocks = [_BLOCKS[name] for name in random.sample(names, random.randint(1, 3))]
    x = network.input((*shape, random.choice((3, 3, 8, 16, *_WIDTHS[2:10]))))
    large: list[Value] = []
    macs = random.choice((1, 1, 2, 4, 12, 12)) * _MOST_MACS
    network.most_macs = min(macs, _GREATEST_MACS)
    if random.random() < 0.5:
        x = _convolved(random, network, x, stride=2)
    while network.count < depth:
        x = random.choice(blocks)(random, network, x)
        if x.shape[2] >= 8 and random.random() < 0.3:
            large += [x] if x.shape[1] > 1 else []
            x = _smaller(random, network, x)
        elif large and random.random() < 0.25:
            x = _larger(random, network, x, large.pop())
    while large and random.random() < 0.4:
        x = _larger(random, network, x, large.pop())
    if random.random() < 0.5:
        x = network.add(partial(make.mean, (1, 2)), x)
        x = network.add(partial(make.convolution, random.choice((10, 100, 1000)), 1, 1), x)
    return network.finished(x)


def _width(random: Random, network: Wiring, x: Value, *, taps: int = 1, stride: int = 1) -> int:
    """Draw the channels of a convolution, no more than its share of MACs allows."""
    _, height, width, channels = x.shape
    rows = -(-height // stride) * -(-width // stride)
    most = min(network.most_macs // (rows * channels * taps), _MOST_VALUES // rows)
    wanted = random.choice([one for one in _WIDTHS if channels / 4 <= one <= 6 * channels] or _WIDTHS[:4])
    return max(_LEAST_WIDTH, min(wanted, most // 8 * 8))


def _convolved(
    random: Random, network: Wiring, x: Value, *, windows: Sequence[int] = (1, 3, 3, 5, 7), stride: int = 1
) -> Value:
    size, (_, height, width, depth) = random.choice(windows), x.shape
    if _LEAST_WIDTH * depth * height * width * (size // stride) ** 2 > 2 * network.most_macs:
        size = 1
    window = (size, size) if height > 1 else (1, size)
    channels = _width(random, network, x, taps=prod(window), stride=stride)
    return network.add(partial(make.convolution, channels, window, stride), x)


def _pointwise(network: Wiring, x: Value, channels: int) -> Value:
    return network.add(partial(make.convolution, channels, 1, 1), x)


def _summed(network: Wiring, x: Value, y: Value) -> Value:
    """Return the sum, behind a convolution where channels differ."""
    if x.shape[-1] != y.shape[-1]:
        x = _pointwise(network, x, y.shape[-1])
    return network.add(partial(make.binary, "ADD"), x, y)


def _smaller(random: Random, network: Wiring, x: Value) -> Value:
    how = random.randrange(4)
    if how == 0:
        return _convolved(random, network, x, windows=(1, 3, 3, 5), stride=2)
    if how == 1:
        return network.add(partial(make.depthwise, random.choice((3, 5)), 2), x)
    window = random.choice((2, 3))
    name = "MAX_POOL_2D" if how == 2 or network.type == "uint8" else "AVERAGE_POOL_2D"
    return network.add(partial(make.pooled, name=name, window=window), x)


def _larger(random: Random, network: Wiring, x: Value, before: Value) -> Value:
    """Return a picture as large as an earlier one, joined with it or added to it."""
    while x.shape[1] < before.shape[1]:
        if random.random() < 0.4 and network.type != "uint8":
            window = random.choice((2, 3, 4))
            channels = max(8, min(x.shape[-1], network.most_macs // (x.shape[1] ** 2 * x.shape[-1] * window**2)))
            x = network.add(partial(make.transposed, channels // 8 * 8, window), x)
        else:
            channels = max(8, min(x.shape[-1], _MOST_VALUES // (4 * x.shape[1] ** 2)) // 8 * 8)
            x = _pointwise(network, x, channels) if channels < x.shape[-1] else x
            x = network.add(partial(make.enlarged, random.choice(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"))), x)
    if x.shape[:3] != before.shape[:3]:
        return x
    if random.random() < 0.5 or network.type == "uint8":
        return _summed(network, x, before)
    return network.add(make.joined, x, before)


def _residual(random: Random, network: Wiring, x: Value) -> Value:
    y = _convolved(random, network, x, windows=(3, 3, 5))
    return _summed(network, x, _convolved(random, network, y, windows=(1, 3, 3)))


def _bottleneck(random: Random, network: Wiring, x: Value) -> Value:
    y = _pointwise(network, x, max(8, x.shape[-1] // random.choice((2, 4)) // 8 * 8))
    if random.random() < 0.3 and network.type != "uint8" and y.shape[-1] >= 16:
        y = network.add(partial(make.grouped, y.shape[-1] // 8, 3), y)
    else:
        y = _convolved(random, network, y, windows=(3,))
    return _summed(network, x, _pointwise(network, y, _width(random, network, y)))


def _inverted(random: Random, network: Wiring, x: Value) -> Value:
    y = _pointwise(network, x, _width(random, network, x))
    y = network.add(partial(make.depthwise, random.choice((3, 3, 5)), 1), y)
    y = _activated(random, network, y) if random.random() < 0.3 else y
    if random.random() < 0.3:
        gate = network.add(partial(make.mean, (1, 2)), y)
        gate = _pointwise(network, gate, max(8, y.shape[-1] // 4))
        gate = network.add(partial(make.unary, "LOGISTIC"), _pointwise(network, gate, y.shape[-1]))
        y = network.add(partial(make.binary, "MUL"), y, gate)
    y = _pointwise(network, y, x.shape[-1] if random.random() < 0.6 else _width(random, network, y))
    return _summed(network, x, y) if random.random() < 0.6 else y


def _separated(random: Random, network: Wiring, x: Value) -> Value:
    """Depthwise and pointwise in turn, branches of which are added."""
    made = []
    for _ in range(random.choice((1, 1, 2))):
        y = network.add(partial(make.depthwise, random.choice((3, 3, 5)), 1), x)
        made.append(_pointwise(network, y, _width(random, network, y)))
    return made[0] if len(made) < 2 else _summed(network, *made)


def _branched(random: Random, network: Wiring, x: Value) -> Value:
    """Two to four ways side by side, joined."""
    ends = []
    for _ in range(random.randint(2, 4)):
        y = x
        for _ in range(random.randint(1, 2)):
            how = random.random()
            if how < 0.5:
                y = _convolved(random, network, y, windows=(1, 1, 3, 5))
            elif how < 0.75:
                y = network.add(partial(make.depthwise, 3, 1), y)
            elif network.type != "uint8":
                y = network.add(partial(make.pooled, window=3, stride=1), y)
        ends.append(y)
    return _narrowed(network, network.add(make.joined, *ends))


def _grown(random: Random, network: Wiring, x: Value) -> Value:
    """Few channels more, beside all that were there."""
    y = _convolved(random, network, x, windows=(1, 3))
    y = network.add(partial(make.depthwise, 3, 1), y) if random.random() < 0.5 else y
    return _narrowed(network, network.add(make.joined, x, y))


def _halved(random: Random, network: Wiring, x: Value) -> Value:
    """Half of the channels are computed with, the others go past; sometimes they are mixed."""
    if x.shape[-1] % 16:
        x = _pointwise(network, x, max(16, x.shape[-1] // 16 * 16))
    left, right = network.several(make.split, x)
    right = _convolved(random, network, right, windows=(1, 3))
    right = network.add(partial(make.depthwise, 3, 1), right) if random.random() < 0.5 else right
    y = network.add(make.joined, left, right)
    if random.random() < 0.4 and y.shape[-1] % 2 == 0:
        _, height, width, channels = y.shape
        y = network.add(partial(make.reshaped, (1, height * width, 2, channels // 2)), y)
        y = network.add(partial(make.turned, (0, 1, 3, 2)), y)
        y = network.add(partial(make.reshaped, (1, height, width, channels)), y)
    return _narrowed(network, y)


def _long(random: Random, network: Wiring, x: Value) -> Value:
    """Windows of one row and of one column."""
    size = random.choice((3, 3, 5, 7, 9))
    ways = ((1, size), (size, 1)) if x.shape[1] > 1 else ((1, size),)
    for window in random.sample(ways, random.randint(1, len(ways))):
        channels = _width(random, network, x, taps=size)
        x = network.add(partial(make.convolution, channels, window, 1), x)
    return x


def _rows(random: Random, network: Wiring, x: Value) -> Value:
    """The pixels as rows: dense layers, weighed by what they have in common."""
    _, height, width, channels = x.shape
    if height * width > 400:
        return _convolved(random, network, x, stride=2)
    y = network.add(partial(make.reshaped, (1, height * width, channels)), x)
    if random.random() < 0.5:
        turned = network.add(partial(make.turned, (0, 2, 1)), network.add(partial(make.dense, channels), y))
        alike = network.add(partial(make.unary, "SOFTMAX"), network.add(make.product, y, turned))
        y = network.add(partial(make.binary, "ADD"), y, network.add(make.product, alike, y))
    z = network.add(partial(make.dense, random.choice((1, 2, 4)) * channels), y)
    z = network.add(partial(make.dense, channels), _activated(random, network, z))
    y = network.add(partial(make.binary, "ADD"), y, z)
    return network.add(partial(make.reshaped, (1, height, width, channels)), y)


def _activated(random: Random, network: Wiring, x: Value) -> Value:
    how = random.randrange(3)
    if how == 0 and network.type != "uint8":
        return network.add(partial(make.unary, "HARD_SWISH"), x)
    if how == 1:
        return network.add(partial(make.binary, "MUL"), x, network.add(partial(make.unary, "LOGISTIC"), x))
    return network.add(partial(make.unary, "TANH"), x) if network.type != "uint8" else x


def _narrowed(network: Wiring, x: Value) -> Value:
    """Return it with fewer channels where joining has made too many of them."""
    most = min(_MOST_CHANNELS, _MOST_VALUES // (x.shape[1] * x.shape[2]))
    return _pointwise(network, x, max(8, most // 2 // 8 * 8)) if x.shape[-1] > most else x


_BLOCKS: Final[dict[str, Block]] = {
    "residual": _residual, "bottleneck": _bottleneck, "inverted": _inverted, "separated": _separated,
    "branched": _branched, "grown": _grown, "halved": _halved, "long": _long, "rows": _rows,
    "convolved": _convolved,
}  # fmt: skip
_UNSIGNED: Final = frozenset({"residual", "bottleneck", "inverted", "separated", "convolved", "long"})
