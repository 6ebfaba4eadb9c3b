"""Where samples come from: folders, array files, recordings, a function of one's own."""

import importlib
import itertools
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from converters.box_labels import open_boxes
from converters.options import RANDOM, SampleSource
from converters.sample_pool import STREAM, Array, Feeder, Pool, random_pool, sample_shape, with_targets
from edge_runtime.errors import EdgeRuntimeError, InputMismatchError, UsageError
from edge_runtime.registry import plugin
from edge_runtime.sources.images import PICTURE_SUFFIXES
from edge_runtime.types import WindowInput

RECORDINGS: Final = frozenset({".csv", ".wav"})
ARRAYS: Final = frozenset({".npy", ".npz"})
MOST_FROM_CALLABLE: Final = 10_000
_RANDOM_COUNT: Final = 200


def open_pool(where: SampleSource, feeder: Feeder) -> Pool:
    """Return the samples at ``where``, labels with them where there are any.

    Raises UsageError for what is missing, empty, of the wrong kind or shape.
    """
    if callable(where):
        return _from_callable(where, getattr(where, "__name__", "the callable"), feeder)
    text = str(where)
    if text == RANDOM:
        return random_pool(feeder.spec, _RANDOM_COUNT)
    path = Path(text)
    if path.is_dir():
        return _from_folder(path, feeder)
    if path.is_file():
        return _from_file(path, feeder)
    module, colon, name = text.partition(":")
    if colon and module and name.isidentifier():
        return _from_callable(_imported(module, name), text, feeder)
    raise UsageError(f"{text}: no such file or folder, and no module:callable")


def refuse_absent(where: SampleSource) -> None:
    """Raise UsageError for samples that are not there: before a conversion that would need them minutes later."""
    if callable(where) or str(where) == RANDOM:
        return
    path = Path(where)
    if path.is_dir():
        if not any(one.is_file() for one in path.rglob("*")):
            raise UsageError(f"{path}: an empty folder; put samples in it, or name another")
        return
    module, colon, name = str(where).partition(":")
    if path.is_file() or (colon and module and name.isidentifier()):
        return
    raise UsageError(f"{where}: no such file or folder, and no module:callable")


def open_labelled_pool(where: SampleSource, feeder: Feeder) -> Pool:
    """Return samples with labels: a folder per class, an .npz with x and y, a callable of pairs; boxes for a detector.

    Raises UsageError when there are no labels, or they do not fit the model's classes.
    """
    path = Path(where) if isinstance(where, str | Path) else None
    if feeder.spec.task == "detect" and path is not None and (path.is_dir() or path.suffix.lower() == ".json"):
        return open_boxes(path, feeder)
    pool = _from_classes(path, feeder) if path is not None and path.is_dir() else open_pool(where, feeder)
    if pool.targets is None:
        raise UsageError(
            f"{pool.where}: no labels in it; --eval takes a folder per class, an .npz with arrays x and y, "
            "or a callable that yields (input, label)"
        )
    return pool


def _from_folder(folder: Path, feeder: Feeder) -> Pool:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    wanted = PICTURE_SUFFIXES if feeder.is_picture else RECORDINGS
    chosen = [path for path in files if path.suffix.lower() in wanted]
    if not chosen:
        kind = "pictures" if feeder.is_picture else "recordings (.csv, .wav)"
        raise UsageError(f"{folder}: no {kind} in this folder; name one that has some")
    if feeder.is_picture:
        return Pool(str(folder), len(chosen), lambda index: feeder.picture_file(chosen[index]))
    return _from_windows(str(folder), itertools.chain.from_iterable(_windows(path, feeder) for path in chosen))


def _from_classes(folder: Path, feeder: Feeder) -> Pool:
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise UsageError(f"{folder}: no folder per class in it, so there are no labels for --eval")
    ids = _class_ids([path.name for path in classes], feeder, folder)
    pools = [_from_folder(path, feeder) for path in classes]
    places = [(pool, index) for pool in pools for index in range(pool.count)]
    targets = [class_id for pool, class_id in zip(pools, ids, strict=True) for _ in range(pool.count)]
    joined = Pool(str(folder), len(places), lambda index: places[index][0].load(places[index][1]))
    named = () if feeder.spec.labels is not None else tuple(path.name for path in classes)
    return replace(with_targets(joined, targets), classes=named)


