"""The values that travel through the pipeline. Immutable, columnar, without behaviour that needs a heavy import.

Conventions: sizes are ``(width, height)``; pictures are HWC; boxes are ``xyxy`` in source pixels; ``*_ns`` is
CLOCK_MONOTONIC unless its name says wall. "Source pixels" are those of the upright picture: after EXIF orientation
and the configured rotation and flip, before the configured crop.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

Size: TypeAlias = tuple[int, int]
Task = Literal["classify", "detect", "segment", "pose", "regress", "anomaly", "audio", "raw"]
TASKS: tuple[Task, ...] = ("classify", "detect", "segment", "pose", "regress", "anomaly", "audio", "raw")

FrameFormat = Literal["rgb", "bgr", "gray", "yuyv", "i420", "jpeg", "picture", "window"]
"""What ``Frame.data`` holds.

``rgb``, ``bgr``: (height, width, 3) uint8. ``gray``: (height, width) uint8. ``yuyv``: (height, width, 2) uint8, YUV
4:2:2 packed. ``i420``: (height * 3 / 2, width) uint8, planar YUV 4:2:0. ``jpeg``: JPEG bytes of a camera (no EXIF is
looked for). ``picture``: the bytes of a picture file of any kind Pillow reads (EXIF honoured). ``window``:
(length, channels) float32 sensor samples or audio in -1..1.
"""

Row: TypeAlias = dict[str, Any]
"""One entry of a prediction's ``result`` as it is published."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where in a file a frame came from; every part may be absent."""

    path: str | None = None
    position_s: float | None = None
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture or one window of samples, as the source delivered it; decoding is the preprocessor's."""

    data: NDArray[Any] | bytes | memoryview
    format: FrameFormat
    stream: str
    sequence: int
    """Counts from 0 per source, dropped frames included."""
    captured_ns: int
    """The source's own time stamp where it has one (V4L2 kernel time), else the moment it was read."""
    arrived_ns: int
    """When this process had it in hand; latencies run from here."""
    origin: Origin = Origin()
    full: NDArray[np.uint8] | bytes | None = None
    """A larger picture of the same moment for snapshots (Raspberry Pi camera ``main``): RGB array or JPEG bytes."""
    nominal_size: Size | None = None
    """The picture's size in source pixels where ``data`` is a smaller companion of it (Raspberry Pi camera ``lores``):
    masks, crops and boxes are in these pixels. None: ``data`` has the size it has."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output tensor of a model. ``scale`` 0 means not quantised."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float = 0.0
    zero_point: int = 0

    @property
    def quantized(self) -> bool:
        """Whether values are integers that stand for ``(q - zero_point) * scale``."""
        return self.scale != 0.0 and self.dtype.kind in "iu"


@dataclass(frozen=True, slots=True)
class ImageInput:
    """How a picture becomes the model's input tensor."""

    size: Size
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    color: Literal["RGB", "BGR", "GRAY"] = "RGB"
    mean: tuple[float, ...] = (127.5,)
    """Per channel in the model's channel order, or one value for all; in units of 0..255 pixels."""
    std: tuple[float, ...] = (127.5,)
    resize: Literal["stretch", "letterbox", "crop"] = "stretch"
    raw: bool = False
    """The tensor takes pixel bytes as they are; ``mean`` and ``std`` are not applied."""
    antialias: bool = True
    """Whether shrinking must be filtered (detection and segmentation) or may take the fast way (classification)."""


