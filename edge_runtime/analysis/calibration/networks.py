"""Small made-up networks: what operators cost more beside others than alone.

By itself an operator finds its weights and its input in the cache and its output where the same core left it; in a
network others have been there since. The networks are timed as a whole and compared with the sum of their operators.
Their sizes are drawn at random (seeded); they are of no family of published networks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

from edge_runtime.analysis.calibration import operators as make
from edge_runtime.analysis.calibration.flat_writer import Scalar
from edge_runtime.analysis.calibration.model_writer import ModelWriter

_WIDTHS: Final = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
NETWORKS: Final = 45
_MOST_MACS: Final = 150_000_000
_SIDES: Final = {"tiny": (16, 24, 32), "wide": (7, 14, 20), "plain": (32, 64, 96), "mixed": (32, 64, 96, 128, 160)}


@dataclass(frozen=True, slots=True)
class Network:
    """A network and each of its operators as a model of its own."""

    content: bytes
    parts: tuple[Callable[[], bytes], ...]


def networks(count: int = NETWORKS) -> Iterator[Network]:
    """Yield networks: mixed convolutions, plain convolutions, dense layers, in turn of every element type."""
    random = Random(11)  # noqa: S311 - the same networks on every device
    for number in range(count):
        type_name = ("float32", "int8", "float32", "int8", "uint8")[number % 5]
        kind = ("mixed", "plain", "wide", "dense", "mixed", "wide", "tiny")[number % 7]
        if kind == "dense":
            yield _dense(random, type_name)
        else:
            yield _pictures(random, type_name, kind)


def chain(length: int, *, side: int, channels: int) -> Network:
    """Return pointwise convolutions in float32, one after the other, each with weights of its own."""
    network = _Growing("float32", side=side, channels=channels)
    for _ in range(length):
        network.convolution(channels, window=1, stride=1)
    return network.finished()


def _dense(random: Random, type_name: str) -> Network:
    writer, parts = ModelWriter(), []
    # Some fit into a cache, some are several times as large: that is where dense layers differ most.
    choices = random.choice(((64, 128, 256, 512), (256, 512, 1024, 1536), (768, 1024, 1536, 2048)))
    width = random.choice(choices)
    first = fed = writer.tensor([1, width], type_name)
    for _ in range(random.randint(3, 8)):
        units = random.choice(choices)
        weights, made = writer.weights([units, width], type_name), writer.tensor([1, units], type_name)
        inputs = [fed, weights, writer.bias(units, type_name)]
        writer.operator("FULLY_CONNECTED", inputs, [made], (8, {0: Scalar("b", 1)}), version=4)
        parts.append(partial(make.fully_connected, type_name, 1, width, units))
        fed, width = made, units
    return Network(writer.model([first], [fed]), tuple(parts))


def _pictures(random: Random, type_name: str, kind: str) -> Network:
    """Return convolutions over a shrinking picture, with sums of what has the same shape."""
    network = _Growing(type_name, side=random.choice(_SIDES[kind]))
    depth = random.randint(4, 8) if kind == "tiny" else random.randint(8, 24)
    limit = _MOST_MACS / depth
    network.convolution(random.choice((8, 16, 24, 32)), window=3, stride=random.choice((1, 2)))
    while network.count < depth:
        stride = 2 if random.random() < 0.25 and network.side > 4 else 1
        wanted = random.choice(_WIDTHS[:6] if kind == "tiny" else _WIDTHS[8:] if kind == "wide" else _WIDTHS)
        if kind == "plain":
            network.convolution(_fitting(network, wanted, 9, limit), window=3, stride=stride)
            continue
        before = network.fed, network.shape
        network.convolution(_fitting(network, wanted, 1, limit), window=1, stride=1)
        network.depthwise(window=random.choice((3, 3, 5)), stride=stride)
        back = random.choice(_WIDTHS[6:10]) if kind == "wide" else before[1][-1]
        network.convolution(_fitting(network, back, 1, limit), window=1, stride=1)
        network.sum_with(*before)
    return network.finished()


def _fitting(network: "_Growing", wanted: int, taps: int, limit: float) -> int:
    """Return as many of the wanted channels as the limit on MACs allows, at least 8."""
    return max(8, min(wanted, int(limit / (network.side**2 * network.shape[-1] * taps)) // 8 * 8))


class _Growing:
    """A network to which one operator after another is added."""

    def __init__(self, type_name: str, *, side: int, channels: int = 3) -> None:
        self._writer, self._type = ModelWriter(), type_name
        self.shape = (1, side, side, channels)
        self._parts: list[Callable[[], bytes]] = []
        self.fed = self._first = self._writer.tensor(self.shape, type_name)

    @property
    def count(self) -> int:
        """Return how many operators there are."""
        return len(self._parts)

    @property
    def side(self) -> int:
        """Return the picture's side."""
        return self.shape[1]

    def convolution(self, channels: int, *, window: int, stride: int) -> None:
        """Add CONV_2D with a fused ReLU."""
        weights = self._writer.weights([channels, window, window, self.shape[-1]], self._type)
        inputs = [self.fed, weights, self._writer.bias(channels, self._type)]
        fields = {0: Scalar("b", 0), 1: Scalar("i", stride), 2: Scalar("i", stride), 3: Scalar("b", 1)}
        sizes = self._type, -(-self.side // stride), (self.shape[-1], channels)
        self._made(channels, stride, partial(make.convolution, *sizes, window=(window, window), stride=stride))
        self._writer.operator("CONV_2D", inputs, [self.fed], (1, fields), version=3)

    def depthwise(self, *, window: int, stride: int) -> None:
        """Add DEPTHWISE_CONV_2D with a fused ReLU."""
        channels = self.shape[-1]
        weights = self._writer.weights([1, window, window, channels], self._type, axis=3)
        inputs = [self.fed, weights, self._writer.bias(channels, self._type)]
        numbers = {0: ("b", 0), 1: ("i", stride), 2: ("i", stride), 3: ("i", 1), 4: ("b", 1)}
        fields = {number: Scalar(kind, value) for number, (kind, value) in numbers.items()}
        sizes = self._type, -(-self.side // stride), channels
        self._made(channels, stride, partial(make.depthwise, *sizes, window=window, stride=stride))
        self._writer.operator("DEPTHWISE_CONV_2D", inputs, [self.fed], (2, fields), version=3)

    def sum_with(self, other: int, shape: tuple[int, ...]) -> None:
        """Add ADD of an earlier tensor, where it has the same shape."""
        if shape != self.shape:
            return
        inputs = [self.fed, other]
        self._made(self.shape[-1], 1, partial(make.binary, "ADD", self._type, shape, shape))
        self._writer.operator("ADD", inputs, [self.fed], (11, {}), version=2 if self._type != "float32" else 1)

    def finished(self) -> Network:
        """Return the network."""
        return Network(self._writer.model([self._first], [self.fed]), tuple(self._parts))

    def _made(self, channels: int, stride: int, part: Callable[[], bytes]) -> None:
        side = -(-self.side // stride)
        self.shape = (1, side, side, channels)
        self.fed = self._writer.tensor(self.shape, self._type)
        self._parts.append(part)
