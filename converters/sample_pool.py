"""Samples in the form the float model takes, from wherever they come; pictures through the device's own code."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from edge_runtime.clock import monotonic_ns
from edge_runtime.errors import BadFrameError, UsageError
from edge_runtime.preprocess.factory import build
from edge_runtime.protocols import Preprocessor
from edge_runtime.types import Frame, FrameFormat, ImageInput, ModelSpec, TensorSpec, Transform

Array = NDArray[Any]
STREAM: Final = "samples"
_MET: Final = 0.75
"""Of the classes that so many samples could meet."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Samples that can be loaded one by one. ``load`` raises BadFrameError for one that is broken."""

    where: str
    count: int
    load: Callable[[int], Array]
    """Returns float32 of the input's shape without the batch."""
    targets: Array | None = None
    """Class ids (count,) or target values (count, ...), where there are any."""
    classes: tuple[str, ...] = ()
    """What the samples themselves call the classes, in the order of their ids; none where the model knew it before."""

    @property
    def class_ids(self) -> Array | None:
        """Return the class of each sample, (count,); None where it is not known."""
        ids = self.targets
        return ids if ids is not None and ids.ndim == 1 and ids.dtype.kind in "iu" else None


@dataclass(frozen=True, slots=True)
class Drawn:
    """Samples written to a file: float32 (n, ...)."""

    path: Path
    count: int
    keys: frozenset[str]
    """SHA-256 of each sample's bytes: the same picture under another name is the same sample."""
    targets: Array | None
    skipped: int
    low: float
    high: float


def draw(pool: Pool, indices: Iterable[int], path: Path, *, without: frozenset[str] = frozenset()) -> Drawn:
    """Load samples and write them to ``path`` as .npy, those whose key is in ``without`` left out.

    Raises UsageError when nothing is left, or for values that are no numbers.
    """
    kept: list[int] = []
    keys: set[str] = set()
    skipped, low, high = 0, np.inf, -np.inf
    with _ArrayFile(path) as file:
        for index in indices:
            try:
                value = _checked(pool, index)
            except BadFrameError:
                skipped += 1
                continue
            key = hashlib.sha256(value.data).hexdigest()
            if key not in without:
                keys.add(key)
                kept.append(index)
                low, high = min(low, float(value.min())), max(high, float(value.max()))
                file.append(value)
    if not kept:
        used = "every sample of it was used for calibration; give others, or a lower --samples"
        raise UsageError(f"{pool.where}: no sample can be used; {used if without else f'{skipped} of them are broken'}")
    return Drawn(
        path=path,
        count=len(kept),
        keys=frozenset(keys),
        targets=None if pool.targets is None else np.asarray(pool.targets)[kept],
        skipped=skipped,
        low=low,
        high=high,
    )


class _ArrayFile:
    """An .npy of float32 rows that is written row by row: a hundred pictures need not be in memory together."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0
        self._shape: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        return self

    def append(self, row: Array) -> None:
        """Write one more row, C-contiguous float32."""
        if not self._count:
            self._shape = row.shape
            self._write_header()
        self._count += 1
        self._file.write(row.data)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        """Write the header, which NumPy pads so that it may be written again with more rows."""
        facts = {"descr": "<f4", "fortran_order": False, "shape": (self._count, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, facts)


def _checked(pool: Pool, index: int) -> Array:
    value = np.ascontiguousarray(pool.load(index), np.float32)
    if not np.isfinite(value).all():
        raise UsageError(f"{pool.where}: sample {index} has values that are no numbers (NaN or infinite)")
    return value


def spread(count: int, wanted: int) -> list[int]:
    """Return ``wanted`` indices spread evenly over 0..count-1; all of them where there are no more."""
    if wanted >= count:
        return list(range(count))
    return [int(index) for index in np.floor(np.arange(wanted) * (count / wanted))]


def spread_over(classes: Array | None, count: int, wanted: int) -> list[int]:
    """Return ``wanted`` indices, spread evenly where that meets the classes (count,), else drawn with a seed.

    Samples often come in turn, one of each class and then again: every second of ten such classes is five of them.
    """
    even = spread(count, wanted)
    if classes is None:
        return even
    met, there = len(np.unique(classes[even])), len(np.unique(classes))
    if met >= _MET * min(there, len(even)):
        return even
    return sorted(int(index) for index in np.random.default_rng(0).permutation(count)[:wanted])


def sample_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of one sample of an input: without its batch of 1, where it has one."""
    return shape[1:] if len(shape) > 1 and shape[0] == 1 else shape


