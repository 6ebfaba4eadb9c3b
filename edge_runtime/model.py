"""The Python API: a model as something to call, over the same pipeline as the daemon."""

from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_runtime import assemble
from edge_runtime.clock import monotonic_ns
from edge_runtime.config import ModelSection
from edge_runtime.engines.litert import EngineConfig
from edge_runtime.errors import InputMismatchError, UsageError
from edge_runtime.manifest import as_window
from edge_runtime.pipeline import Pipeline
from edge_runtime.types import Frame, FrameFormat, ImageInput, ModelSpec, Origin, Prediction, View

STREAM = "python0"
Single = str | PathLike[str] | bytes | NDArray[Any]
"""What one call takes beside a PIL image: a file name, the bytes of a picture file, or an array."""


class Model:
    """A model with its pre- and postprocessing. Call it; use it as a context manager to release it early.

    One thread at a time. Raises errors of ``edge_runtime.errors`` only.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._count = 0

    @property
    def spec(self) -> ModelSpec:
        """What is known of the model: task, labels, input, output, and what was inferred."""
        return self._pipeline.spec

    @overload
    def __call__(self, item: Single) -> Prediction: ...
    @overload
    def __call__(self, item: list[Any] | tuple[Any, ...]) -> list[Prediction]: ...
    @overload
    def __call__(self, item: Any) -> Any: ...
    def __call__(self, item: Any) -> Any:
        """Return the prediction of one item, or a list of predictions for a list of items.

        An item is a file name (picture, WAV or CSV; of a longer recording the first window), the bytes of a picture
        file, a PIL image, an (h, w, 3) or (h, w) uint8 array in RGB or grey, or for sensor and audio models a window
        of samples, (length,) or (length, channels). Raises UsageError for a missing file, InputMismatchError for what
        the model cannot take, BadFrameError for a broken picture.
        """
        if isinstance(item, list | tuple):
            return [self(one) for one in item]
        return self._pipeline.process(self._frame(item))

    def stream(self, item: str | PathLike[str], *, stride: int | None = None) -> Iterator[Prediction]:
        """Yield the prediction of every window of a WAV or CSV file; ``stride`` is in samples or rows."""
        for frame in self._windows(Path(item), stride=stride):
            yield self._pipeline.process(frame)

    def batch(self, items: Iterable[Any]) -> Iterator[Prediction]:
        """Yield predictions for any number of items, one at a time, in order."""
        return (self(item) for item in items)

    def close(self) -> None:
        """Release the interpreter; the model cannot be called afterwards."""
        self._pipeline.close()

    def __enter__(self) -> Self:
        """Return the model itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Release the interpreter."""
        self.close()

    def _frame(self, item: Any) -> Frame:
        if isinstance(item, str | PathLike):
            return self._file(Path(item))
        if isinstance(item, bytes):
            return self._new(item, "picture")
        if isinstance(item, np.ndarray):
            return self._array(item)
        if hasattr(item, "convert") and hasattr(item, "getexif"):
            return self._array(np.asarray(_upright(item)))
        raise UsageError(f"a model takes a file name, bytes, an array or a PIL image, not {type(item).__name__}")

    def _file(self, path: Path) -> Frame:
        if not path.is_file():
            raise UsageError(f"{path}: no such file")
        if path.suffix.lower() in {".wav", ".csv"}:
            frame = next(self._windows(path, stride=None), None)
            if frame is None:
                raise UsageError(f"{path}: holds no window of samples")
            return frame
        return self._new(path.read_bytes(), "picture", Origin(path=str(path)))

    def _windows(self, path: Path, *, stride: int | None) -> Iterator[Frame]:
        from edge_runtime.registry import plugin

        kind = "wav" if path.suffix.lower() == ".wav" else "csv"
        source_class = plugin("sources", kind)
        settings = msgspec.convert({"path": str(path), "stride": stride}, source_class.Config)
        source = source_class(settings, stream=STREAM, wants=as_window(self.spec))
        source.open()
        try:
            while (frame := source.read(1.0)) is not None:
                yield frame
        finally:
            source.close()

    def _array(self, array: NDArray[Any]) -> Frame:
        if not isinstance(self.spec.input, ImageInput):
            window = np.asarray(array, dtype=np.float32)
            return self._new(window.reshape(len(window), -1) if window.ndim else window.reshape(1, 1), "window")
        if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3)):
            raise InputMismatchError(
                f"a picture is a uint8 array of shape (height, width, 3) in RGB or (height, width), "
                f"not {array.dtype} {array.shape}"
            )
        grey = array.ndim == 2 or array.shape[2] == 1
        return self._new(array.reshape(array.shape[:2]) if grey else array, "gray" if grey else "rgb")

    def _new(self, data: Any, kind: FrameFormat, origin: Origin | None = None) -> Frame:
        now_ns = monotonic_ns()
        frame = Frame(data, kind, STREAM, self._count, now_ns, now_ns, origin or Origin())
        self._count += 1
        return frame


def load(
    path: str | PathLike[str],
    *,
    labels: str | None = None,
    task: str | None = None,
    top_k: int | None = None,
    score_threshold: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    resize: Literal["stretch", "letterbox", "crop"] | None = None,
    threads: int | Literal["auto"] | None = None,
    delegate: str = "auto",
    rotate: Literal[0, 90, 180, 270] = 0,
) -> Model:
    """Load a ``.tflite`` model with what its file says of itself; keywords win over the file.

    Raises UsageError for a missing file or a wrong keyword, ModelError for a model that does not load.
    """
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"{file}: no such model file")
    given = {
        "labels": labels,
        "task": task,
        "top_k": top_k,
        "score_threshold": score_threshold,
        "mean": None if mean is None else tuple(mean),
        "std": None if std is None else tuple(std),
        "resize": resize,
    }
    try:
        section = msgspec.convert({key: value for key, value in given.items() if value is not None}, ModelSection)
    except msgspec.ValidationError as error:
        raise UsageError(f"load: {error}") from error
    engine = EngineConfig(threads=threads, delegate=delegate)
    pipeline = assemble.open_pipeline(file, model=section, engine=engine, views={STREAM: View(rotate=rotate)})
    return Model(pipeline)


def _upright(image: Any) -> Any:
    from PIL import ImageOps

    return ImageOps.exif_transpose(image).convert("RGB")
