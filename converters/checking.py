"""``edge-convert --check``: the float model's answer and the artifact's to the same pictures, side by side."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.arrays import Array
from converters.comparison import arranged, compare
from converters.litert import LiteRt
from converters.options import Options
from converters.progress import Progress, silent
from converters.provenance import source_sha256
from converters.sample_pool import Feeder, Pool, draw
from converters.source_check import convert_source
from converters.source_kind import source_kind
from edge_runtime.errors import BadFrameError, UsageError
from edge_runtime.manifest import resolve
from edge_runtime.sources.images import picture_paths
from edge_runtime.types import ModelSpec

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Answers:
    """The values of one output of both models, the best first where they are class scores."""

    picture: str
    names: tuple[str, ...]
    source: tuple[float, ...]
    artifact: tuple[float, ...]
    sqnr_db: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        rows = [
            {"name": name, "float": wanted, "artifact": got}
            for name, wanted, got in zip(self.names, self.source, self.artifact, strict=True)
        ]
        return {"picture": self.picture, "sqnr_db": self.sqnr_db, "values": rows}

    def table(self) -> str:
        """Return lines for the terminal."""
        width = max(len(name) for name in self.names)
        lines = [f"{self.picture} ({self.sqnr_db:.1f} dB)", f"  {'':{width}}  {'float':>10}  {'artifact':>10}"]
        rows = zip(self.names, self.source, self.artifact, strict=True)
        return "\n".join([*lines, *(f"  {name:{width}}  {wanted:10.4f}  {got:10.4f}" for name, wanted, got in rows)])


def check_pictures(
    model: Path, pictures: Sequence[Path], *, source: Path | None, progress: Progress = silent
) -> list[Answers]:
    """Run pictures, or those of folders in name order, through the artifact and through its source.

    Without ``source`` it is looked for beside the artifact and in the current folder, by the name and digest that the
    artifact's manifest gives. Raises UsageError, ModelError.
    """
    missing = [str(picture) for picture in pictures if not Path(picture).exists()]
    if missing:
        raise UsageError(f"--check: there is no picture {missing[0]}")
    spec = resolve(model)
    feeder = Feeder(spec)
    found = source or _find_source(spec, model)
    paths = [Path(path) for picture in pictures for path in picture_paths(str(picture))]
    shape = _source_shape(spec)
    options = Options(source=found, output=Path("unwritten.tflite"), quantize="none", input_shape=shape)
    with tempfile.TemporaryDirectory(prefix="edge-convert-") as name:
        folder = Path(name)
        pool = Pool("--check", len(paths), lambda index: _fed(feeder, paths[index]))
        samples = draw(pool, range(len(paths)), folder / "checked.npy")
        progress("running the source")
        with LiteRt(folder) as litert:
            with convert_source(options, kind=source_kind(found), folder=folder) as float_model:
                turned = float_model.check(samples, litert=litert)
                wanted = arranged(float_model.outputs, turned)[0]
            progress("running the artifact in LiteRT")
            got = np.array(litert.run(model, samples.path, stem="artifact").outputs[0])
    rows = zip(paths, wanted, got, strict=True)
    return [_answers(path, spec, before.reshape(-1), after.reshape(-1)) for path, before, after in rows]


def _source_shape(spec: ModelSpec) -> tuple[int, ...] | None:
    """Return the input's shape in the source's layout, for a source whose shape is open; None when nobody wrote it."""
    axes = ((spec.provenance or {}).get("layout") or {}).get("input")
    shape = spec.inputs[0].shape
    if not isinstance(axes, list) or sorted(axes) != list(range(len(shape))):
        return None
    return tuple(shape[axes.index(axis)] for axis in range(len(shape)))


def _fed(feeder: Feeder, picture: Path) -> Array:
    try:
        return feeder.picture_file(picture)
    except BadFrameError as error:
        raise UsageError(f"--check: {error}") from error


def _find_source(spec: ModelSpec, model: Path) -> Path:
    provenance = spec.provenance or {}
    if "source" not in provenance:
        raise UsageError(f"{model} does not say which float model it was made from; name it with --source MODEL")
    name, digest = provenance.get("source"), provenance.get("source_sha256")
    if isinstance(name, str):
        for folder in (model.parent, Path()):
            candidate = folder / Path(name).name
            if candidate.exists() and source_sha256(candidate) == digest:
                return candidate
    raise UsageError(f"{model}: its float model {name or ''} is not here; name it with --source MODEL")


def _answers(picture: Path, spec: ModelSpec, wanted: Array, got: Array) -> Answers:
    if spec.task in {"classify", "audio"}:
        order = np.argsort(-np.maximum(wanted, got))[:_SHOWN]
        order = order[np.argsort(-wanted[order], kind="stable")]
    else:
        order = np.arange(min(len(wanted), _SHOWN))
    labels = spec.labels or ()
    names = tuple(labels[index] if index < len(labels) else f"{spec.outputs[0].name}[{index}]" for index in order)
    difference = compare(spec.outputs[0].name, wanted, got)
    values = [tuple(float(row[index]) for index in order) for row in (wanted, got)]
    return Answers(str(picture), names, values[0], values[1], difference.sqnr_db)
