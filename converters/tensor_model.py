"""Models that are fed tensors as they are: several inputs, or one that is neither a picture nor a window of samples.

Their inputs are float32 in the source's own layout. A sample of such a model is one row of numbers: its inputs one
after the other in the source's order, each flattened, so that a sample is one array whatever the model takes.
"""

import math
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from converters.arrays import Array, split_sample
from converters.artifact import statistics
from converters.options import RANDOM, Options, SampleSource
from converters.sample_pool import Feeder, Pool
from edge_runtime.errors import UsageError
from edge_runtime.manifest import resolve
from edge_runtime.manifest_file import Manifest, read_embedded
from edge_runtime.model_file import ModelFile, read_model
from edge_runtime.model_input import tensor_spec
from edge_runtime.types import ImageInput, ModelIdentity, ModelSpec, TensorSpec, WindowInput

_RANDOM_COUNT: Final = 200
_TAKES: Final = "a model that is fed tensors takes samples from .npz (an array per input), .npy or random"


def fed_as_tensors(shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether the device has no source that could feed such inputs: several of them, or a batch."""
    return len(shapes) != 1 or not shapes[0] or (len(shapes[0]) > 1 and shapes[0][0] != 1)


def describe_tensors(options: Options, model: ModelFile) -> ModelSpec:
    """Return what is known of such a model. Raises UsageError for flags that mean pictures or windows."""
    inputs = tuple(tensor_spec(model.path, model.tensors[index]) for index in model.inputs)
    said = (options.mean, options.std) not in {(None, None), ((0.0,), (1.0,))}
    flags = ("color", "resize", "layout", "window", "sample_rate_hz", "labels")
    given = [f"--{name.replace('_', '-')}" for name in flags if getattr(options, name) is not None]
    given += ["--mean and --std"] if said else []
    if given:
        shapes = ", ".join(f"{one.name} {list(one.shape)}" for one in inputs)
        raise UsageError(f"{' '.join(given)}: the model is fed tensors as they are ({shapes}); leave it out")
    return ModelSpec(
        path=model.path,
        identity=ModelIdentity(options.name or options.source.stem, options.version, model.sha256),
        task=options.task or "raw",
        labels=None,
        inputs=inputs,
        outputs=tuple(tensor_spec(model.path, model.tensors[index]) for index in model.outputs),
        input=WindowInput(length=sum(math.prod(one.shape) for one in inputs), channels=1),
    )


class TensorFeeder:
    """Opens samples of a model that is fed tensors."""

    is_picture = False

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def open(self, where: SampleSource) -> Pool:
        """Return the samples at ``where``. Raises UsageError for what is missing or does not fit."""
        if where == RANDOM:
            return random_tensors(self.spec, _RANDOM_COUNT)
        path = Path(where) if isinstance(where, str | Path) else None
        if path is None or path.suffix.lower() not in {".npy", ".npz"}:
            raise UsageError(f"{where}: {_TAKES}")
        arrays = _loaded(path, [one.name for one in self.spec.inputs])
        columns = [_fitted(one, arrays[one.name], str(path)) for one in self.spec.inputs]
        counts = {len(column) for column in columns}
        if len(counts) != 1:
            raise UsageError(f"{path}: its arrays have {sorted(counts)} samples; give as many for every input")
        return Pool(str(path), counts.pop(), lambda index: np.concatenate([column[index] for column in columns]))


def feeder(spec: ModelSpec) -> Feeder | TensorFeeder:
    """Return what turns samples into the model's inputs."""
    return TensorFeeder(spec) if _is_fed_as_tensors(spec) else Feeder(spec)


def input_statistics(spec: ModelSpec, samples: Array) -> list[dict[str, Any]]:
    """Return what is kept of each input over the calibration samples, to tell drift later."""
    if len(spec.inputs) == 1:
        return [statistics(spec.inputs[0].name, samples)]
    rows = [split_sample(row, [one.shape for one in spec.inputs]) for row in samples]
    columns = zip(spec.inputs, zip(*rows, strict=True), strict=True)
    return [statistics(one.name, np.stack(column)) for one, column in columns]


def reads_back(trial: Path, spec: ModelSpec, manifest: Manifest) -> bool:
    """Whether the device finds in an artifact what was written into it."""
    if _is_fed_as_tensors(spec):  # the device describes such a model and does not feed it
        return msgspec.json.encode(read_embedded(read_model(trial))) == msgspec.json.encode(manifest)
    opened = resolve(trial).input
    if isinstance(opened, ImageInput) and isinstance(spec.input, ImageInput):
        opened = replace(opened, raw=spec.input.raw)  # which the tensor's type decides, and not the description
    return opened == spec.input


def _is_fed_as_tensors(spec: ModelSpec) -> bool:
    return fed_as_tensors([one.shape for one in spec.inputs])


def random_tensors(spec: ModelSpec, count: int) -> Pool:
    """Return random samples, the same every time.

    Every second sample is drawn from the standard normal distribution, the others evenly from 0.05..0.95 and from
    1.05..4, so that functions that are defined on a part of the numbers only are seen there too.
    """
    generator = np.random.default_rng(0)
    size = sum(math.prod(one.shape) for one in spec.inputs)
    rows = generator.standard_normal((count, size)).astype(np.float32)
    rows[1::4] = generator.uniform(0.05, 0.95, rows[1::4].shape)
    rows[3::4] = generator.uniform(1.05, 4.0, rows[3::4].shape)
    return Pool("random inputs", count, lambda index: rows[index])


def _loaded(path: Path, names: list[str]) -> dict[str, Array]:
    try:
        loaded = np.load(path, allow_pickle=False)
        found = {"x": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} cannot be read as arrays: {str(error).partition(chr(10))[0]}") from error
    if len(names) == 1 and names[0] not in found and "x" in found:
        found[names[0]] = found["x"]
    missing = [name for name in names if name not in found]
    if missing:
        raise UsageError(
            f"{path}: no array for {', '.join(missing)}; give an .npz with one array per input: {', '.join(names)}"
        )
    return found


def _fitted(one: TensorSpec, rows: Array, where: str) -> Array:
    """Return the samples of an input as (n, values). The first axis counts samples; a batch of 1 may be left out."""
    size = math.prod(one.shape)
    wanted = {tuple(one.shape), tuple(one.shape[1:]) if one.shape[:1] == (1,) else tuple(one.shape)}
    if not rows.ndim or rows.shape[1:] not in wanted or not len(rows):
        raise UsageError(
            f"{where}: {one.name} has the shape {list(rows.shape)}; wanted are samples, then {list(one.shape)}"
        )
    if rows.dtype.kind not in "fiu":
        raise UsageError(f"{where}: {one.name} holds {rows.dtype}; numbers are wanted")
    return rows.reshape(len(rows), size).astype(np.float32)
