"""Trying a model in a process of its own, with a delegate or without, before it is used here.

A delegate library that was built for another interpreter, or a device that is stuck, does not raise: it crashes or
hangs the process it is in. An interpreter built for another processor does the same.
"""

import contextlib
import json
import logging
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Final, Literal

from edge_runtime.engines._memory_ceiling import half_of_memory_bytes
from edge_runtime.interpreter import RuntimeName

log = logging.getLogger(__name__)

DEADLINE_S: Final = 30.0
"""For one trial. A Coral on USB takes its firmware at the first use and appears anew, which takes seconds."""
KILL_WAIT_S: Final = 2.0
_OUT_OF_MEMORY: Final = (signal.SIGABRT, signal.SIGKILL)
"""What C++ code does when there is no more, and what the kernel does."""
_NO_REASON: Final = ("RuntimeError", "MemoryError")
"""LiteRT gives none when it cannot allocate its tensors."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How a model did in a process of its own."""

    outcome: Literal["works", "fails", "crashes", "hangs"]
    reason: str = ""
    """What went wrong; one line without the model's name."""
    invoke_ms: float | None = None
    """How long the one invoke took, the first included with all that it sets up."""


def try_model(
    model: str,
    *,
    library: str | None = None,
    runtime: RuntimeName = "auto",
    deadline_s: float = DEADLINE_S,
    allocate_bytes: int | None = None,
) -> Trial:
    """Construct an interpreter of ``model`` in a child process, invoke once on zeros, and release it all.

    ``library`` is a delegate's; None is the CPU. ``allocate_bytes`` is what the child may allocate, None for half of
    the machine's memory. Blocks for at most a little more than ``deadline_s``. Raises nothing: whatever happens is the
    answer.
    """
    limit_bytes = allocate_bytes or half_of_memory_bytes()
    # -P: a file named like a module in the current directory must not be imported.
    command = [sys.executable, "-P", "-m", "edge_runtime.engines._trial_child", model, library or "", runtime]
    try:
        child = subprocess.Popen(
            [*command, str(deadline_s), str(limit_bytes)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,  # Ctrl-C in the terminal is for this process, which ends the child by the deadline
        )
    except OSError as error:
        return Trial("fails", f"no process can be started: {error.strerror}")
    try:
        output, errors = child.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        _end(child)
        return Trial("hangs", f"no answer within {deadline_s:g} s")
    for line in errors.decode("utf-8", "replace").splitlines():
        log.debug("trial: %s", line)
    return _judge(child.returncode, output, limit_bytes=limit_bytes)


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.kill()
    for pipe in (child.stdout, child.stderr):
        assert pipe is not None
        pipe.close()
    # In an uninterruptible wait of a driver it cannot even be killed; Popen reaps it later.
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(KILL_WAIT_S)


def _judge(status: int, output: bytes, *, limit_bytes: int) -> Trial:
    memory = f"it may have needed more than the {limit_bytes >> 20} MiB that it may allocate"
    if status == -signal.SIGALRM:
        return Trial("hangs", "no answer before its own deadline")
    if status < 0:
        doubt = f"; {memory}" if -status in _OUT_OF_MEMORY else ""
        return Trial("crashes", f"it crashes ({signal.Signals(-status).name}){doubt}")
    try:
        # The library may print to standard output as well; the answer is the last line.
        answer = json.loads(output.decode("utf-8", "replace").strip().rpartition("\n")[2])
        if "error" in answer:
            reason = str(answer["error"])
            return Trial("fails", f"{reason}; {memory}" if reason.endswith(_NO_REASON) else reason)
        took_ms = float(answer["invoke_ms"])
    except (ValueError, KeyError, TypeError):
        return Trial("crashes", f"it ends the process (status {status})")
    return Trial("works", invoke_ms=took_ms) if status == 0 else Trial("crashes", f"it ends with status {status}")
