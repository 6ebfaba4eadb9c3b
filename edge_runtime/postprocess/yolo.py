"""YOLO heads: one tensor with a box and class scores for every anchor."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import EngineError, ModelError
from edge_runtime.postprocess.nms import Candidates, suppress, to_xyxy, well_formed
from edge_runtime.postprocess.scores import sigmoid
from edge_runtime.postprocess.tensors import dequantize, picture_size, the_output
from edge_runtime.types import ModelSpec, Size

Version = Literal["yolov5", "yolov8"]
BOX_CHANNELS: Final[dict[Version, int]] = {"yolov5": 5, "yolov8": 4}
"""Channels before the class scores: cx, cy, w, h, and for YOLOv5 whether there is an object at all."""
MOST_CANDIDATES: Final = 300
_STRIDES: Final = ((8, 16, 32), (8, 16, 32, 64), (16, 32))
_ANCHORS_PER_CELL: Final[dict[Version, int]] = {"yolov5": 3, "yolov8": 1}
_COCO_CLASSES: Final = 80


class YoloHead:
    """Reads (1, n, 5 + classes) of YOLOv5, (1, 4 + classes, n) of YOLOv8, and either of them transposed.

    Which of them it is: ``output.format``, else the number of labels, else the number of anchors that the input's
    size gives, else COCO's 80 classes, else the orientation. Coordinates are fractions or pixels of the input, as
    ``output.normalized`` says or as the first boxes found show. Scores are probabilities unless
    ``output.score_activation`` says ``sigmoid`` or most of them lie outside 0..1. Raises ModelError for other
    outputs. Called from the inference thread.
    """

    def __init__(self, spec: ModelSpec, *, score_threshold: float) -> None:
        self._output = the_output(spec)
        self._size = picture_size(spec)
        self._threshold = score_threshold
        self._version, self._channel_axis = _layout(spec, self._size)
        self._box_format = spec.output.box_format or "cxcywh"
        self._normalized = spec.output.normalized
        self._sigmoid: bool | None = {"sigmoid": True, "none": False}.get(spec.output.score_activation or "")

    @property
    def classes(self) -> int:
        """How many classes the head scores."""
        return self._output.shape[self._channel_axis] - BOX_CHANNELS[self._version]

    def __call__(self, outputs: Sequence[NDArray[Any]]) -> Candidates:
        """Return the boxes left after suppression, best first, in input pixels. Raises EngineError."""
        values = outputs[0]
        if values.shape != self._output.shape:
            promised = list(self._output.shape)
            raise EngineError(f"the model promised an output of shape {promised} and gave {list(values.shape)}")
        channels = values[0] if self._channel_axis == 1 else values[0].T
        anchors, class_ids, scores = self._best_classes(channels)
        if len(scores) > MOST_CANDIDATES:
            best = np.argpartition(-scores, MOST_CANDIDATES)[:MOST_CANDIDATES]
            anchors, class_ids, scores = anchors[best], class_ids[best], scores[best]
        corners = to_xyxy(dequantize(channels[:4, anchors].T, self._output), self._box_format)
        found = Candidates(corners, class_ids, scores).take(well_formed(corners))
        return suppress(found._replace(boxes=self._in_input_pixels(found.boxes)))

    def _best_classes(self, channels: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Return anchors at or above the threshold with their best class and its score; (channels, anchors) in.

        Only one row (objectness, or the maximum over classes, found before dequantising) is looked at for all anchors.
        """
        first = BOX_CHANNELS[self._version]
        sifting = dequantize(channels[4] if first == 5 else channels[first:].max(axis=0), self._output)
        if self._sigmoid is None and 2 * np.count_nonzero((sifting < -0.05) | (sifting > 1.05)) > sifting.size:
            self._sigmoid = True
        sifted = self._probability(sifting)
        anchors = np.flatnonzero(sifted >= self._threshold)
        scores = sifted[anchors]
        per_class = channels[first:, anchors]
        class_ids = per_class.argmax(axis=0)
        if first == 5:
            best = per_class[class_ids, np.arange(anchors.size)]
            scores = scores * self._probability(dequantize(best, self._output))
        kept = np.flatnonzero(scores >= self._threshold)
        return anchors[kept], class_ids[kept], scores[kept]

    def _probability(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return scores within 0..1, which rounding may have left a little above 1."""
        return sigmoid(scores) if self._sigmoid else np.minimum(scores, np.float32(1.0))

    def _in_input_pixels(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._normalized is None and len(boxes):
            # A box in pixels ends beyond 2, right or below; one in fractions never does.
            self._normalized = bool(np.median(boxes.max(axis=1)) <= 2.0)
        return boxes * np.array(self._size * 2, dtype=np.float32) if self._normalized else boxes


def _layout(spec: ModelSpec, size: Size) -> tuple[Version, int]:
    """Return which head it is and which axis, 1 or 2, holds its channels."""
    shape = spec.outputs[0].shape
    if len(shape) != 3 or shape[0] != 1 or min(shape[1:]) <= BOX_CHANNELS["yolov8"]:
        raise ModelError(f"{spec.path}: output {list(shape)} is no YOLO head (1, anchors, channels); try --task raw")
    channel_axis = 1 if shape[1] < shape[2] else 2
    channels, anchors = shape[channel_axis], shape[3 - channel_axis]
    version = _version(spec, channels=channels, anchors=anchors, size=size)
    if version is None:
        if channels == 6 and channel_axis == 2 and anchors <= MOST_CANDIDATES:
            raise ModelError(
                f"{spec.path}: output {list(shape)} looks suppressed already (x1, y1, x2, y2, score, class); "
                "export it without NMS, or name output.format"
            )
        version = "yolov8" if channel_axis == 1 else "yolov5"
    if channels <= BOX_CHANNELS[version]:
        raise ModelError(f"{spec.path}: output {list(shape)} has no class scores for a {version} head")
    return version, channel_axis


def _version(spec: ModelSpec, *, channels: int, anchors: int, size: Size) -> Version | None:
    if spec.output.format in BOX_CHANNELS:
        return "yolov5" if spec.output.format == "yolov5" else "yolov8"
    for version, before in BOX_CHANNELS.items():
        if spec.labels and channels == before + len(spec.labels):
            return version
    cells = {sum((size[0] // s) * (size[1] // s) for s in strides) for strides in _STRIDES}
    for version, per_cell in _ANCHORS_PER_CELL.items():
        if anchors in {per_cell * cell for cell in cells}:
            return version
    for version, before in BOX_CHANNELS.items():
        if channels == before + _COCO_CLASSES:
            return version
    return None
