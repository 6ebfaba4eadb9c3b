"""Segmentation: which class each pixel is, and how many pixels each class has."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import EngineError, ModelError
from edge_runtime.postprocess.tensors import (
    dequantize,
    names_for,
    names_of,
    picture_size,
    the_output,
    value_range,
    way_back,
)
from edge_runtime.types import ImageInput, ModelSpec, Prepared, Segmentation, TensorSpec, Transform

_MOST_CLASSES: Final = 65536
_SAME_ASPECT: Final = 0.1


class SegmentPostprocessor:
    """Reads a map of class ids, (1, h, w) integers, or a score for each class and pixel.

    Scores are (1, h, w, classes) or (1, classes, h, w): the axis as long as the labels counts classes, else the one
    that leaves a map of the picture's aspect, else the model's layout tells. One score per pixel is a yes-or-no mask:
    class 1 where it is above one half (above 0 for logits). Only pixels whose centre lies in the frame are counted,
    so letterbox borders are not; the mask itself keeps the model's size. Rows are sorted by area, ``top_k`` limits
    them, ``score_threshold`` means nothing here. Raises ModelError, UsageError (labels) and InputMismatchError when
    the model does not fit. Called from the inference thread.
    """

    def __init__(self, spec: ModelSpec, *, top_k: int | None, score_threshold: float | None) -> None:  # noqa: ARG002
        self._output = the_output(spec)
        self._top_k = top_k
        shape = self._output.shape
        if len(shape) not in {3, 4} or shape[0] != 1:
            raise ModelError(f"{spec.path}: output {list(shape)} is no map of classes; try --task raw")
        self._class_axis = _class_axis(spec) if len(shape) == 4 else None
        classes = 1 if self._class_axis is None else shape[self._class_axis]
        self._per_class = classes > 1
        self._ids = not self._per_class and _holds_ids(self._output)
        self._labels = names_for(spec.labels, classes) if self._per_class else spec.labels
        reach = value_range(self._output)
        self._logits = spec.output.score_activation == "sigmoid" or (
            spec.output.score_activation is None and reach is not None and reach[0] < 0.0
        )

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> Segmentation:
        """Return the classes by area. Raises EngineError for ids that are no classes and for a changed shape."""
        transform = way_back(prepared)
        values = outputs[0]
        if values.ndim != len(self._output.shape) or values.size == 0:
            promised = list(self._output.shape)
            raise EngineError(f"the model promised a map of shape {promised} and gave {list(values.shape)}")
        mask = self._mask(values[0])
        pixels = np.bincount(_inside(mask, transform).reshape(-1))
        ids = np.flatnonzero(pixels)
        ids = ids[np.argsort(-pixels[ids], kind="stable")][: self._top_k]
        return Segmentation(mask, ids, pixels[ids], names_of(ids, self._labels), transform)

    def _mask(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return class ids (h, w), in eight bits where they fit, from an output without its batch axis."""
        if self._per_class:
            assert self._class_axis is not None
            ids: NDArray[Any] = _best_class(values, axis=self._class_axis - 1)
        else:
            plane = values if self._class_axis is None else values.take(0, axis=self._class_axis - 1)
            ids = plane if self._ids else self._yes_or_no(dequantize(plane, self._output))
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= _MOST_CLASSES:
            raise EngineError(f"the model's map of classes holds {low} to {high}, which are no classes; try --task raw")
        return ids.astype(np.uint8, copy=False) if high <= np.iinfo(np.uint8).max else ids

    def _yes_or_no(self, scores: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return 1 where a pixel's one score says yes; a score below 0 shows, for good, that they are logits."""
        if self._logits or bool((scores < 0.0).any()):
            self._logits = True
        return (scores > (0.0 if self._logits else 0.5)).astype(np.uint8)


def _holds_ids(output: TensorSpec) -> bool:
    """Return whether integers are meant as they are: without a scale, or with the scale 1 some exporters write."""
    return output.dtype.kind in "iu" and (not output.quantized or output.scale == 1.0)


def _best_class(values: NDArray[Any], *, axis: int) -> NDArray[np.int64]:
    """Return the argmax over the class axis of still quantised scores; NaN loses against everything."""
    if values.dtype.kind == "f" and np.isnan(np.min(values)):
        values = np.where(np.isnan(values), -np.inf, values)
    return np.asarray(values.argmax(axis=axis), dtype=np.int64)


def _class_axis(spec: ModelSpec) -> int:
    """Return 3 for (1, h, w, classes), 1 for (1, classes, h, w)."""
    width, height = picture_size(spec)
    _, first, _, last = shape = spec.outputs[0].shape
    if 1 in {first, last} and first != last:
        return 3 if last == 1 else 1
    if spec.labels and (first == len(spec.labels)) != (last == len(spec.labels)):
        return 3 if last == len(spec.labels) else 1
    aspect = height / width
    last_counts = abs(shape[1] / shape[2] / aspect - 1.0) < _SAME_ASPECT
    first_counts = abs(shape[2] / shape[3] / aspect - 1.0) < _SAME_ASPECT
    if last_counts != first_counts:
        return 3 if last_counts else 1
    return 1 if isinstance(spec.input, ImageInput) and spec.input.layout == "NCHW" else 3


def _inside(mask: NDArray[Any], transform: Transform) -> NDArray[Any]:
    """Return the part of a mask (h, w) whose pixel centres lie in the frame."""
    spans = []
    for axis in (0, 1):
        pixels = mask.shape[1 - axis]
        centres = (np.arange(pixels) + 0.5) * (transform.input_size[axis] / pixels)
        source = centres * transform.scale[axis] + transform.offset[axis]
        within = np.flatnonzero((source >= 0.0) & (source < transform.frame_size[axis]))
        spans.append(slice(int(within[0]), int(within[-1]) + 1) if within.size else slice(0, 0))
    return mask[spans[1], spans[0]]
