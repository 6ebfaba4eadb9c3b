"""Small made-up networks: what operators cost more beside others than alone.

By itself an operator finds its weights and its input in the cache and its output where the same core left it; in a
network others have been there since. The networks are timed as a whole and compared with the sum of their operators.
Their sizes are drawn at random (seeded); they are of no family of published networks.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from math import prod
from random import Random
from typing import Final

from edge_runtime.analysis.calibration import wiring as make
from edge_runtime.analysis.calibration.large import large
from edge_runtime.analysis.calibration.mixtures import mixtures
from edge_runtime.analysis.calibration.wiring import Network, Value, Wiring

_WIDTHS: Final = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_PATTERNS: Final = 80
_MIXTURES: Final = 200
_TURNS: Final = 16
_LARGE: Final = 20
NETWORKS: Final = _PATTERNS + _MIXTURES + _TURNS + _LARGE
_MOST_MACS: Final = 150_000_000
_TYPES: Final = ("float32", "int8", "float32", "int8", "uint8")
_DENSE_WIDTHS: Final = ((16, 32, 64), (32, 64, 128, 256), (64, 128, 256, 512))
_SWISH: Final = partial(make.unary, "HARD_SWISH")
_HEAVY_WIDTHS: Final = ((256, 512, 768), (512, 1024), (768, 1024, 1536))


def networks() -> Iterator[Network]:
    """Yield networks of all kinds in turn and of every element type, mixtures between them.

    Large ones come last: on a slow machine, whose time runs out, they would take that of many others.
    """
    mixed, share = mixtures(_MIXTURES), _MIXTURES / _PATTERNS
    for number, network in enumerate(patterns(_PATTERNS)):
        yield network
        yield from islice(mixed, int((number + 1) * share) - int(number * share))
    yield from turns(_TURNS)
    yield from large(_LARGE)


def turns(count: int) -> Iterator[Network]:
    """Yield networks in which operators that threads share and such that one works on alone take turns."""
    random = Random(31)  # noqa: S311 - the same networks on every device
    for number in range(count):
        network = Wiring("int8" if number % 2 else "float32", f"turns {number % 4}")
        # Depthwise convolutions of a single row are not shared, nor is what the interpreter runs itself.
        on_row = network.type == "float32" or random.random() < 0.5
        sizes = (1, random.choice((64, 100, 200, 400, 800))) if on_row else (random.choice((8, 14, 20, 28)),) * 2
        x = network.input((1, *sizes, random.choice((16, 32, 64, 128))))
        for _ in range(random.randint(3, 12)):
            channels = max(16, min(random.choice(_WIDTHS[3:9]), _MOST_MACS // 20 // (prod(x.shape)) // 8 * 8))
            x = network.add(partial(make.convolution, channels, 1, 1), x)
            for _ in range(random.choice((1, 1, 1, 2, 3))):
                alone = partial(make.depthwise, random.choice((3, 9, 15)), 1) if on_row else _SWISH
                x = network.add(alone, x)
        yield network.finished(x)


def patterns(count: int) -> Iterator[Network]:
    """Yield networks that each follow one pattern."""
    random = Random(11)  # noqa: S311 - the same networks on every device
    kinds = list(_KINDS.items())
    for number in range(count):
        kind, build = kinds[number % len(kinds)]
        type_name = _TYPES[(number % len(kinds) + number // len(kinds)) % len(_TYPES)]
        yield build(random, Wiring("int8" if kind in _NOT_UNSIGNED and type_name == "uint8" else type_name, kind))


def chain(length: int, *, side: int, channels: int) -> Network:
    """Return pointwise convolutions in float32, one after the other, each with weights of its own."""
    network = Wiring("float32", "chain")
    x = network.input((1, side, side, channels))
    for _ in range(length):
        x = network.add(partial(make.convolution, channels, 1, 1), x)
    return network.finished(x)


def _dense(random: Random, network: Wiring) -> Network:
    """Return dense layers of one vector; of some the weights fit into a cache, of others they are several times it."""
    widths = random.choice(_DENSE_WIDTHS)
    x = network.input((1, random.choice(widths)))
    for _ in range(random.randint(3, 8)):
        x = network.add(partial(make.dense, random.choice(widths)), x)
    return network.finished(x)


def _heavy(random: Random, network: Wiring) -> Network:
    """Return dense layers of one vector whose weights are about what a cache holds, or several times as much."""
    widths, weights = random.choice(_HEAVY_WIDTHS), 0
    wanted_bytes = 2 ** random.uniform(20.5, 23.5)
    x = network.input((1, random.choice(widths)))
    while weights < wanted_bytes or network.count < 2:
        units = random.choice(widths)
        weights += x.shape[-1] * units * (4 if network.type == "float32" else 1)
        x = network.add(partial(make.dense, units), x)
    return network.finished(x)


def _mixed(random: Random, network: Wiring) -> Network:
    """Return pointwise, depthwise, pointwise in turn over a shrinking picture, some with a gate or an activation."""
    side, depth = random.choice((32, 64, 96, 128, 160)), random.randint(6, 28)
    x = network.add(partial(make.convolution, random.choice((8, 16, 24, 32)), 3, 2), network.input((1, side, side, 3)))
    gated, swished = random.random() < 0.4, random.random() < 0.4
    while network.count < depth:
        stride = 2 if random.random() < 0.6 and x.shape[1] > 4 else 1
        # The smaller the picture, the more channels.
        widths = _WIDTHS[min(7, 2 * (side // x.shape[1]).bit_length() - 3) :][:6]
        y = network.add(partial(make.convolution, _fitting(x, random.choice(widths), 1, depth), 1, 1), x)
        y = network.add(partial(make.depthwise, random.choice((3, 3, 5)), stride), y)
        if swished:
            y = _swish(random, network, y)
        if gated:
            y = _gate(network, y)
        back = x.shape[-1] if stride == 1 else _fitting(y, random.choice(widths[:5]), 1, depth)
        y = network.add(partial(make.convolution, back, 1, 1), y)
        x = network.add(partial(make.binary, "ADD"), y, x) if y.shape == x.shape else y
    return network.finished(x)


def _deep(random: Random, network: Wiring) -> Network:
    """Return a picture that shrinks in five stages to many channels: megabytes of weights, as real networks have."""
    side, width = random.choice((64, 96, 128, 160)), random.choice((8, 16, 24, 32))
    growth, wider = random.choice((1.6, 1.8, 2.0)), random.choice((1, 2, 4, 6))
    x = network.add(partial(make.convolution, width, 3, 2), network.input((1, side, side, 3)))
    for stage in range(1, 5):
        channels = int(width * growth**stage) // 8 * 8
        for number in range(random.randint(1, 4)):
            y = x
            if wider > 1:
                y = network.add(partial(make.convolution, wider * x.shape[-1], 1, 1), x)
            y = network.add(partial(make.depthwise, random.choice((3, 5)), 1 if number else 2), y)
            y = network.add(partial(make.convolution, channels, 1, 1), y)
            x = network.add(partial(make.binary, "ADD"), y, x) if y.shape == x.shape else y
    x = network.add(partial(make.convolution, random.choice((256, 512, 1024)), 1, 1), x)
    return network.finished(
        network.add(partial(make.convolution, 1000, 1, 1), network.add(partial(make.mean, (1, 2)), x))
    )


def _plain(random: Random, network: Wiring) -> Network:
    """Return convolutions with windows, with sums of what has the same shape."""
    side, depth = random.choice((16, 32, 64, 96)), random.randint(4, 14)
    x = network.input((1, side, side, random.choice((1, 3, 8))))
    while network.count < depth:
        stride = 2 if random.random() < 0.3 and x.shape[1] > 4 else 1
        window = random.choice((3, 3, 3, 5))
        y = network.add(
            partial(make.convolution, _fitting(x, random.choice(_WIDTHS), window**2, depth), window, stride), x
        )
        x = network.add(partial(make.binary, "ADD"), y, x) if y.shape == x.shape else y
    return network.finished(x)


def _wide(random: Random, network: Wiring) -> Network:
    """Return small pictures of many channels, where weights outweigh values."""
    side, depth = random.choice((4, 7, 7, 14, 20)), random.randint(6, 24)
    x = network.input((1, side, side, random.choice(_WIDTHS[6:])))
    while network.count < depth:
        y = network.add(partial(make.convolution, _fitting(x, random.choice(_WIDTHS[8:]), 1, depth), 1, 1), x)
        y = network.add(partial(make.depthwise, random.choice((3, 5)), 1), y)
        y = network.add(partial(make.convolution, _fitting(y, random.choice(_WIDTHS[6:10]), 1, depth), 1, 1), y)
        x = network.add(partial(make.binary, "ADD"), y, x) if y.shape == x.shape else y
    return network.finished(x)


def _tiny(random: Random, network: Wiring) -> Network:
    """Return small convolutions of a microsecond or a few."""
    high, wide = random.choice(((1, 32), (1, 128), (8, 8), (16, 16), (24, 5)))
    x = network.input((1, high, wide, random.choice((4, 8, 16, 32))))
    for _ in range(random.randint(4, 12)):
        kind = random.choice(("conv", "conv", "depthwise", "pointwise"))
        width = random.choice((8, 16, 24, 32, 48, 64))
        y = network.add(
            partial(make.depthwise, 3, 1)
            if kind == "depthwise"
            else partial(make.convolution, width, 3 if kind == "conv" else 1, 1),
            x,
        )
        x = network.add(partial(make.binary, "ADD"), y, x) if y.shape == x.shape else y
    return network.finished(x)


def _steps(random: Random, network: Wiring) -> Network:
    """Return many operators on vectors: dense layers, halves, gates and sums, as recurrent layers do step by step."""
    width = random.choice((16, 32, 64, 128))
    state, fed = network.input((1, width)), network.input((1, width))
    for _ in range(random.choice((6, 12, 24))):
        both = network.add(partial(make.dense, 2 * width), state)
        if random.random() < 0.5:
            left, right = network.several(make.split, both)
        else:
            left, right = (network.add(partial(make.cut, begin, begin + width), both) for begin in (0, width))
        gate = network.add(partial(make.unary, "LOGISTIC"), network.add(partial(make.binary, "ADD"), left, fed))
        new = network.add(partial(make.unary, "TANH"), right)
        state = network.add(partial(make.binary, "MUL"), new, gate)
        state = network.add(partial(make.binary, random.choice(("ADD", "SUB"))), state, fed)
    return network.finished(state)


def _rows(random: Random, network: Wiring) -> Network:
    """Return dense layers on rows, turned about, weighed by what they have in common."""
    rows, width = random.choice((16, 49, 64, 144)), random.choice((32, 64, 96, 128))
    x = network.input((1, rows, width))
    for _ in range(random.randint(1, 3)):
        y = _centred(network, x) if random.random() < 0.6 else x
        if random.random() < 0.6:
            turned = network.add(partial(make.turned, (0, 2, 1)), network.add(partial(make.dense, width), y))
            alike = network.add(partial(make.unary, "SOFTMAX"), network.add(make.product, y, turned))
            y = network.add(make.product, alike, y)
        else:
            turned = network.add(partial(make.turned, (0, 2, 1)), y)
            turned = network.add(partial(make.dense, rows), turned)
            y = network.add(partial(make.turned, (0, 2, 1)), turned)
        x = network.add(partial(make.binary, "ADD"), x, y)
        y = network.add(partial(make.dense, width), network.add(partial(make.dense, 2 * width), x))
        x = network.add(partial(make.binary, "ADD"), x, y)
    return network.finished(x)


def _joined(random: Random, network: Wiring) -> Network:
    """Return pictures that are joined, halved and mixed."""
    side, growth = random.choice((8, 16, 28, 40)), random.choice((8, 16, 32))
    x = network.input((1, side, side, 2 * growth))
    for _ in range(random.randint(3, 8)):
        y = network.add(partial(make.convolution, 2 * growth, 1, 1), x)
        y = network.add(partial(make.convolution, growth, 3, 1), y)
        x = network.add(make.joined, x, y)
        if random.random() < 0.3:
            left, right = network.several(make.split, x)
            right = network.add(partial(make.convolution, right.shape[-1], 1, 1), right)
            x = _shuffled(network, network.add(make.joined, left, right))
        if random.random() < 0.2 and x.shape[1] >= 8:
            x = network.add(make.pooled, x)
    return network.finished(x)


_KINDS: Final[dict[str, Callable[[Random, Wiring], Network]]] = {
    "mixed": _mixed, "plain": _plain, "wide": _wide, "dense": _dense, "tiny": _tiny, "rows": _rows, "joined": _joined,
    "deep": _deep, "steps": _steps,
    "heavy": _heavy,
}  # fmt: skip
_NOT_UNSIGNED: Final = frozenset({"rows", "steps", "joined", "heavy"})


def _swish(random: Random, network: Wiring, x: Value) -> Value:
    """Return x by HARD_SWISH, or by x times LOGISTIC(x)."""
    if network.type != "uint8" and random.random() < 0.5:
        return network.add(_SWISH, x)
    return network.add(partial(make.binary, "MUL"), x, network.add(partial(make.unary, "LOGISTIC"), x))


def _gate(network: Wiring, x: Value) -> Value:
    """Return x times what its channels say on average."""
    channels = x.shape[-1]
    y = network.add(partial(make.mean, (1, 2)), x)
    y = network.add(partial(make.convolution, max(8, channels // 4), 1, 1), y)
    y = network.add(partial(make.unary, "LOGISTIC"), network.add(partial(make.convolution, channels, 1, 1), y))
    return network.add(partial(make.binary, "MUL"), x, y)


def _centred(network: Wiring, x: Value) -> Value:
    """Return x less its mean, and its square's mean beside it."""
    middle = network.add(partial(make.mean, (2,)), x)
    x = network.add(partial(make.binary, "SUB"), x, middle)
    spread = network.add(partial(make.mean, (2,)), network.add(partial(make.binary, "MUL"), x, x))
    return network.add(partial(make.binary, "MUL"), x, network.add(partial(make.unary, "LOGISTIC"), spread))


def _shuffled(network: Wiring, x: Value) -> Value:
    """Return x with the channels of both halves in turn."""
    _, height, width, channels = x.shape
    y = network.add(partial(make.reshaped, (1, height * width, 2, channels // 2)), x)
    y = network.add(partial(make.turned, (0, 1, 3, 2)), y)
    return network.add(partial(make.reshaped, (1, height, width, channels)), y)


def _fitting(x: Value, wanted: int, taps: int, depth: int) -> int:
    """Return as many of the wanted channels as the limit on MACs allows, at least 8."""
    _, height, width, channels = x.shape
    return max(8, min(wanted, int(_MOST_MACS / depth / (height * width * channels * taps)) // 8 * 8))
