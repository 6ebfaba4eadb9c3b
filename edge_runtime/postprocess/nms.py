"""Boxes: their forms, their overlap, and non-maximum suppression without a loop over boxes."""

from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

DEFAULT_IOU_THRESHOLD: Final = 0.45
"""The usual choice of YOLOv5 and YOLOv8 exports."""

BoxFormat = Literal["yxyx", "xyxy", "cxcywh"]


class Candidates(NamedTuple):
    """Boxes as a head gave them: ``boxes`` (n, 4) xyxy in input pixels, ``class_ids`` (n,), ``scores`` (n,)."""

    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    scores: NDArray[np.float32]

    def take(self, which: NDArray[Any]) -> "Candidates":
        """Return a selection by index or by mask."""
        return Candidates(self.boxes[which], self.class_ids[which], self.scores[which])


def to_xyxy(boxes: NDArray[np.float32], box_format: BoxFormat) -> NDArray[np.float32]:
    """Return boxes (n, 4) of any form as corners x1, y1, x2, y2."""
    if box_format == "xyxy":
        return boxes
    if box_format == "yxyx":
        return boxes[:, [1, 0, 3, 2]]
    half = boxes[:, 2:] / 2.0
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def well_formed(boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which boxes (n, 4) xyxy are finite and have an area."""
    finite = np.isfinite(boxes).all(axis=1)
    return np.asarray(finite & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))


def iou(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the intersection over union of every pair of boxes xyxy: (n, 4) and (m, 4) give (n, m)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.clip(high - low, 0.0, None)
    shared = sides[..., 0] * sides[..., 1]
    union = _area(first)[:, None] + _area(second)[None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0.0), dtype=np.float32)


def _area(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def suppress(candidates: Candidates, *, iou_threshold: float = DEFAULT_IOU_THRESHOLD) -> Candidates:
    """Return, best first, the candidates that no better one of their class overlaps by more than ``iou_threshold``.

    Gives exactly what the greedy loop gives. A box stays if no box before it that stays overlaps it; starting from
    "all stay" and applying that rule to all at once, everything up to the i-th box is right after i rounds, and in
    practice nothing changes after three or four (Cluster-NMS: Zheng et al., arXiv 2005.03572). Memory and time grow
    with the square of n: pass some hundreds, not all anchors.
    """
    candidates = candidates.take(np.argsort(-candidates.scores, kind="stable"))
    overlap = iou(candidates.boxes, candidates.boxes) > iou_threshold
    overlap &= candidates.class_ids[:, None] == candidates.class_ids[None, :]
    better = np.triu(overlap, k=1)
    stays: NDArray[np.bool_] = np.ones(len(candidates.scores), dtype=np.bool_)
    while True:
        now = np.logical_not(better[stays].any(axis=0))
        if np.array_equal(now, stays):
            return candidates.take(stays)
        stays = now
