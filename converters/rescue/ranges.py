"""Ranges of activations from what calibration saw. Pure functions of arrays."""

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

RangeMethod = Literal["minmax", "percentile", "mse"]
RANGE_METHODS: Final[tuple[RangeMethod, ...]] = get_args(RangeMethod)

_PERCENTILE: Final = 99.99
"""Of each side's values kept; NVIDIA's post-training quantisation guide uses 99.9 to 99.9999 (Wu et al. 2020, "Integer
Quantization for Deep Learning Inference"), and 99.99 is the middle of it."""
_TRIED_SHARES: Final = 1.0 - 0.02 * np.arange(45)
_LOW, _HIGH, _BOTH = (True, False), (False, True), (True, True)
_ORDERS: Final = ((_HIGH, _LOW, _BOTH), (_BOTH, _HIGH, _LOW))
_BINS: Final = 2048
_SAME_VALUE: Final = 1e-6
"""Of its size: ends so near each other are one value."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """One tensor's channels (its last axis) over the samples, each (channels,)."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    mean: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Observed:
    """One tensor over the calibration samples."""

    low: float
    high: float
    values: NDArray[np.float32]
    """A part of its values, drawn evenly; (n,)."""
    channels: ChannelStatistics | None = None
    """Of a tensor of more than one axis."""


def chosen_range(observed: Observed, method: RangeMethod, *, levels: int = 255) -> tuple[float, float]:
    """Return the range that ``method`` gives a tensor; always within what was seen, and never empty where that is not.

    ``levels`` is how many steps the integers have: 255 for int8.
    """
    if method == "percentile":
        return _percentile(observed)
    if method == "mse":
        return _least_squares(observed, levels)
    return observed.low, observed.high


def clipped_share(values: Array, low: float, high: float) -> float:
    """Return the share of values outside a range."""
    return float(np.mean((values < low) | (values > high))) if values.size else 0.0


def _percentile(observed: Observed) -> tuple[float, float]:
    low, high = (float(end) for end in np.percentile(observed.values, (100.0 - _PERCENTILE, _PERCENTILE)))
    low, high = _with_own_ends(observed, low, high)
    return (low, high) if high > low else (observed.low, observed.high)


def _with_own_ends(observed: Observed, low: float, high: float) -> tuple[float, float]:
    """Return a range whose ends are the tensor's own where nothing can be gained beyond zero: a ReLU's zero stays."""
    return (observed.low if observed.low >= 0.0 else low), (observed.high if observed.high <= 0.0 else high)


def _least_squares(observed: Observed, levels: int) -> tuple[float, float]:
    """Return the range whose rounding and clipping errors together are smallest among those tried.

    Each end shrinks alone, and both together, from what was best before: an asymmetric tensor often has one long tail.
    """
    values = observed.values[observed.values != 0.0]  # zero is always met exactly
    values = np.append(values.astype(np.float64), [observed.low, observed.high])
    if observed.high - observed.low <= _SAME_VALUE * max(abs(observed.low), abs(observed.high)):
        return observed.low, observed.high
    counts, edges = np.histogram(values, _BINS, (observed.low, observed.high))
    centres = (edges[:-1] + edges[1:]) / 2.0
    return min(
        (_shrunk(counts, centres, (observed.low, observed.high), order, levels) for order in _ORDERS),
        key=lambda ends: expected_error(counts, centres, *ends, levels=levels),
    )


def _shrunk(
    counts: Array, centres: Array, best: tuple[float, float], order: tuple[tuple[bool, bool], ...], levels: int
) -> tuple[float, float]:
    """Return the best range met on the way when the low end, the high end or both shrink in a given order."""
    least = float(_expected_errors(counts, centres, np.array([best]), levels)[0])
    for low_shrinks, high_shrinks in order:
        low, high = best
        lows = low * _TRIED_SHARES if low_shrinks else np.full(_TRIED_SHARES.shape, low)
        highs = high * _TRIED_SHARES if high_shrinks else np.full(_TRIED_SHARES.shape, high)
        ends = np.stack([lows, highs], axis=1)[lows <= highs]
        errors = _expected_errors(counts, centres, ends, levels)
        if len(errors) and errors.min() < least:
            least = float(errors.min())
            best = float(ends[errors.argmin()][0]), float(ends[errors.argmin()][1])
    return best


def expected_error(counts: Array, centres: Array, low: float, high: float, *, levels: int) -> float:
    """Return the mean squared error of a histogram's values in ``levels`` + 1 integers over a range widened to zero.

    What lies outside is moved to the nearer end; what lies inside is rounded, at a cost of step^2 / 12.
    """
    return float(_expected_errors(counts, centres, np.array([(low, high)]), levels)[0])


def _expected_errors(counts: Array, centres: Array, ends: Array, levels: int) -> Array:
    """Return the expected error of each of several ranges, (n, 2).

    From sums over the histogram up to each bin, so that a range costs no more than finding its ends.
    """
    low, high = np.minimum(ends[:, 0], 0.0), np.maximum(ends[:, 1], 0.0)
    rounding = ((high - low) / levels) ** 2 / 12.0
    sums = np.zeros((3, len(counts) + 1))  # of 1, x and x^2
    np.cumsum(counts * np.stack([np.ones_like(centres), centres, centres**2]), axis=1, out=sums[:, 1:])
    first, last = np.searchsorted(centres, low), np.searchsorted(centres, high, "right")
    small = np.sqrt(rounding)  # what is far smaller than a step becomes zero
    inner = (
        np.clip(np.searchsorted(centres, -small), first, last),
        np.clip(np.searchsorted(centres, small), first, last),
    )
    near_zero = sums[:, inner[1]] - sums[:, inner[0]]
    within = near_zero[2] + rounding * (sums[0, last] - sums[0, first] - near_zero[0])
    below, above = sums[:, first], sums[:, -1:] - sums[:, last]
    beyond = [part[2] - 2.0 * end * part[1] + end**2 * part[0] for part, end in ((below, low), (above, high))]
    return np.asarray((within + np.maximum(beyond[0], 0.0) + np.maximum(beyond[1], 0.0)) / sums[0, -1])
