"""``edge-infer bench --calibrate``: measure this device, and write its profile."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_runtime.errors import StoreError, UsageError

if TYPE_CHECKING:
    from edge_runtime.analysis.calibrated import Calibration

LEAST_SECONDS: Final = 5.0
MOST_THREADS: Final = 4


def run(state: Path, *, output: str | None, seconds: float, threads: str | None, as_json: bool) -> int:
    """Measure for at most ``seconds`` and write the profile to ``output``, or into the state directory.

    Raises UsageError for what cannot be asked, EngineError when nothing runs here, StoreError when it is not written.
    """
    from edge_runtime.analysis.calibration.profile_text import clock_mhz, memory_mb, profile_text
    from edge_runtime.analysis.profile import THIS_DEVICE

    if seconds < LEAST_SECONDS:
        raise UsageError(f"--seconds {seconds:g}: a calibration needs at least {LEAST_SECONDS:g}; 60 are best")
    target = Path(output) if output else state / THIS_DEVICE
    _refuse_unwritable(target, made=output is None)
    calibration = measure(_counts(threads), seconds=seconds, quiet=as_json)
    cores = len(os.sched_getaffinity(0))
    text = profile_text(calibration, cores=cores, memory_mb=memory_mb(), clock_mhz=clock_mhz())
    _write(target, text)
    found = document(calibration, target)
    sys.stdout.write(json.dumps(found) + "\n" if as_json else report(found))
    return 0


def measure(threads: list[int], *, seconds: float, quiet: bool) -> "Calibration":
    """Return what was measured, with a progress bar on a terminal. Raises EngineError, UsageError."""
    from tqdm import tqdm

    from edge_runtime.analysis.calibration.calibrate import calibrate, steps
    from edge_runtime.bench import machine
    from edge_runtime.interpreter import load_runtime

    bar = tqdm(total=steps(), unit=" models", disable=quiet or not sys.stderr.isatty(), file=sys.stderr)

    def progress(what: str, done: int) -> None:
        bar.set_description(what, refresh=False)
        bar.update(done)

    with bar:
        return calibrate(load_runtime(), threads=threads, seconds=seconds, machine=machine(), progress=progress)


def document(calibration: "Calibration", target: Path) -> dict[str, Any]:
    """Return what a calibration found, without its points, ready for JSON."""
    return {
        "schema": 1,
        "profile": str(target),
        "date": calibration.date,
        "machine": calibration.machine,
        "system": calibration.system,
        "runtime": calibration.runtime,
        "seconds": calibration.seconds,
        "noise": calibration.noise,
        "kernels": len(calibration.kernels),
        "operators": sum(len(table.points.splitlines()) for table in calibration.kernels),
        "contexts": [
            {
                "threads": one.threads,
                "call_us": one.call_us,
                "per_operator_us": one.per_operator_us,
                "cold_us_per_mb": one.cold_us_per_mb,
                "far_us_per_mb": one.far_us_per_mb,
                "handed_us_per_mb": one.handed_us_per_mb,
                "shared_us": one.shared_us,
                "wake_us": one.wake_us,
                "cold_once_us_per_mb": one.cold_once_us_per_mb,
                "error": one.error,
            }
            for one in calibration.contexts
        ],
    }


def report(found: dict[str, Any]) -> str:
    """Return the document as lines for a person."""
    lines = [
        f"{found['machine']}, {found['system']}, {found['runtime']}",
        f"{found['operators']} operators of {found['kernels']} kernels in {found['seconds']:.0f} s",
        f"those timed twice are {found['noise']:.1%} apart (median)"
        if found["noise"]
        else "there was time to time each once",
    ]
    lines += [
        f"{one['threads']} threads: made-up networks are predicted within {one['error']:.0%} (standard deviation)"
        for one in found["contexts"]
    ]
    lines += [f"written to {found['profile']}", f"use it: edge-infer inspect MODEL --device {found['profile']}"]
    return "\n".join(lines) + "\n"


def _counts(threads: str | None) -> list[int]:
    """Return the numbers of threads to measure: one and all cores, or what was asked for, such as ``1,2``."""
    if threads is None or threads == "auto":
        most = min(MOST_THREADS, len(os.sched_getaffinity(0)))
        return [1, most] if most > 1 else [1]
    words = threads.split(",")
    if not all(word.isdecimal() and 1 <= int(word) <= 64 for word in words):
        raise UsageError(f"--threads {threads}: give numbers of threads to calibrate, such as 1,4")
    return sorted({1, *(int(word) for word in words)})


def _refuse_unwritable(target: Path, *, made: bool) -> None:
    """Say before a minute is spent that the file cannot be written there."""
    try:
        if made:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{target.parent} cannot be made: {error.strerror}; give -o FILE.toml") from error
    if target.is_dir() or not target.parent.is_dir() or not os.access(target.parent, os.W_OK):
        raise UsageError(f"{target} cannot be written; give -o FILE.toml in a folder that can")


def _write(target: Path, text: str) -> None:
    from edge_runtime.store.atomic import replace_file

    try:
        replace_file(target, text.encode())
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}; give -o FILE.toml elsewhere") from error
