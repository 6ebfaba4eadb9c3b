"""What a model's tensors say of its use where nobody else does: kind of input, task, output format, normalisation.

Pure functions. The rules are those of docs/models.md; each gives a sentence for the log, so that a wrong guess is seen.
"""

import math
from typing import Final, Literal

import numpy as np

from edge_runtime.model_file import ModelFile, Operator
from edge_runtime.types import Task, TensorSpec

DETECTION_OPERATOR: Final = "TFLite_Detection_PostProcess"
DETECTION_ORDER: Final = ("boxes", "classes", "scores", "count")
_ADD, _POOL, _CONV, _FULLY_CONNECTED, _LOGISTIC, _SOFTMAX, _MEAN, _ARG_MAX = 0, 1, 3, 9, 14, 25, 40, 56
_LOGITS: Final = frozenset({_ADD, _POOL, _CONV, _FULLY_CONNECTED, _MEAN})
_PASSING: Final = frozenset({6, 22, 43, 114})  # DEQUANTIZE, RESHAPE, SQUEEZE, QUANTIZE
_SHORTEST_WAVEFORM: Final = 4000
_SMALLEST_SIDE: Final = 16
_FEWEST_CANDIDATES: Final = 100
_KEYPOINTS: Final = 17
_MOST_PEOPLE: Final = 20
_BOX_CHANNELS: Final = {"yolov5": 5, "yolov8": 4}
"""Numbers per candidate before its class scores: the box, and in YOLOv5 whether there is anything."""

Kind = Literal["picture", "window"]


def input_kind(shape: tuple[int, ...]) -> Kind:
    """Tell a picture (1, H, W, 1 or 3), (1, 1 or 3, H, W) or (1, H, W) from a window of samples."""
    sides = picture_sides(shape, None)
    if sides is None:
        return "window"
    _, height, width, _ = sides
    if len(shape) == 3:
        # Few columns are channels of a sensor: (1, 128, 9) is 128 samples of 9 channels.
        return "picture" if min(height, width) >= _SMALLEST_SIDE else "window"
    return "picture" if min(height, width) > 1 else "window"


def picture_sides(
    shape: tuple[int, ...], layout: Literal["NHWC", "NCHW"] | None
) -> tuple[Literal["NHWC", "NCHW"], int, int, int] | None:
    """Return (layout, height, width, channels) of an input shape, or None when it is no picture's."""
    if len(shape) == 3 and shape[0] == 1:
        return "NHWC", shape[1], shape[2], 1
    if len(shape) != 4 or shape[0] != 1:
        return None
    if layout != "NCHW" and shape[3] in {1, 3}:
        return "NHWC", shape[1], shape[2], shape[3]
    if layout != "NHWC" and shape[1] in {1, 3}:
        return "NCHW", shape[2], shape[3], shape[1]
    return None


