"""``edge-infer inspect``: what a model will cost on a device, from its file alone."""

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime.analysis.boards import THIS
from edge_runtime.analysis.compared import compare
from edge_runtime.analysis.document import document
from edge_runtime.analysis.inspection import Inspection, boards_that_fit, inspect_model
from edge_runtime.analysis.profile import Profile, load_profile, profile_names
from edge_runtime.cli.inspect_text import comparison, table
from edge_runtime.errors import UsageError

DESCRIPTION = "Operators, memory, predicted latency, Edge TPU mapping and verdict of a model, which is not run."
EXAMPLE = (
    "  edge-infer inspect model.tflite --device pi-4b-64 --fps 15 --memory-mb 256\n"
    "  edge-infer inspect model.tflite --fps 15                         # on which boards?\n"
    "  edge-infer inspect model.tflite --device pi-zero-2-w --html report.html\n"
    "  edge-infer inspect --compare a.tflite b.tflite --device pi-5"
)
REFUSED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the device, the budgets and the forms of output."""
    parser.add_argument(
        "model", nargs="?", type=Path, metavar="MODEL", help="a .tflite file, or a name of the store or the catalogue"
    )
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("A", "B"), help="two models side by side")
    parser.add_argument(
        "--device",
        metavar="NAME|FILE.toml",
        help=f"one of {', '.join(profile_names())}, or this: the machine here; default: all boards",
    )
    parser.add_argument(
        "--runtime", choices=("litert", "tflite-runtime"), default="litert",
        help="what will run it there (litert); tflite-runtime is for 32-bit systems",
    )  # fmt: skip
    parser.add_argument("--threads", type=at_least_1, metavar="N", help="default: all cores of the device")
    parser.add_argument("--fps", type=above_0, metavar="N", help="frames per second it must do")
    parser.add_argument("--memory-mb", type=above_0, metavar="N", help="MiB the program may take")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures of layers and memory")


def run(args: argparse.Namespace) -> int:
    """Inspect; status 3 when the model does not fit its budgets, where no device is named on none of the boards.

    Raises UsageError, ModelError.
    """
    if bool(args.model) == bool(args.compare):
        raise UsageError("give one MODEL, or --compare A B; see: edge-infer inspect --help")
    if args.compare:
        return _compare(args)
    args.model = _file(args.model)
    found = _inspect(args, args.model)
    result = document(found)
    if args.fps and args.device and found.verdict != "fits":
        result["boards_that_fit"] = boards_that_fit(
            args.model, runtime=args.runtime, threads=args.threads, fps=args.fps, memory_mb=args.memory_mb
        )
    if args.html:
        write_page(args.html, found, result, flag="--html")
    sys.stdout.write(_json(result) if args.json else table(result))
    return REFUSED if found.verdict == "does not fit" else 0


def _file(model: Path) -> Path:
    """Return the file of a path or of a name, which is fetched once. Raises UsageError, DownloadError."""
    if model.exists() or model.suffix == ".tflite" or len(model.parts) != 1:
        return model
    from edge_runtime.assemble import find_model
    from edge_runtime.config import Config, device_id
    from edge_runtime.store.state import state_path

    return find_model(str(model), state_path(device_id(Config())))


def _inspect(args: argparse.Namespace, path: Path) -> Any:
    correction, operators, threads = None, None, args.threads
    if args.device == THIS:
        from edge_runtime.cli.this_device import this_device

        here = this_device(path, threads=threads)
        profiles: tuple[Profile, ...] = (here.profile,)
        correction, operators, threads = here.correction, here.operators, here.threads
    else:
        profiles = tuple(load_profile(name) for name in ([args.device] if args.device else profile_names()))
    return inspect_model(
        path,
        profiles=profiles,
        runtime=args.runtime,
        threads=threads,
        fps=args.fps,
        memory_mb=args.memory_mb,
        correction=correction,
        operators=operators,
    )


def _json(result: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(result)).decode() + "\n"


def write_page(path: Path, found: Inspection, result: dict[str, Any], *, flag: str) -> None:
    """Write the page of an inspection and its document. Raises UsageError where that cannot be done."""
    from edge_runtime.analysis.page import render

    _write(path, render(found, result), flag=flag)


def _write(path: Path, page: str, *, flag: str) -> None:
    try:
        path.write_text(page, "utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; give {flag} a file that can be written") from error


def _compare(args: argparse.Namespace) -> int:
    found = [_inspect(args, _file(path)) for path in args.compare]
    results = [document(one) for one in found]
    rows = compare(*results)
    if args.html:
        from edge_runtime.analysis.page import render_comparison

        _write(args.html, render_comparison(found, results, rows), flag="--html")
    if args.json:
        sys.stdout.write(_json({"schema": 1, "models": results}))
    else:
        sys.stdout.write("\n".join(comparison(results, rows)) + "\n")
    return REFUSED if any(one.verdict == "does not fit" for one in found) else 0


def above_0(text: str) -> float:
    """Read a flag's number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def at_least_1(text: str) -> int:
    """Read a flag's number of threads."""
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of threads")
    return int(text)
