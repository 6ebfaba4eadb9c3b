"""The artifact in tflite-runtime 2.14 as well, which Coral set-ups and 32-bit systems are tied to.

It exists for Python 3.11 at most and with numpy 1, so it runs in an environment of its own.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from converters.arrays import Array, read_array
from converters.gate import Verdict
from edge_runtime.errors import ModelError, UsageError

VARIABLE: Final = "EDGE_TFLITE_PYTHON"
_BESIDE: Final = ".venv-tflite/bin/python"
_HOW: Final = (
    "make an environment for it: python3.11 -m venv .venv-tflite && .venv-tflite/bin/pip install tflite-runtime "
    f"'numpy<2', here or anywhere with {VARIABLE}=.../bin/python"
)
_LONGEST_S: Final = 1800
_SCRIPT: Final = Path(__file__).with_name("steps") / "run_in_tflite_runtime.py"


@dataclass(frozen=True, slots=True)
class OlderRuntime:
    """What the artifact does in tflite-runtime, against the float source over the same samples."""

    runtime: str
    """Its name and version."""
    verdict: Verdict


def find_python() -> Path:
    """Return the interpreter of an environment with tflite-runtime. Raises UsageError that says how to make one."""
    named = os.environ.get(VARIABLE)
    roots = (Path(), *Path(__file__).resolve().parents[1:2])
    candidates = [Path(named)] if named else [root / _BESIDE for root in roots]
    for python in candidates:
        if python.is_file():
            return _with_runtime(python)
    where = f"{VARIABLE}={named}: no such file" if named else "--runtime tflite-runtime: no environment has it"
    raise UsageError(f"{where}; {_HOW}")


def _with_runtime(python: Path) -> Path:
    """Return the interpreter if it can make one of tflite-runtime's; numpy 2 shows only there. Raises UsageError."""
    check = "import numpy, tflite_runtime.interpreter as t; assert numpy.__version__ < '2', 'numpy 2'"
    done = subprocess.run([python, "-c", check], capture_output=True, text=True, timeout=_LONGEST_S, check=False)
    if done.returncode:
        raise UsageError(f"{python}: {(done.stderr.strip().splitlines() or ['it fails'])[-1]}; {_HOW}")
    return python


def run(python: Path, model: Path, samples: Path, folder: Path, *, outputs: int) -> tuple[str, list[Array]]:
    """Return the runtime's name and version and the outputs, dequantised. Raises ModelError where it refuses."""
    command = [python, _SCRIPT, model, samples, folder]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"tflite-runtime was not done with the model after {_LONGEST_S} s") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise ModelError(f"tflite-runtime does not run it: {said}")
    return done.stdout.strip(), [read_array(folder / f"older{number}.npy") for number in range(outputs)]
