"""Whether a quantity grows: Theil and Sen's slope with its interval, which a few wild values do not move."""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Slope(NamedTuple):
    """Per unit of x: the median of all slopes, and its 95 % interval."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> "Slope":
        return Slope(self.value * factor, self.low * factor, self.high * factor)


def theil_sen(points: Sequence[tuple[float, float]], *, blocks: int = 60) -> Slope:
    """Return the slope of ``(x, y)`` in order of x; the interval is Sen's (1968, after Kendall).

    Neighbouring samples of memory resemble each other, which would make the interval too narrow: it is taken over the
    means of at most ``blocks`` stretches. Raises ValueError for fewer than four points.
    """
    means = _block_means(points, blocks)
    count = len(means)
    if count < 4:
        raise ValueError("a slope needs four points or more")
    slopes = sorted(
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for number, earlier in enumerate(means)
        for later in means[number + 1 :]
    )
    middle = len(slopes) // 2
    median = slopes[middle] if len(slopes) % 2 else (slopes[middle - 1] + slopes[middle]) / 2
    spread = 1.96 * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low = max(0, math.floor((len(slopes) - spread) / 2))
    high = min(len(slopes) - 1, math.ceil((len(slopes) + spread) / 2))
    return Slope(median, slopes[low], slopes[high])


def _block_means(points: Sequence[tuple[float, float]], blocks: int) -> list[tuple[float, float]]:
    size = max(1, len(points) // blocks)
    parts = [points[start : start + size] for start in range(0, len(points) - size + 1, size)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]
