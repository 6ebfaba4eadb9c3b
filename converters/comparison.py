"""How far the outputs of two models are apart. Pure functions of arrays of shape (samples, ...)."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SAME_DB: Final = 200.0
"""Reported for outputs that are equal, where the ratio is infinite."""
_NOTHING: Final = 1e-6
"""So far from an output that is zero throughout is as good as zero: rounding of what cancels out."""
_LARGEST: Final = float(np.finfo(np.float32).max)
_TIE: Final = 1e-6
"""Relative; float32 has about 7 digits."""
_CONFIDENCE_Z: Final = 1.959964
"""Two-sided 95 % of the normal distribution."""

_ROUNDING: Final = 1e-3
_PIXELS: Final = 8.0
"""What reaches further than this beside scores of 0..1 takes three of their eight bits and more."""
_TOLD: Final = 0.05
"""Scores that never reach this tell nothing that could be lost."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class OutputDifference:
    """One output of a model against its reference."""

    name: str
    sqnr_db: float
    max_error: float
    """The largest absolute difference, in the output's own unit."""
    reference_range: tuple[float, float]
    scores_db: float | None = None
    """Of the scores alone, where a detector's output has them beside boxes in pixels."""

    @property
    def worst_db(self) -> float:
        """Return the ratio that counts."""
        return self.sqnr_db if self.scores_db is None else min(self.sqnr_db, self.scores_db)


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """A share of right answers before and after, over the same samples, with the interval of the difference."""

    count: int
    before: float
    after: float
    low: float
    """95 % interval of ``after - before``."""
    high: float


def sqnr_db(reference: Array, other: Array) -> float:
    """Return the signal to quantisation noise ratio, ``10 log10(sum(r^2) / sum((r - o)^2))``, at most SAME_DB.

    Where the reference is no number (the logarithm of a negative one) or infinite, the other must be the same, and only
    the rest is compared; float32's largest and lowest number stand for infinity, as what is masked has. Outputs that
    are not finite where the reference is have no ratio: -SAME_DB.
    """
    wanted, got = (_with_infinity(np.asarray(values, np.float64)) for values in (reference, other))
    finite = np.isfinite(wanted)
    if not finite.all():
        if not np.array_equal(wanted[~finite], got[~finite], equal_nan=True):
            return -SAME_DB
        wanted, got = wanted[finite], got[finite]
        if not wanted.size and np.isnan(reference).any():
            return -SAME_DB  # nothing was compared
    if not np.isfinite(got).all():
        return -SAME_DB
    noise = float(np.sum((wanted - got) ** 2))
    signal = float(np.sum(wanted**2))
    if noise <= wanted.size * _NOTHING**2 and (noise == 0.0 or signal == 0.0):
        return SAME_DB
    return max(-SAME_DB, min(SAME_DB, 10.0 * math.log10(signal / noise))) if signal else -SAME_DB


def _with_infinity(values: Array) -> Array:
    return np.where(np.abs(values) >= _LARGEST, np.copysign(np.inf, values), values)


def compare(name: str, reference: Array, other: Array) -> OutputDifference:
    """Return how far one output is from its reference, both (samples, ...) of the same shape."""
    wanted, got = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    both = np.isfinite(wanted) & np.isfinite(got)
    numbers = wanted[np.isfinite(wanted)]
    return OutputDifference(
        name=name,
        sqnr_db=round(sqnr_db(wanted, got), 2),
        max_error=float(np.max(np.abs(wanted[both] - got[both]), initial=0.0)),
        reference_range=(float(numbers.min(initial=math.inf)), float(numbers.max(initial=-math.inf))),
        scores_db=_scores_db(wanted, got),
    )


def worst_db(reference: Array, other: Array) -> float:
    """Return the ratio of a whole output, or of the scores in it where theirs is worse."""
    return compare("", reference, other).worst_db


