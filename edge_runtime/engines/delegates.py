"""Delegate libraries: loading one here, and trying one in a process of its own first.

A library that was built for another interpreter, or a device that is stuck, does not raise: it crashes or hangs the
process it is in. So an Edge TPU is tried in a child process with a deadline before it is used here.
"""

import contextlib
import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from edge_runtime.errors import DelegateError, UsageError
from edge_runtime.interpreter import NATIVE_ERRORS, Runtime, RuntimeName, one_line, quiet_native_output

log = logging.getLogger(__name__)

SYMBOLS: Final = ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate")
"""What makes a library a delegate (TensorFlow Lite, delegates/external/external_delegate_interface.h)."""
DEADLINE_S: Final = 30.0
"""For one trial. A Coral on USB takes its firmware at the first use and appears anew, which takes seconds."""
KILL_WAIT_S: Final = 2.0


def resolve_library(name: str) -> str:
    """Return the library that ``--delegate`` names: an absolute path, or a name that the loader searches.

    Raises UsageError for a path that is not there.
    """
    path = Path(name)
    if path.is_file():
        return str(path.resolve())
    if os.sep in name or not _loads(name):
        raise UsageError(f"--delegate {name}: no such library; give auto, cpu, edgetpu or the path of a delegate's .so")
    return name


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def load_delegate(library: str, runtime: Runtime) -> Any:
    """Load a delegate library and let it construct its delegate. Raises DelegateError.

    The symbols are looked up first: the interpreter's own loader reports a missing library or symbol a second time
    from a finalizer, where it can only be printed as a traceback.
    """
    try:
        with quiet_native_output():
            handle = ctypes.CDLL(library)
    except OSError as error:
        raise DelegateError(f"the delegate {library} does not load: {one_line(error)}") from error
    missing = [symbol for symbol in SYMBOLS if not hasattr(handle, symbol)]
    if missing:
        raise DelegateError(f"{library} is not a TFLite delegate: it has no {missing[0]}")
    try:
        with quiet_native_output():
            return runtime.module.load_delegate(library)
    except NATIVE_ERRORS as error:
        reason = one_line(error).removeprefix(f"Failed to load delegate from {library}").strip()
        raise DelegateError(f"the delegate {library} does not start: {reason or 'it gives no reason'}") from error


@dataclass(frozen=True, slots=True)
class Trial:
    """How a delegate did with one model in a process of its own."""

    outcome: Literal["works", "fails", "crashes", "hangs"]
    reason: str = ""
    """What went wrong; one line without the model's name."""
    invoke_ms: float | None = None
    """How long the one invoke took, the first included with all that it sets up."""


def try_delegate(model: str, library: str, *, runtime: RuntimeName = "auto", deadline_s: float = DEADLINE_S) -> Trial:
    """Construct an interpreter of ``model`` with the delegate in a child process, invoke once, and end it all.

    Blocks for at most a little more than ``deadline_s``. Raises nothing: whatever happens is the answer.
    """
    # -P: a file named like a module in the current directory must not be imported.
    command = [sys.executable, "-P", "-m", "edge_runtime.engines._trial_child", model, library, runtime]
    child = subprocess.Popen(
        [*command, str(deadline_s)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,  # Ctrl-C in the terminal is for this process, which ends the child by the deadline
    )
    try:
        output, errors = child.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        _end(child)
        return Trial("hangs", f"no answer within {deadline_s:g} s")
    for line in errors.decode("utf-8", "replace").splitlines():
        log.debug("delegate trial: %s", line)
    return _judge(child.returncode, output)


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.kill()
    for pipe in (child.stdout, child.stderr):
        assert pipe is not None
        pipe.close()
    # In an uninterruptible wait of a driver it cannot even be killed; Popen reaps it later.
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(KILL_WAIT_S)


def _judge(status: int, output: bytes) -> Trial:
    if status == -signal.SIGALRM:
        return Trial("hangs", "no answer before its own deadline")
    if status < 0:
        return Trial("crashes", f"it crashes ({signal.Signals(-status).name})")
    try:
        # The library may print to standard output as well; the answer is the last line.
        answer = json.loads(output.decode("utf-8", "replace").strip().rpartition("\n")[2])
        if "error" in answer:
            return Trial("fails", str(answer["error"]))
        took_ms = float(answer["invoke_ms"])
    except (ValueError, KeyError, TypeError):
        return Trial("crashes", f"it ends the process (status {status})")
    return Trial("works", invoke_ms=took_ms) if status == 0 else Trial("crashes", f"it ends with status {status}")
