"""Pose estimation: MoveNet's keypoints in source pixels."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import EngineError, ModelError
from edge_runtime.postprocess.tensors import dequantize, picture_size, the_output, way_back
from edge_runtime.types import ModelSpec, Poses, Prepared

DEFAULT_SCORE_THRESHOLD: Final = 0.2
"""Below this nobody is there: MoveNet always answers, with scores of some hundredths for an empty room."""
_BOX_AND_SCORE: Final = 5


class PosePostprocessor:
    """Reads MoveNet: (1, 1, k, 3) of one person, or (1, people, 3 * k + 5) of several; y, x, score as fractions.

    A person's score is the model's own where it gives one (the last of the five values after the keypoints), else the
    mean of the keypoints' scores; people under ``score_threshold`` (0.2 unless given) are left out, and only the
    best ``top_k`` kept. Keypoints outside the frame stay where the model sees them. A person with a coordinate that
    is no number is left out. Raises ModelError and InputMismatchError when the model does not fit. Called from the
    inference thread.
    """

    def __init__(self, spec: ModelSpec, *, top_k: int | None, score_threshold: float | None) -> None:
        self._output = the_output(spec)
        self._size = picture_size(spec)
        self._top_k = top_k
        self._threshold = DEFAULT_SCORE_THRESHOLD if score_threshold is None else score_threshold
        self._to_pixels = 1.0 if spec.output.normalized is False else np.array(self._size, dtype=np.float32)
        shape = self._output.shape
        self._width = shape[-1] if shape else 0
        self._single = self._width == 3 and len(shape) >= 2
        if not self._single and (
            len(shape) != 3 or self._width <= _BOX_AND_SCORE or (self._width - _BOX_AND_SCORE) % 3
        ):
            raise ModelError(
                f"{spec.path}: output {list(shape)} is no MoveNet output, [1, 1, 17, 3] or [1, 6, 56]; try --task raw"
            )

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> Poses:
        """Return the people, best first. Raises EngineError when the output changed its shape."""
        transform = way_back(prepared)
        real = dequantize(outputs[0], self._output)
        if real.ndim == 0 or real.shape[-1] != self._width:
            promised = list(self._output.shape)
            raise EngineError(f"the model promised keypoints of shape {promised} and gave {list(real.shape)}")
        if self._single:
            people = real.reshape(-1, *real.shape[-2:])
            scores = people[:, :, 2].mean(axis=1)
        else:
            rows = real.reshape(-1, self._width)
            people = rows[:, :-_BOX_AND_SCORE].reshape(len(rows), -1, 3)
            scores = rows[:, -1]
        usable = np.isfinite(people).all(axis=(1, 2)) & (scores >= self._threshold)
        order = np.argsort(-scores[usable], kind="stable")[: self._top_k]
        people, scores = people[usable][order], scores[usable][order]
        points = transform.to_source(people[:, :, 1::-1] * self._to_pixels)
        return Poses(np.concatenate([points, people[:, :, 2:]], axis=2), scores, transform.frame_size)