def window_sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (length, channels) of an input seen as samples: (1, 640) is 640 of 1, (1, 49, 10, 1) is 49 of 10."""
    sides = list(shape[1:]) if len(shape) > 1 and shape[0] == 1 else list(shape)
    while len(sides) > 2 and 1 in sides:
        sides.remove(1)
    if not sides:
        return 1, 1
    return sides[0], math.prod(sides[1:])


def default_normalization(spec: TensorSpec) -> tuple[float, float, str]:
    """Return mean and std in pixels for a picture input that comes without, and the sentence that says so."""
    if not spec.quantized and spec.dtype.kind in "iu":
        if spec.dtype == np.int8:
            return 128.0, 1.0, "the input is plain int8, pixels are fed as px - 128"
        return 0.0, 1.0, f"the input is plain {spec.dtype}, pixels are fed as they are"
    if spec.quantized and spec.dtype.itemsize == 1:
        limits = np.iinfo(spec.dtype)
        low, high = ((limit - spec.zero_point) * spec.scale for limit in (limits.min, limits.max))
        # With (px - 127.5) / 127.5 such an input would see two values or half the range.
        if abs(low) < 2.0 and abs(high - 255.0) < 4.0:
            return 0.0, 1.0, "the quantised input covers 0..255, pixels are fed as they are"
        if abs(low) < 0.01 and abs(high - 1.0) < 0.02:
            return 0.0, 255.0, "the quantised input covers 0..1, pixels are fed as px / 255"
        if takes_raw_bytes(spec, (127.5,), (127.5,)):
            return 127.5, 127.5, "the quantised input covers -1..1, it takes pixel bytes as they are"
    return 127.5, 127.5, "pixels are fed as (px - 127.5) / 127.5"


def takes_raw_bytes(spec: TensorSpec, mean: tuple[float, ...], std: tuple[float, ...]) -> bool:
    """Tell whether normalising and quantising gives the pixel byte itself, within one quantisation step."""
    if spec.dtype.kind not in "iu" or spec.dtype == np.int8:
        return False
    if not spec.quantized:
        return spec.dtype == np.uint8 or (set(mean) == {0.0} and set(std) == {1.0})
    if spec.dtype != np.uint8:
        return False
    if set(mean) == {0.0} and set(std) == {1.0}:
        return True  # "no normalisation" of a byte input means the byte, as TensorFlow's own task library takes it
    pixels = np.arange(256.0)[:, None]
    table = np.rint((pixels - np.array(mean)) / np.array(std) / spec.scale + spec.zero_point)
    return bool(np.all(np.abs(np.clip(table, 0, 255) - pixels) <= 1.0))


def detection_producer(operators: tuple[Operator, ...]) -> Operator | None:
    """Return the detection postprocess operator, if the model ends in one."""
    return next((operator for operator in reversed(operators) if operator.code.custom == DETECTION_OPERATOR), None)


def detection_order(model: ModelFile) -> tuple[str, ...] | None:
    """Return what each of the model's outputs means, from their places at the detection postprocess operator."""
    producer = detection_producer(model.operators)
    made = producer.outputs[:4] if producer else ()
    if len(made) < 4 or set(model.outputs) != set(made):
        return None
    return tuple(DETECTION_ORDER[made.index(index)] for index in model.outputs)


def is_detection_postprocess(shapes: list[tuple[int, ...]]) -> bool:
    """Tell the four outputs (1, N, 4), (1, N), (1, N), (1) by their shapes, in any order."""
    boxes = [shape for shape in shapes if len(shape) == 3 and shape[0] == 1 and shape[2] == 4]
    if len(shapes) != 4 or len(boxes) != 1:
        return False
    count = boxes[0][1]
    return sorted(shapes, key=lambda shape: (len(shape), shape)) == sorted(
        [(1,), (1, count), (1, count), boxes[0]], key=lambda shape: (len(shape), shape)
    )


def is_yolo(shapes: list[tuple[int, ...]]) -> bool:
    """Tell YOLO heads by their shapes: (1, 4 + classes, N), (1, N, 5 + classes), or three raw heads of YOLOv5."""
    if len(shapes) == 3 and all(_is_raw_head(shape) for shape in shapes):
        return True
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][0] != 1:
        return False
    few, many = sorted(shapes[0][1:])
    return few >= 5 and many >= _FEWEST_CANDIDATES and many >= 2 * few


