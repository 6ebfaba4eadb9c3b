"""Large made-up networks: megabytes of weights and of values, as those for pictures have them.

Every cache of a core has lost what a layer needs before its turn comes again, and so have the tables of addresses. They
take milliseconds each, so there are few of them; small ones say little of how large ones behave.
"""

from collections.abc import Iterator
from functools import partial
from random import Random
from typing import Final

from edge_runtime.analysis.calibration import wiring as make
from edge_runtime.analysis.calibration.wiring import Network, Value, Wiring

_TYPES: Final = ("float32", "int8", "float32", "dynamic", "float32", "int8")
_SIDES: Final = (96, 128, 160, 192, 224)
_GROWTH: Final = (1.5, 2.5, 5.0, 8.0)
"""Channels of the four stages, in those of the first layer."""
_MOST_MACS: Final = 40_000_000
"""Of one operator: windows of 3x3 on many channels are left to the smaller pictures."""


def large(count: int) -> Iterator[Network]:
    """Yield networks of every element type and way of building stages."""
    random = Random(31)  # noqa: S311 - the same networks on every device
    for number in range(count):
        build = (_inverted, _separated, _narrowed, _inverted, _windows)[number % 5]
        network = Wiring(_TYPES[number % len(_TYPES)], f"large {number % 4}")
        width = random.choice((24, 32, 48)) if build is not _windows else random.choice((16, 24))
        side = random.choice(_SIDES)
        x = network.add(partial(make.convolution, width, 3, 2), network.input((1, side, side, 3)))
        for growth in _GROWTH:
            channels = int(width * growth * random.uniform(0.8, 1.2)) // 8 * 8
            for repeat in range(random.randint(1, 3)):
                x = build(random, network, x, channels, 1 if repeat else 2)
        x = network.add(partial(make.convolution, random.choice((640, 1024, 1280)), 1, 1), x)
        yield network.finished(
            network.add(partial(make.convolution, 1000, 1, 1), network.add(partial(make.mean, (1, 2)), x))
        )


def _inverted(random: Random, network: Wiring, x: Value, channels: int, stride: int) -> Value:
    """Many channels, a depthwise convolution on them, few channels."""
    y = network.add(partial(make.convolution, random.choice((4, 6)) * x.shape[-1], 1, 1), x)
    y = network.add(partial(make.depthwise, random.choice((3, 3, 5)), stride), y)
    return _added(network, x, network.add(partial(make.convolution, channels, 1, 1), y))


def _separated(random: Random, network: Wiring, x: Value, channels: int, stride: int) -> Value:
    """Depthwise, then pointwise to twice as many channels as others have."""
    y = network.add(partial(make.depthwise, random.choice((3, 3, 5)), stride), x)
    return network.add(partial(make.convolution, 2 * channels, 1, 1), y)


def _narrowed(random: Random, network: Wiring, x: Value, channels: int, stride: int) -> Value:
    """Few channels, a window on them, many channels."""
    y = network.add(partial(make.convolution, max(16, channels // 2 // 8 * 8), 1, 1), x)
    y = network.add(partial(make.convolution, y.shape[-1], random.choice((3, 3, 5)), stride), y)
    return _added(network, x, network.add(partial(make.convolution, 3 * channels, 1, 1), y))


def _windows(_random: Random, network: Wiring, x: Value, channels: int, stride: int) -> Value:
    """Windows of 3x3, a sum where shapes allow it."""
    _, height, width, depth = x.shape
    fitting = _MOST_MACS * stride**2 // (9 * height * width * depth) // 8 * 8
    y = network.add(partial(make.convolution, max(16, min(2 * channels, fitting)), 3, stride), x)
    return _added(network, x, y)


def _added(network: Wiring, x: Value, y: Value) -> Value:
    return network.add(partial(make.binary, "ADD"), y, x) if y.shape == x.shape else y