class Feeder:
    """Turns what a source delivers into samples of the float model, as the device will do it."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._shape = sample_shape(spec.inputs[0].shape)
        tensor = TensorSpec(spec.inputs[0].name, spec.inputs[0].shape, np.dtype(np.float32))
        self._preprocess: Preprocessor = build(spec.input, tensor=tensor)

    @property
    def spec(self) -> ModelSpec:
        """What is known of the model."""
        return self._spec

    @property
    def is_picture(self) -> bool:
        """Whether the model takes pictures."""
        return isinstance(self._spec.input, ImageInput)

    def feed(self, data: Any, kind: FrameFormat) -> Array:
        """Return one sample from a picture's bytes, an array of pixels or a window of sensor samples."""
        now_ns = monotonic_ns()
        inputs, _ = self._preprocess(Frame(data, kind, STREAM, 0, now_ns, now_ns))
        sample: Array = inputs[0].reshape(self._shape).copy()
        self._preprocess.release(inputs)
        return sample

    def picture_file(self, path: Path) -> Array:
        """Return one sample from a picture file. Raises BadFrameError."""
        try:
            return self.feed(path.read_bytes(), "picture")
        except OSError as error:
            raise BadFrameError(f"{path}: {error.strerror}") from error

    def transform_of(self, path: Path) -> Transform:
        """Return how a picture file is laid into the input. Raises BadFrameError; the model must take pictures."""
        now_ns = monotonic_ns()
        inputs, transform = self._preprocess(Frame(path.read_bytes(), "picture", STREAM, 0, now_ns, now_ns))
        self._preprocess.release(inputs)
        assert transform is not None
        return transform

    def rows(self, rows: Array, where: str) -> Callable[[int], Array]:
        """Return a loader of the rows of an array. Raises UsageError for a wrong shape or range.

        Of a picture model, uint8 rows are pixels and float rows are inputs as the network takes them; of any other,
        rows are samples before normalisation, as a sensor gives them.
        """
        side = self._shape
        if self.is_picture and rows.dtype == np.uint8 and _picture_like(rows):
            return lambda index: self._pixels(rows[index])
        if int(np.prod(rows.shape[1:])) != int(np.prod(side)) or (self.is_picture and rows.shape[1:] != side):
            turned = rows.ndim == 4 and (*rows.shape[2:], rows.shape[1]) == tuple(side)
            hint = "; colours come last: numpy.moveaxis(samples, 1, -1)" if turned else ""
            raise UsageError(f"{where}: samples of shape {list(rows.shape[1:])}, the model takes {list(side)}{hint}")
        if self.is_picture:
            self._check_range(rows, where)
            return lambda index: np.asarray(rows[index], np.float32)
        return lambda index: self.feed(self._window(rows[index]), "window")

    def _window(self, row: Array) -> Array:
        source = self._spec.input
        assert not isinstance(source, ImageInput)
        return np.asarray(row, np.float32).reshape(source.length, source.channels)

    def _pixels(self, row: Array) -> Array:
        grey = row.ndim == 2 or row.shape[2] == 1
        return self.feed(row.reshape(row.shape[:2]) if grey else row, "gray" if grey else "rgb")

    def _check_range(self, rows: Array, where: str) -> None:
        """Refuse inputs that cannot have been normalised as was said: 0..1 against 0..255 is the classic."""
        source = self._spec.input
        assert isinstance(source, ImageInput)
        ends = [(pixel - np.asarray(source.mean)) / np.asarray(source.std) for pixel in (0.0, 255.0)]
        low, high = float(np.min(ends)), float(np.max(ends))
        part = np.asarray(rows[spread(len(rows), 64)], np.float32)
        found_low, found_high = float(part.min()), float(part.max())
        slack = 0.1 * (high - low)
        if found_low < low - slack or found_high > high + slack or found_high - found_low < 0.05 * (high - low):
            raise UsageError(
                f"{where}: its values lie in {found_low:g}..{found_high:g}, and inputs normalised as you say in "
                f"{low:g}..{high:g}; give the --preset or --mean and --std that made them"
            )


def _picture_like(rows: Array) -> bool:
    return rows.ndim == 3 or (rows.ndim == 4 and rows.shape[3] in (1, 3))


def random_pool(spec: ModelSpec, count: int) -> Pool:
    """Return random inputs, the same every time: patches of many sizes for a picture, else a normal distribution.

    Noise of one size averages out within a layer or two and shows a network only a small part of its ranges.
    """
    generator = np.random.default_rng(0)
    shape = sample_shape(spec.inputs[0].shape)
    if not isinstance(spec.input, ImageInput):
        values = generator.standard_normal((count, *shape)).astype(np.float32)
        return Pool("random inputs", count, lambda index: values[index])
    source = spec.input
    width, height = source.size
    channels = 1 if source.color == "GRAY" else 3
    pictures = [_patches(generator, height, width, channels, side=2 ** (index % 6)) for index in range(count)]
    mean, std = np.asarray(source.mean, np.float32), np.asarray(source.std, np.float32)
    turned = (2, 0, 1) if source.layout == "NCHW" else (0, 1, 2)
    return Pool(
        "random inputs",
        count,
        lambda index: ((pictures[index] - mean) / std).transpose(turned).reshape(shape).astype(np.float32),
    )


def _patches(generator: np.random.Generator, height: int, width: int, channels: int, *, side: int) -> Array:
    """Return a picture of flat squares of ``side`` pixels and random colours."""
    coarse = generator.integers(0, 256, (-(-height // side), -(-width // side), channels), np.uint8)
    return coarse.repeat(side, axis=0).repeat(side, axis=1)[:height, :width].astype(np.float32)


def with_targets(pool: Pool, targets: Sequence[Any] | Array) -> Pool:
    """Return the same samples with their labels or target values."""
    return replace(pool, targets=np.asarray(targets))