@dataclass(frozen=True, slots=True)
class WindowInput:
    """How a window of samples becomes the model's input tensor."""

    length: int
    channels: int
    sample_rate_hz: float | None = None
    mean: tuple[float, ...] = (0.0,)
    """Per channel, or one value for all."""
    std: tuple[float, ...] = (1.0,)


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """How output tensors are to be read; ``None`` where the postprocessor tells from the tensors."""

    format: str | None = None
    """detect: ``tflite`` (detection postprocess), ``yolov5``, ``yolov8``; else ``None``."""
    order: tuple[str, ...] | None = None
    """detect/tflite: the meaning of each output tensor, of ``boxes, classes, scores, count``."""
    score_activation: Literal["none", "softmax", "sigmoid"] | None = None
    box_format: Literal["yxyx", "xyxy", "cxcywh"] | None = None
    normalized: bool | None = None
    """Whether box coordinates are fractions of the input (true) or its pixels (false)."""
    threshold: float | None = None
    """anomaly: the score above which a window is anomalous."""
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What a prediction says of its model."""

    name: str
    version: str | None
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything known of a model, from flags, manifest, metadata and tensors, in that order of precedence."""

    path: str
    identity: ModelIdentity
    task: Task
    labels: tuple[str, ...] | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    input: ImageInput | WindowInput
    output: OutputFormat = OutputFormat()
    window: WindowInput | None = None
    """The same input as samples, where ``input`` is a picture by its shape and a sensor may feed it as well."""
    edgetpu: bool = False
    """Compiled for the Edge TPU (contains ``edgetpu-custom-op``)."""
    inferred: tuple[str, ...] = ()
    """Sentences for the log: what was assumed because nothing in or beside the file says it."""
    accuracy: dict[str, Any] | None = None
    reference: dict[str, Any] | None = None
    provenance: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class View:
    """How a stream's picture is turned, hidden and cut, in this order; one per source."""

    rotate: Literal[0, 90, 180, 270] = 0
    """Degrees clockwise."""
    flip: Literal["", "h", "v", "hv"] = ""
    """Mirror left-right (h), top-bottom (v); after the rotation."""
    masks: tuple[tuple[int, int, int, int], ...] = ()
    """Privacy rectangles x, y, width, height in upright pixels, painted black before anything looks at the picture."""
    mask_file: str | None = None
    """A picture stretched over the upright frame: where it is darker than mid-grey, the frame is painted black."""
    crop: tuple[int, int, int, int] | None = None
    """x, y, width, height in upright pixels: the part the model sees."""


@dataclass(frozen=True, slots=True)
class Transform:
    """Maps pixels of the model's input to source pixels: ``source = input * scale + offset``, per axis."""

    input_size: Size
    frame_size: Size
    scale: tuple[float, float]
    offset: tuple[float, float] = (0.0, 0.0)

    def to_source(self, xy: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Map points, shape (..., 2) in input pixels, to source pixels of the same shape."""
        return np.asarray(xy * np.array(self.scale) + np.array(self.offset), dtype=np.float32)


@dataclass(slots=True)
class Prepared:
    """A frame made ready for the engine. ``inputs`` may be buffers that are used again after the invoke."""

    frame: Frame
    inputs: tuple[NDArray[Any], ...]
    transform: Transform | None
    started_ns: int
    ready_ns: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds per stage, three decimals each; ``total`` is their sum as printed."""

    queue: float
    prepare: float
    wait: float
    invoke: float
    postprocess: float

    @property
    def total(self) -> float:
        """Return the time from the frame's arrival to the hand-over for publishing, in ms."""
        return round(self.queue + self.prepare + self.wait + self.invoke + self.postprocess, 3)

    def to_dict(self) -> dict[str, float]:
        """Return the stages as they are published."""
        return {
            "queue": self.queue,
            "prepare": self.prepare,
            "wait": self.wait,
            "invoke": self.invoke,
            "postprocess": self.postprocess,
            "total": self.total,
        }


class Rows(Sequence[Row]):
    """A columnar result that reads as a sequence of the rows it publishes."""

    __slots__ = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        raise TypeError("a result defines its own length")

    def row(self, index: int) -> Row:
        """Return row ``index`` as published; ``0 <= index < len(self)``."""
        raise TypeError(f"a result defines its own rows; row {index} was asked for")

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        """Return one row, or a list of rows for a slice."""
        if isinstance(index, slice):
            return [self.row(i) for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self.row(index % len(self))

    def __iter__(self) -> Iterator[Row]:
        """Iterate over the rows as published."""
        return (self.row(i) for i in range(len(self)))

    def extras(self) -> Row:
        """Return keys that are published beside ``result`` (``frame`` for boxes and keypoints)."""
        return {}


def _frame(size: Size) -> Row:
    return {"frame": {"width": size[0], "height": size[1]}}


@dataclass(frozen=True, slots=True)
class Classifications(Rows):
    """The best classes, best first: ``class_ids`` (n,) int, ``scores`` (n,) float32, ``labels`` n names or None."""

    class_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    labels: tuple[str | None, ...]
    start_s: float | None = None
    end_s: float | None = None

    def __len__(self) -> int:
        """Return the number of classes kept."""
        return len(self.labels)

    def row(self, index: int) -> Row:
        """Return ``{class_id, label, score}``, for audio also ``start_s, end_s``."""
        row: Row = {
            "class_id": int(self.class_ids[index]),
            "label": self.labels[index],
            "score": round(float(self.scores[index]), 4),
        }
        if self.start_s is not None and self.end_s is not None:
            row |= {"start_s": round(self.start_s, 3), "end_s": round(self.end_s, 3)}
        return row


@dataclass(frozen=True, slots=True)
class Detections(Rows):
    """Boxes, best first: ``boxes`` (n, 4) float32 xyxy in source pixels, clipped to the frame; scores and ids (n,)."""

    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    labels: tuple[str | None, ...]
    frame_size: Size

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.labels)

    def row(self, index: int) -> Row:
        """Return ``{class_id, label, score, box}``."""
        return {
            "class_id": int(self.class_ids[index]),
            "label": self.labels[index],
            "score": round(float(self.scores[index]), 4),
            "box": [round(float(v), 1) for v in self.boxes[index]],
        }

    def extras(self) -> Row:
        """Return the size of the frame the boxes are in."""
        return _frame(self.frame_size)


@dataclass(frozen=True, slots=True)
class Poses(Rows):
    """People: ``keypoints`` (n, k, 3) float32 of x, y in source pixels and score; ``scores`` (n,) float32."""

    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]
    frame_size: Size

    def __len__(self) -> int:
        """Return the number of poses."""
        return len(self.scores)

    def row(self, index: int) -> Row:
        """Return ``{score, keypoints: [[x, y, score] ...]}``."""
        return {
            "score": round(float(self.scores[index]), 4),
            "keypoints": [
                [round(float(x), 1), round(float(y), 1), round(float(s), 4)] for x, y, s in self.keypoints[index]
            ],
        }

    def extras(self) -> Row:
        """Return the size of the frame the keypoints are in."""
        return _frame(self.frame_size)


