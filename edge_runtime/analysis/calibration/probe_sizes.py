"""Sizes of what calibration times, drawn at random: as networks for small devices have them, some of every other."""

from math import log2, prod
from random import Random
from typing import Final

SIDES: Final = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160)
CHANNELS: Final = (
    3, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 72, 80, 88, 96, 112, 120, 128, 144, 160, 184, 192, 224, 240, 256,
    288, 320, 384, 432, 480, 512, 576, 640, 672, 768, 960, 1024, 1152, 1280, 1536, 2048,
)  # fmt: skip
ROUND_CHANNELS: Final = (16, 32, 48, 64, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024)
"""What fills a kernel's tiles, and most networks have: half of what is drawn of usual sizes has these."""
MOST_MACS: Final = 120_000_000
MOST_ELEMENTS: Final = 1_500_000
LEAST_MACS: Final = 2_000
USUAL: Final = (250, 9_000)
"""Channels times side of most pictures in networks: the larger the picture, the fewer channels it has."""
USUAL_SHARE: Final = 0.75
"""Of what is drawn is of such sizes; the rest of all sizes."""


def picture_sizes(random: Random, *, taps: int, thin: bool = False, alike: bool = False) -> tuple[int, tuple[int, int]]:
    """Draw the result's side and the channels in and out; ``thin`` has pictures of 1 and 3 channels among them."""
    while True:
        side = random.choice(SIDES)
        widths: tuple[int, ...] = CHANNELS
        if random.random() < USUAL_SHARE:
            drawn = random.choice((CHANNELS, ROUND_CHANNELS))
            widths = tuple(one for one in drawn if USUAL[0] <= one * side <= USUAL[1])
        depth, width = random.choice(widths), random.choice(widths)
        if thin and random.random() < 0.15:
            depth = random.choice((1, 3))
        width = depth if alike else width
        elements = side * side * max(depth, width)
        macs = side * side * depth * (1 if alike else width) * taps
        weights = 0 if alike else depth * width * taps
        if LEAST_MACS <= macs <= MOST_MACS and 64 <= elements <= MOST_ELEMENTS and weights <= MOST_ELEMENTS:
            return side, (depth, width)


def layer_sizes(random: Random, log_weights: float) -> tuple[int, int]:
    """Draw inputs and units of a dense layer with about ``2 ** log_weights`` weights."""
    sizes = (4, 8, 10, 16, 32, 48, 64, 100, 128, 192, 256, 384, 512, 640, 784, 1000, 1024, 1280, 1536, 2048)
    pairs = ((random.choice(sizes), random.choice(sizes)) for _ in range(40))
    return min(pairs, key=lambda pair: abs(log2(prod(pair)) - log_weights))
