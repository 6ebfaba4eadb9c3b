"""Detection: boxes in source pixels, whatever head the model ends in."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import ModelError
from edge_runtime.postprocess.nms import Candidates, well_formed
from edge_runtime.postprocess.ssd import SsdHead
from edge_runtime.postprocess.tensors import names_for, names_of, way_back
from edge_runtime.postprocess.yolo import YoloHead
from edge_runtime.types import Detections, ModelSpec, Prepared, Transform

DEFAULT_SCORE_THRESHOLD: Final = 0.5
_NO_CLASS: Final = ("???", "background")
Head = Callable[[Sequence[NDArray[Any]]], Candidates]


class DetectPostprocessor:
    """Reads the head, maps its boxes to source pixels, clips them to the frame and drops what has no area left.

    ``output.format`` names the head (``tflite``, ``yolov5``, ``yolov8``); without it one output is a YOLO head and
    three or four are those of TFLite_Detection_PostProcess. ``score_threshold`` is 0.5 unless given; ``top_k`` limits
    how many boxes are kept, best first. Raises ModelError, UsageError (labels) and InputMismatchError (no picture)
    when the model does not fit. Called from the inference thread.
    """

    def __init__(self, spec: ModelSpec, *, top_k: int | None, score_threshold: float | None) -> None:
        if len(spec.outputs) > 1 and all(len(output.shape) > 3 for output in spec.outputs):
            raise ModelError(f"{spec.path}: these are bare YOLO feature maps; export the model with its decoding")
        threshold = DEFAULT_SCORE_THRESHOLD if score_threshold is None else score_threshold
        self._top_k = top_k
        self._head: Head
        self._labels: tuple[str, ...] | None
        if spec.output.format == "tflite" or (spec.output.format is None and len(spec.outputs) in {3, 4}):
            self._head = SsdHead(spec, score_threshold=threshold)
            self._labels = _without_background(spec.labels)
        elif spec.output.format in {None, "yolov5", "yolov8"}:
            yolo = YoloHead(spec, score_threshold=threshold)
            self._head, self._labels = yolo, names_for(spec.labels, yolo.classes)
        else:
            raise ModelError(f"{spec.path}: output.format {spec.output.format!r} is none of tflite, yolov5, yolov8")

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> Detections:
        """Return the boxes, best first. Raises EngineError when the outputs are not what the model promised."""
        transform = way_back(prepared)
        found = _in_frame(self._head(outputs), transform)
        found = found.take(np.argsort(-found.scores, kind="stable")[: self._top_k])
        labels = names_of(found.class_ids, self._labels)
        return Detections(found.boxes, found.class_ids, found.scores, labels, transform.frame_size)


def _in_frame(found: Candidates, transform: Transform) -> Candidates:
    found = found.take(well_formed(found.boxes))
    boxes = transform.to_source(found.boxes.reshape(-1, 2, 2))
    boxes = np.clip(boxes, 0.0, np.array(transform.frame_size, dtype=np.float32)).reshape(-1, 4)
    return found._replace(boxes=boxes).take(well_formed(boxes))


def _without_background(labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the labels without a first line for the background, a class that the operator never gives."""
    return labels[1:] if labels and labels[0].lower() in _NO_CLASS else labels
