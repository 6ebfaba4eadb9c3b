"""The values that travel through the pipeline. Immutable, columnar, without behaviour that needs a heavy import.

Conventions: sizes are ``(width, height)``; pictures are HWC; boxes are ``xyxy`` in source pixels; ``*_ns`` is
CLOCK_MONOTONIC unless its name says wall. "Source pixels" are those of the upright picture: after EXIF orientation
and the configured rotation and flip, before the configured crop.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# The results have a file of their own; everybody imports them from here.
from edge_runtime.results import Anomaly as Anomaly
from edge_runtime.results import Classifications as Classifications
from edge_runtime.results import Detections as Detections
from edge_runtime.results import Poses as Poses
from edge_runtime.results import RawTensors as RawTensors
from edge_runtime.results import Regression as Regression
from edge_runtime.results import Result as Result
from edge_runtime.results import Row as Row
from edge_runtime.results import Segmentation as Segmentation
from edge_runtime.results import Size as Size
from edge_runtime.results import Transform as Transform

Task = Literal["classify", "detect", "segment", "pose", "regress", "anomaly", "audio", "raw"]
TASKS: tuple[Task, ...] = ("classify", "detect", "segment", "pose", "regress", "anomaly", "audio", "raw")

FrameFormat = Literal["rgb", "bgr", "gray", "yuyv", "i420", "jpeg", "picture", "window"]
"""What ``Frame.data`` holds.

``rgb``, ``bgr``: (height, width, 3) uint8. ``gray``: (height, width) uint8. ``yuyv``: (height, width, 2) uint8, YUV
4:2:2 packed. ``i420``: (height * 3 / 2, width) uint8, planar YUV 4:2:0. ``jpeg``: JPEG bytes of a camera (no EXIF is
looked for). ``picture``: the bytes of a picture file of any kind Pillow reads (EXIF honoured). ``window``:
(length, channels) float32 sensor samples or audio in -1..1.
"""


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
