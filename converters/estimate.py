"""``edge-convert MODEL --estimate``: what an architecture will cost on a board, before anybody trains it.

The architecture is converted as it is, with the weights it happens to have and calibrated with random numbers, in child
processes and a temporary folder; what comes out is inspected and thrown away. Counts, memory and time do not depend on
the values of weights.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from converters.child import Child
from converters.options import CALIBRATED, RANDOM, InputShape, Options, Scheme
from converters.progress import Progress, silent
from converters.sample_pool import sample_shape
from converters.source_check import convert_source
from converters.source_kind import source_kind
from edge_runtime.analysis.document import document
from edge_runtime.analysis.inspection import Inspection, boards_that_fit, inspect_model
from edge_runtime.analysis.profile import load_profile, profile_names
from edge_runtime.cli.inspect import REFUSED, above_0, at_least_1, write_page
from edge_runtime.cli.inspect_text import table
from edge_runtime.errors import UsageError

_SAMPLES: Final = 2
_ONLY_WITH: Final = ("device", "fps", "memory_mb", "threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked of an architecture; without a device every board is looked at."""

    source: Path
    quantize: Scheme = "int8"
    input_shape: InputShape = None
    device: str | None = None
    threads: int | None = None
    fps: float | None = None
    memory_mb: float | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of an estimate."""
    add = parser.add_argument_group("estimate").add_argument
    add("--estimate", action="store_true", help="say what MODEL will cost on a board, trained or not; writes no model")
    add("--device", metavar="NAME|FILE.toml", help="the board, see edge-infer inspect --help; default: all of them")
    add("--fps", type=above_0, metavar="N", help="frames per second it must do")
    add("--memory-mb", type=above_0, metavar="N", help="MiB the program may take")
    add("--threads", type=at_least_1, metavar="N", help="default: all cores of the board")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came out; ``result`` is the inspection's document."""

    found: Inspection
    result: dict[str, Any]

    def show(self, args: argparse.Namespace) -> int:
        """Print it, write the page that was asked for, and return the status: 3 when it does not fit."""
        if args.report:
            write_page(args.report, self.found, self.result, flag="--report")
        sys.stdout.write(msgspec.json.encode(self.result).decode() + "\n" if args.json else table(self.result))
        return REFUSED if self.found.verdict == "does not fit" else 0


def answer(args: argparse.Namespace, *, input_shape: InputShape, progress: Progress) -> Answer:
    """Estimate what the flags ask for. ``progress`` hears of each step. Raises EdgeRuntimeError."""
    wanted = Wanted(
        source=Path(args.model),
        quantize=args.quantize,
        input_shape=input_shape,
        device=args.device,
        threads=args.threads,
        fps=args.fps,
        memory_mb=args.memory_mb,
    )
    return Answer(*estimate(wanted, progress=progress))


def refuse_without(args: argparse.Namespace) -> None:
    """Refuse flags that mean nothing in a conversion. Raises UsageError."""
    given = [name for name in _ONLY_WITH if getattr(args, name) is not None]
    if given:
        raise UsageError(f"--{given[0].replace('_', '-')} belongs to --estimate")


def estimate(wanted: Wanted, *, progress: Progress = silent) -> tuple[Inspection, dict[str, Any]]:
    """Return the inspection of what an architecture becomes, and its document.

    Raises UsageError for wrong input or an unknown device, ModelError for what cannot be converted.
    """
    profiles = tuple(load_profile(name) for name in ([wanted.device] if wanted.device else profile_names()))
    with tempfile.TemporaryDirectory(prefix="edge-estimate-") as name:
        path = _converted(wanted, Path(name), progress)
        progress("estimating")
        budgets: dict[str, Any] = {"threads": wanted.threads, "fps": wanted.fps, "memory_mb": wanted.memory_mb}
        found = inspect_model(path, profiles=profiles, **budgets)
        result = document(found)
        if wanted.fps and wanted.device and found.verdict != "fits":
            result["boards_that_fit"] = boards_that_fit(path, **budgets)
    result["model"] |= {"path": str(wanted.source), "sha256": None}
    result["use"] |= {
        "name": wanted.source.stem,
        "inferred": [f"an estimate: --quantize {wanted.quantize}"],
        "error": None,
    }
    result["estimate"] = {"source": str(wanted.source), "quantize": wanted.quantize}
    return found, result


def _converted(wanted: Wanted, folder: Path, progress: Progress) -> Path:
    source = wanted.source
    if source.suffix == ".json" and source.is_file():
        progress("building the architecture")
        with Child("keras_architecture", folder=folder, title="build the architecture") as child:
            child.call("build", source=str(source), output=str(folder / "built.keras"))
        source = folder / "built.keras"
    options = Options(
        source=source,
        output=folder / "artifact.tflite",
        quantize=wanted.quantize,
        calibration=RANDOM,
        input_shape=wanted.input_shape,
    )
    kind = source_kind(source)
    progress(f"converting to float ({kind})")
    with convert_source(options, kind=kind, folder=folder) as model:
        path, shape = model.path, model.file.tensors[model.file.inputs[0]].shape
    if wanted.quantize == "none":
        return path
    progress(f"quantising ({wanted.quantize})")
    samples = None
    if wanted.quantize in CALIBRATED:
        samples = str(folder / "random.npy")
        np.save(samples, np.random.default_rng(1).standard_normal((_SAMPLES, *sample_shape(shape))).astype(np.float32))
    with Child("quantizer", folder=folder, title="quantise") as child:
        child.call("quantize", source=str(path), output=str(options.output), scheme=wanted.quantize, samples=samples)
    return options.output