def _scores_db(wanted: Array, got: Array) -> float | None:
    """Return the ratio of the columns of scores that stand beside boxes in pixels; None where there are none.

    In 8 bits with one scale such a tensor keeps its boxes and rounds its scores away, which the ratio over all hides.
    """
    if wanted.ndim < 3 or not wanted.size or not np.isfinite(wanted).all() or not np.isfinite(got).all():
        return None
    axis = -1 if wanted.shape[-1] <= wanted.shape[-2] else -2
    columns, others = (np.moveaxis(one, axis, -1).reshape(-1, wanted.shape[axis]) for one in (wanted, got))
    low, high = columns.min(axis=0, initial=math.inf), columns.max(axis=0, initial=-math.inf)
    scores = (low >= -_ROUNDING) & (high <= 1.0 + _ROUNDING)
    pixels = float(np.abs(columns[:, ~scores]).max(initial=0.0))
    if pixels < _PIXELS or high[scores].max(initial=0.0) < _TOLD:
        return None
    return round(sqnr_db(columns[:, scores], others[:, scores]), 2)


def top1(outputs: Array) -> NDArray[np.int64]:
    """Return the best class of each sample of (samples, ...) scores."""
    return np.asarray(outputs.reshape(len(outputs), -1).argmax(axis=1), np.int64)


def agreement(reference: Array, other: Array) -> float:
    """Return the share of samples whose best class is the same; of equally good ones any will do."""
    scores = np.asarray(reference.reshape(len(reference), -1), np.float64)
    best = scores.max(axis=1, initial=-math.inf)
    found = scores[np.arange(len(scores)), top1(other)]
    return float(np.mean(found >= best - _TIE * np.abs(best)))


def class_entropy_bits(outputs: Array) -> float:
    """Return the entropy of the best classes in bits; 0 for a model that always says the same."""
    _, counts = np.unique(top1(outputs), return_counts=True)
    shares = counts / counts.sum()
    return float(abs(-np.sum(shares * np.log2(shares))))


def paired_difference(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> PairedDifference:
    """Return the shares of right answers and the 95 % interval of their difference.

    The interval is Wald's with half an observation added to each cell of the 2 by 2 table, for differences of matched
    pairs: Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in
    Medicine 24 (2005).
    """
    count = len(before)
    gained = float(np.sum(~before & after)) + 0.5
    lost = float(np.sum(before & ~after)) + 0.5
    total = count + 2.0
    middle = (gained - lost) / total
    half = _CONFIDENCE_Z * math.sqrt(gained + lost - (gained - lost) ** 2 / total) / total
    return PairedDifference(count, float(np.mean(before)), float(np.mean(after)), middle - half, middle + half)


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Where an output of the converted model comes from: the source's output and the axes it was turned by."""

    source: int
    axes: tuple[int, ...]
    """``converted == source.transpose(axes)``, the batch first; (0, 1, 2, 3) where nothing was turned."""


def arrange(reference: Sequence[Array], converted: Sequence[Array]) -> tuple[Arrangement, ...]:
    """Return for each converted output which source output it is, and how it was turned, by the values themselves.

    Of all pairs and orders of axes whose shapes fit, the nearest wins. Raises ValueError when no shape fits.
    """
    free = list(range(len(reference)))
    found = []
    for output in converted:
        choices = [(index, axes) for index in free for axes in axes_between(reference[index].shape, output.shape)]
        if not choices:
            raise ValueError(f"no output of the source has the shape {list(output.shape[1:])}")
        best = max(choices, key=lambda choice: sqnr_db(reference[choice[0]].transpose(choice[1]), output))
        found.append(Arrangement(*best))
        free.remove(best[0])
    return tuple(found)


def axes_between(source: tuple[int, ...], converted: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return every order of axes, the batch first, that turns one shape into the other; the identity first."""
    if len(source) != len(converted):
        return []
    orders = ((0, *rest) for rest in itertools.permutations(range(1, len(source))))
    return [axes for axes in orders if all(source[axis] == size for axis, size in zip(axes, converted, strict=True))]


def arranged(reference: Sequence[Array], arrangement: Sequence[Arrangement]) -> list[Array]:
    """Return the source's outputs in the order and layout of the converted model's."""
    return [reference[one.source].transpose(one.axes) for one in arrangement]
