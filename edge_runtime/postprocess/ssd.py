"""The outputs of TFLite_Detection_PostProcess: boxes, classes, scores and count, in any order."""

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import EngineError, ModelError
from edge_runtime.postprocess.nms import Candidates, to_xyxy
from edge_runtime.postprocess.tensors import dequantize, picture_size
from edge_runtime.types import ModelSpec, TensorSpec

_PARTS: Final = ("boxes", "classes", "scores", "count")
_SLACK: Final = 0.01
"""How far over 1 rounding may carry a score."""
_MOST_CLASSES: Final = 100_000


class SsdHead:
    """Reads boxes that the model has suppressed already. Called from the inference thread.

    Which output is which: as ``output.order`` says; else boxes are the (1, n, 4) tensor, the count is the single
    value, and classes and scores are told apart by their tensors' names and by what is in them, see ``_Columns``.
    Boxes are yxyx fractions of the input unless the model says otherwise. Raises ModelError for other outputs.
    """

    def __init__(self, spec: ModelSpec, *, score_threshold: float) -> None:
        self._specs = spec.outputs
        self._size = picture_size(spec)
        self._threshold = score_threshold
        self._columns = _Columns(spec)
        self._box_format = spec.output.box_format or "yxyx"
        self._normalized = spec.output.normalized is not False

    def __call__(self, outputs: Sequence[NDArray[Any]]) -> Candidates:
        """Return the boxes at or above the threshold, in input pixels. Raises EngineError for shapes that lie."""
        real = [dequantize(values, spec) for values, spec in zip(outputs, self._specs, strict=True)]
        boxes = real[self._columns.boxes].reshape(-1, 4)
        count = self._count(real, len(boxes))
        classes, scores = (column.reshape(-1)[:count] for column in self._columns.split(real, count))
        if len(classes) != count or len(scores) != count:
            raise EngineError("the model gave boxes, classes and scores of different lengths; try --task raw")
        usable = np.isfinite(classes) & (classes >= 0.0) & (classes < _MOST_CLASSES) & (scores >= self._threshold)
        which = np.flatnonzero(usable)
        placed = to_xyxy(boxes[which], self._box_format)
        if self._normalized:
            placed = placed * np.array(self._size * 2, dtype=np.float32)
        return Candidates(placed, np.rint(classes[which]).astype(np.int64), scores[which])

    def _count(self, real: Sequence[NDArray[np.float32]], most: int) -> int:
        if self._columns.count is None or not np.isfinite(value := real[self._columns.count].reshape(-1)[:1]).all():
            return most
        return int(np.clip(np.rint(value), 0, most).sum())


class _Columns:
    """Which output is which.

    Exports of TensorFlow 1 number boxes, classes, scores, count upwards (``:0`` to ``:3``), those of TensorFlow 2
    downwards (``StatefulPartitionedCall:3`` to ``:0``): either way classes lie next to boxes. That is the guess for
    the two tensors of one shape, unless their names speak. The first frame whose values allow only one reading
    (classes are whole numbers, scores within 0..1) settles it for good; a frame that allows both, such as one with
    nothing in it, goes by the guess.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.settled = False
        self.count: int | None = None
        if spec.output.order is not None:
            self._from_order(spec, spec.output.order)
        else:
            self._from_shapes(spec)

    def _from_order(self, spec: ModelSpec, order: tuple[str, ...]) -> None:
        if len(order) != len(spec.outputs) or not {"boxes", "classes", "scores"} <= set(order) <= set(_PARTS):
            count, known = len(spec.outputs), ", ".join(_PARTS)
            raise ModelError(f"{spec.path}: output.order {list(order)} must name its {count} outputs of {known}")
        self.boxes, self.classes, self.scores = (order.index(part) for part in _PARTS[:3])
        self.count = order.index("count") if "count" in order else None
        self.settled = True

    def _from_shapes(self, spec: ModelSpec) -> None:
        outputs = spec.outputs
        boxes = [i for i, output in enumerate(outputs) if len(output.shape) >= 2 and output.shape[-1] == 4]
        boxes = [i for i in boxes if len(outputs[i].shape) == 3] or boxes
        rest = [i for i in range(len(outputs)) if i not in boxes]
        if len(boxes) != 1 or len(rest) not in {2, 3}:
            shapes = ", ".join(str(list(output.shape)) for output in outputs)
            raise ModelError(f"{spec.path}: outputs {shapes} are no boxes, classes, scores and count; try --task raw")
        self.boxes = boxes[0]
        rest.sort(key=lambda i: abs(_number(outputs[i]) - _number(outputs[self.boxes])))
        if len(rest) == 3:
            # The count is the smallest tensor; of three alike (n = 1) it is the one farthest from the boxes.
            self.count = min(reversed(rest), key=lambda i: (int(np.prod(outputs[i].shape)), len(outputs[i].shape)))
            rest.remove(self.count)
        self.classes, self.scores = rest
        if _named(outputs[self.classes], "score") or _named(outputs[self.scores], "class", "categor"):
            self.classes, self.scores = self.scores, self.classes

    def split(self, real: Sequence[NDArray[np.float32]], count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return classes and scores, after looking whether this frame settles which is which."""
        classes, scores = real[self.classes], real[self.scores]
        if not self.settled:
            first, second = classes.reshape(-1)[:count], scores.reshape(-1)[:count]
            as_guessed = _like_classes(first) and _like_scores(second)
            swapped = _like_classes(second) and _like_scores(first)
            self.settled = as_guessed != swapped
            if self.settled and swapped:
                self.classes, self.scores = self.scores, self.classes
                classes, scores = scores, classes
        return classes, scores


def _number(output: TensorSpec) -> int:
    found = re.search(r"[:_](\d+)$", output.name)
    return int(found[1]) if found else 0


def _named(output: TensorSpec, *words: str) -> bool:
    return any(word in output.name.lower() for word in words)


def _like_classes(values: NDArray[np.float32]) -> bool:
    return bool(np.isfinite(values).all() and (values >= 0).all() and (values == np.rint(values)).all())


def _like_scores(values: NDArray[np.float32]) -> bool:
    return bool(((values >= 0.0) & (values <= 1.0 + _SLACK)).all())
