"""Mean average precision of detectors, as COCO counts it. Pure functions of arrays.

Lin et al. 2014, "Microsoft COCO: Common Objects in Context": at each overlap of 0.5, 0.55 .. 0.95, found boxes are
taken by falling score and matched with the free true box of their class that they overlap most; the precision is
averaged over 101 recalls, then over classes, then over overlaps. All true boxes count alike: there are no crowds and
no sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

OVERLAPS: Final = tuple(0.5 + 0.05 * step for step in range(10))
_RECALLS: Final = np.linspace(0.0, 1.0, 101)
_ROUNDS: Final = 200
_MOST_FOUND: Final = 100

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes of one picture: ``boxes`` (n, 4) xyxy, ``class_ids`` (n,), ``scores`` (n,), which true boxes have not."""

    boxes: Array
    class_ids: Array
    scores: Array | None = None


@dataclass(frozen=True, slots=True)
class PrecisionDifference:
    """Mean average precision before and after over the same pictures, with the interval of the difference."""

    count: int
    before: float
    """Over overlaps of 0.5 to 0.95."""
    after: float
    before_at_half: float
    """At an overlap of 0.5."""
    after_at_half: float
    low: float
    """95 % interval of ``after - before``, by drawing pictures anew (bootstrap), the same for both."""
    high: float


@dataclass(frozen=True, slots=True)
class _Matched:
    """One picture: each found box's class, score and whether it hit at each overlap, (overlaps, n)."""

    class_ids: Array
    scores: Array
    hits: Array
    true_ids: Array


def compare_precision(before: Sequence[Boxes], after: Sequence[Boxes], truths: Sequence[Boxes]) -> PrecisionDifference:
    """Return both mean average precisions and the paired interval of their difference; a picture in each place."""
    first, second = ([_matched(*pair) for pair in zip(found, truths, strict=True)] for found in (before, after))
    generator = np.random.default_rng(0)
    differences = []
    for _ in range(_ROUNDS):
        drawn = generator.integers(0, len(truths), len(truths))
        one, other = (_precision([matched[index] for index in drawn]) for matched in (first, second))
        differences.append(float(np.mean(other) - np.mean(one)))
    one, other = _precision(first), _precision(second)
    low, high = np.percentile(differences, (2.5, 97.5))
    return PrecisionDifference(
        count=len(truths),
        before=float(np.mean(one)),
        after=float(np.mean(other)),
        before_at_half=float(one[0]),
        after_at_half=float(other[0]),
        low=float(low),
        high=float(high),
    )


def mean_average_precision(found: Sequence[Boxes], truths: Sequence[Boxes]) -> Array:
    """Return the mean over classes of the average precision at each overlap, (overlaps,); 0 where nothing is true."""
    return _precision([_matched(*pair) for pair in zip(found, truths, strict=True)])


def overlaps(boxes: Array, others: Array) -> Array:
    """Return intersection over union of each box with each other, (n, m); 0 where both are empty."""
    corner = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - np.maximum(boxes[:, None, :2], others[None, :, :2])
    common = np.prod(np.maximum(corner, 0.0), axis=2)
    areas = [np.prod(np.maximum(some[:, 2:] - some[:, :2], 0.0), axis=1) for some in (boxes, others)]
    union = areas[0][:, None] + areas[1][None, :] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0.0))


def _matched(found: Boxes, truth: Boxes) -> _Matched:
    assert found.scores is not None
    order = np.argsort(-found.scores, kind="stable")[:_MOST_FOUND]
    boxes, class_ids = np.asarray(found.boxes, np.float64).reshape(-1, 4)[order], found.class_ids[order]
    true_boxes = np.asarray(truth.boxes, np.float64).reshape(-1, 4)
    shared = overlaps(boxes, true_boxes) * (class_ids[:, None] == truth.class_ids[None, :])
    hits = np.zeros((len(OVERLAPS), len(order)), bool)
    for place, least in enumerate(OVERLAPS):
        free = np.ones(len(true_boxes), bool)
        for index in range(len(order)):
            candidates = np.where(free, shared[index], 0.0)
            best = int(candidates.argmax()) if len(candidates) else -1
            if best >= 0 and candidates[best] >= least:
                hits[place, index], free[best] = True, False
    return _Matched(class_ids, found.scores[order], hits, truth.class_ids)


def _precision(matched: Sequence[_Matched]) -> Array:
    """Return the mean over the classes that are there of the average precision, (overlaps,)."""
    true_ids = np.concatenate([one.true_ids for one in matched])
    if not len(true_ids):
        return np.zeros(len(OVERLAPS))
    class_ids = np.concatenate([one.class_ids for one in matched])
    scores = np.concatenate([one.scores for one in matched])
    hits = np.concatenate([one.hits for one in matched], axis=1)
    order = np.argsort(-scores, kind="stable")
    class_ids, hits = class_ids[order], hits[:, order]
    averages = [_average(hits[:, class_ids == kind], int(np.sum(true_ids == kind))) for kind in np.unique(true_ids)]
    return np.asarray(np.mean(averages, axis=0))


def _average(hits: Array, true: int) -> Array:
    """Return the average precision at each overlap of one class's boxes by falling score, (overlaps,)."""
    right = np.cumsum(hits, axis=1)
    recall = right / true
    precision = right / np.arange(1, hits.shape[1] + 1)
    # What counts at a recall is the best precision there or beyond.
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    averages = np.zeros(len(hits))
    for place in range(len(hits)):
        reached = np.searchsorted(recall[place], _RECALLS - 1e-12)
        inside = reached < hits.shape[1]
        averages[place] = np.sum(envelope[place][reached[inside]]) / len(_RECALLS)
    return averages