def _class_ids(names: list[str], feeder: Feeder, folder: Path) -> list[int]:
    """Return each folder's class: by its name among the labels, else by its place in the alphabet if all are there."""
    labels = feeder.spec.labels
    if labels is None:
        classes = int(np.prod(sample_shape(feeder.spec.outputs[0].shape)))
        if len(names) != classes:
            raise UsageError(
                f"{folder}: {len(names)} folders for {classes} classes; say which is which with --labels FILE"
            )
        return list(range(len(names)))
    known = {label.strip().lower(): index for index, label in enumerate(labels)}
    missing = [name for name in names if name.strip().lower() not in known]
    if missing:
        raise UsageError(f"{folder}: the folders {', '.join(missing[:5])} are no labels of the model; name them alike")
    return [known[name.strip().lower()] for name in names]


def _from_file(path: Path, feeder: Feeder) -> Pool:
    suffix = path.suffix.lower()
    if suffix in ARRAYS:
        return _from_arrays(path, feeder)
    if suffix in RECORDINGS:
        return _from_windows(str(path), _windows(path, feeder))
    if suffix in PICTURE_SUFFIXES and feeder.is_picture:
        return Pool(str(path), 1, lambda _: feeder.picture_file(path))
    raise UsageError(f"{path}: samples come from a folder of pictures, .npy, .npz, .csv, .wav or module:callable")


def _from_arrays(path: Path, feeder: Feeder) -> Pool:
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} cannot be read as arrays: {str(error).partition(chr(10))[0]}") from error
    rows = arrays.get("x", next(iter(arrays.values()), None))
    if rows is None or not rows.ndim or not len(rows):
        raise UsageError(f"{path}: no samples in it")
    if rows.dtype.kind not in "fiu":
        raise UsageError(f"{path}: its values are of type {rows.dtype}; numbers are wanted")
    pool = Pool(str(path), len(rows), feeder.rows(rows, str(path)))
    targets = arrays.get("y")
    if targets is None:
        return pool
    if len(targets) != len(rows):
        raise UsageError(f"{path}: {len(rows)} samples in x and {len(targets)} labels in y")
    return with_targets(pool, targets)


def _windows(path: Path, feeder: Feeder) -> Iterator[Array]:
    """Yield the windows of a recording as the device's own sources cut them. Raises UsageError, SourceError."""
    wants = feeder.spec.input if isinstance(feeder.spec.input, WindowInput) else feeder.spec.window
    if wants is None:
        raise UsageError(f"{path}: the model takes pictures, not recordings")
    source_class = plugin("sources", path.suffix.lower().lstrip("."))
    source = source_class(msgspec.convert({"path": str(path)}, source_class.Config), stream=STREAM, wants=wants)
    try:
        source.open()
        while (frame := source.read(1.0)) is not None:
            yield feeder.feed(frame.data, "window")
    except InputMismatchError as error:
        raise UsageError(f"{path}: {error}") from error
    finally:
        source.close()


def _from_windows(where: str, windows: Iterable[Array]) -> Pool:
    kept = list(itertools.islice(windows, MOST_FROM_CALLABLE))
    if not kept:
        raise UsageError(f"{where}: holds no window of samples")
    return Pool(where, len(kept), kept.__getitem__)


def _imported(module: str, name: str) -> Callable[[], Iterable[Any]]:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{module}:{name} cannot be imported: {error}") from error
    if not callable(found):
        raise UsageError(f"{module}:{name} is no callable")
    return found  # type: ignore[no-any-return]


def _from_callable(function: Callable[[], Iterable[Any]], where: str, feeder: Feeder) -> Pool:
    """Read what a function yields: inputs, or pairs of input and label."""
    try:
        yielded = list(itertools.islice(function(), MOST_FROM_CALLABLE))
    except TypeError as error:
        raise UsageError(f"{where}: must take no arguments and return samples: {error}") from error
    except EdgeRuntimeError:
        raise
    except Exception as error:  # the user's own code raises what it likes
        raise UsageError(f"{where}: raised {type(error).__name__}: {' '.join(str(error).split())}") from error
    if not yielded:
        raise UsageError(f"{where}: returned no samples")
    paired = isinstance(yielded[0], tuple)
    try:
        rows = np.stack([np.asarray(item[0] if paired else item) for item in yielded])
    except (ValueError, IndexError) as error:
        raise UsageError(f"{where}: its samples are not all of one shape: {error}") from error
    pool = Pool(where, len(rows), feeder.rows(rows, where))
    return with_targets(pool, [item[1] for item in yielded]) if paired else pool