@dataclass(frozen=True, slots=True)
class Segmentation(Rows):
    """Which class each pixel is: ``mask`` (height, width) uint8 or int of class ids at the model's size; rows by area.

    ``class_ids`` (n,) int, ``pixels`` (n,) int counts in mask pixels.
    """

    mask: NDArray[Any]
    class_ids: NDArray[np.int64]
    pixels: NDArray[np.int64]
    labels: tuple[str | None, ...]
    transform: Transform

    def __len__(self) -> int:
        """Return the number of classes present."""
        return len(self.labels)

    def row(self, index: int) -> Row:
        """Return ``{label, class_id, pixels}``."""
        return {
            "label": self.labels[index],
            "class_id": int(self.class_ids[index]),
            "pixels": int(self.pixels[index]),
        }

    def extras(self) -> Row:
        """Return the size of the frame."""
        return _frame(self.transform.frame_size)


@dataclass(frozen=True, slots=True)
class Regression(Rows):
    """Numbers: ``values`` (n,) float32 with a name and a unit each (unit may be None)."""

    names: tuple[str, ...]
    values: NDArray[np.float32]
    units: tuple[str | None, ...]

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self.names)

    def row(self, index: int) -> Row:
        """Return ``{name, value, unit}``."""
        return {"name": self.names[index], "value": float(self.values[index]), "unit": self.units[index]}


@dataclass(frozen=True, slots=True)
class Anomaly(Rows):
    """How unusual a window is: the mean squared reconstruction error, in units of the model's input squared."""

    score: float
    threshold: float | None

    def __len__(self) -> int:
        """Return 1."""
        return 1

    def row(self, index: int) -> Row:  # noqa: ARG002 - there is one row
        """Return ``{score, threshold, anomalous}``; the last is None without a threshold."""
        anomalous = None if self.threshold is None else self.score > self.threshold
        return {"score": self.score, "threshold": self.threshold, "anomalous": anomalous}


@dataclass(frozen=True, slots=True)
class RawTensors(Rows):
    """The output tensors, dequantised, as they are."""

    names: tuple[str, ...]
    values: tuple[NDArray[Any], ...]

    def __len__(self) -> int:
        """Return the number of output tensors."""
        return len(self.names)

    def row(self, index: int) -> Row:
        """Return ``{name, shape, values}`` with values nested as the shape says."""
        value = self.values[index]
        return {"name": self.names[index], "shape": list(value.shape), "values": value.tolist()}


Result: TypeAlias = Classifications | Detections | Poses | Segmentation | Regression | Anomaly | RawTensors


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one frame."""

    stream: str
    sequence: int
    captured_ns: int
    origin: Origin
    model: ModelIdentity
    task: Task
    result: Result
    latency: Latency
    frame: Frame | None = field(default=None, repr=False, compare=False)
    """The frame it is of, for snapshots; not published."""