def yolo_format(shapes: list[tuple[int, ...]], size: tuple[int, int]) -> str | None:
    """Return ``yolov5`` or ``yolov8`` where the number of candidates tells, else None.

    At the usual strides of 8, 16 and 32 pixels YOLOv8 has one candidate per cell and YOLOv5 three.
    """
    if len(shapes) != 1:
        return None
    few, many = sorted(shapes[0][1:])
    cells = sum((size[0] // stride) * (size[1] // stride) for stride in (8, 16, 32))
    if many == cells:
        return "yolov8"
    return "yolov5" if many == 3 * cells and few > 5 else None


def _is_raw_head(shape: tuple[int, ...]) -> bool:
    if len(shape) == 5:
        return shape[:2] == (1, 3) and shape[4] > 5
    return len(shape) == 4 and shape[0] == 1 and shape[3] % 3 == 0 and shape[3] >= 18


def infer_task(
    *, kind: Kind, input_shape: tuple[int, ...], shapes: list[tuple[int, ...]], operators: tuple[Operator, ...]
) -> Task:
    """Tell what a model is for from the shapes of its input and outputs."""
    if detection_producer(operators) or is_detection_postprocess(shapes):
        return "detect"
    if kind == "picture":
        if is_yolo(shapes):
            return "detect"
        if len(shapes) == 1 and _is_pose(shapes[0]):
            return "pose"
    if len(shapes) != 1:
        return "audio" if kind == "window" and _is_waveform(input_shape) and vector_length(shapes[0]) > 1 else "raw"
    return _task_of_one(kind, input_shape, shapes[0])


def _task_of_one(kind: Kind, input_shape: tuple[int, ...], shape: tuple[int, ...]) -> Task:
    if kind == "picture" and len(shape) in {3, 4} and shape[0] == 1 and min(shape[1:3]) >= _SMALLEST_SIDE:
        return "segment"
    if kind == "window" and shape == input_shape and math.prod(shape) > 1:
        return "anomaly"
    values = vector_length(shape)
    if values > 1:
        return "audio" if kind == "window" and _is_waveform(input_shape) else "classify"
    return "regress" if values == 1 else "raw"


def _is_pose(shape: tuple[int, ...]) -> bool:
    """Tell MoveNet's keypoints: of one person, or a row of 17 * 3 + 5 numbers for each of several."""
    if shape in {(1, 1, _KEYPOINTS, 3), (1, _KEYPOINTS, 3)}:
        return True
    return len(shape) == 3 and shape[0] == 1 and shape[1] <= _MOST_PEOPLE and shape[2] == _KEYPOINTS * 3 + 5


def _is_waveform(shape: tuple[int, ...]) -> bool:
    return len(shape) == 1 or (len(shape) == 2 and shape[1] >= _SHORTEST_WAVEFORM)


def vector_length(shape: tuple[int, ...]) -> int:
    """Return the length of a shape that is a vector (all other sides 1), or 0 when it is none or not known."""
    sides = [side for side in shape if side != 1]
    if not shape or len(sides) > 1:
        return 0
    return sides[0] if sides else 1


def _producer(index: int, operators: tuple[Operator, ...]) -> Operator | None:
    """Return the operator that computes a tensor, looking through reshapes and (de)quantisation."""
    for operator in reversed(operators):
        if index in operator.outputs:
            if operator.code.builtin not in _PASSING or not operator.inputs:
                return operator
            index = operator.inputs[0]
    return None


def infer_activation(output: int, operators: tuple[Operator, ...]) -> Literal["none", "softmax"] | None:
    """Tell whether a classifier's output is probabilities already, from the operator that computes it."""
    producer = _producer(output, operators)
    if producer is None:
        return None
    if producer.code.builtin in {_SOFTMAX, _LOGISTIC}:
        return "none"
    return "softmax" if producer.code.builtin in _LOGITS else None


def class_count(model: ModelFile, task: Task, format_: str | None) -> int | None:
    """Return how many classes a model tells apart, or None where its tensors do not say."""
    shape = model.tensors[model.outputs[0]].shape
    if task in {"classify", "audio"}:
        classes = vector_length(shape)
        return classes if classes > 1 and len(model.outputs) == 1 else None
    if task == "detect" and format_ in _BOX_CHANNELS:
        return min(shape[1:]) - _BOX_CHANNELS[format_]
    if task == "detect":
        producer = detection_producer(model.operators)
        return _last_side(model, producer, place=1, rank=3)
    if task == "segment" and len(shape) == 3:
        producer = _producer(model.outputs[0], model.operators)
        return _last_side(model, producer, place=0, rank=4) if producer and producer.code.builtin == _ARG_MAX else None
    return None


def _last_side(model: ModelFile, operator: Operator | None, *, place: int, rank: int) -> int | None:
    """Return the last side of one of an operator's inputs, where it has that rank."""
    if operator is None or len(operator.inputs) <= place or operator.inputs[place] < 0:
        return None
    shape = model.tensors[operator.inputs[place]].shape
    return shape[-1] if len(shape) == rank and shape[-1] > 1 else None
