"""How much of a detector's own boxes is left in integers: without labels, those of the float model are the truth."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.box_labels import LOWEST_SCORE, boxes_of
from converters.precision import Boxes, PrecisionDifference, compare_precision
from edge_runtime.postprocess.detect import DEFAULT_SCORE_THRESHOLD
from edge_runtime.types import ImageInput, ModelSpec, Transform

Array = NDArray[Any]
LARGEST_MOVE: Final = 0.05
"""Of mAP@0.5:0.95, beyond the interval. By labels less is lost: a box that moved a little is mostly still right."""

_KEPT: Final = 0.9
"""What needs no word."""


class OwnBoxes:
    """The float model's boxes of some samples, in pixels of its input, whatever picture they came from."""

    def __init__(self, spec: ModelSpec, outputs: Sequence[Array]) -> None:
        """Take the float model's ``outputs``, (samples, ...) each; its task is ``detect``."""
        assert isinstance(spec.input, ImageInput)
        size = spec.input.size
        self._spec = spec
        self._transform = Transform(input_size=size, frame_size=size, scale=(1.0, 1.0))
        self._found = self._boxes(outputs, LOWEST_SCORE)
        self._shown = [Boxes(one.boxes, one.class_ids) for one in self._boxes(outputs, DEFAULT_SCORE_THRESHOLD)]

    @property
    def count(self) -> int:
        """Return how many boxes a device would show of the float model's."""
        return sum(len(one.boxes) for one in self._shown)

    def compare(self, outputs: Sequence[Array]) -> PrecisionDifference:
        """Return the mean average precision of the float model and of another, which gave ``outputs``."""
        return compare_precision(self._found, self._boxes(outputs, LOWEST_SCORE), self._shown)

    def _boxes(self, outputs: Sequence[Array], threshold: float) -> list[Boxes]:
        transforms = [self._transform] * len(outputs[0])
        return boxes_of(self._spec, transforms, outputs, score_threshold=threshold)


def moved(difference: PrecisionDifference) -> tuple[str, ...]:
    """Return what to say of boxes that certainly moved too far; nothing of others."""
    if difference.high >= -LARGEST_MOVE or not np.isfinite(difference.after):
        return ()
    return (f"{difference.after:.0%} of the float model's own boxes are kept (mAP@0.5:0.95)",)


def doubt(kept: float) -> list[str]:
    """Return what to warn of where no labels tell what the moved boxes are worth."""
    if kept >= _KEPT:
        return []
    shown = f"of the boxes that the float model shows {kept:.0%} are kept (mAP@0.5:0.95 with its own as the truth)"
    return [f"{shown}: give labelled pictures with --eval, and what decodes the boxes leaves int8 where that is needed"]
