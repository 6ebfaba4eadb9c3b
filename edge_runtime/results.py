"""What a model says, read from its outputs: columnar, and a sequence of the rows that are published.

Boxes are ``xyxy`` and points ``x, y``, both in source pixels: those of the upright picture, after EXIF orientation and
the configured rotation and flip, before the configured crop. Sizes are ``(width, height)``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

Size: TypeAlias = tuple[int, int]
Row: TypeAlias = dict[str, Any]
"""One entry of a prediction's ``result`` as it is published."""


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
