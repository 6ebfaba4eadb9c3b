"""The parent's side of one child process with an engine in it: start it, invoke with a deadline, end it."""

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec
from numpy.typing import NDArray

from edge_runtime import errors
from edge_runtime.engines._isolated_dialogue import (
    DONE,
    INVOKE,
    LONGEST_BYTES,
    MEMORY,
    Done,
    Failed,
    Opened,
    Opening,
    SharedTensors,
    create_memory,
    decode_answer,
    encode,
)
from edge_runtime.errors import EdgeRuntimeError, EngineError
from edge_runtime.types import TensorSpec

log = logging.getLogger(__name__)

KILL_WAIT_S: Final = 2.0
OUTPUT_BYTES: Final = 65536
"""Read at once of what native code prints; also what a pipe holds."""


class EngineProcess:
    """One child process. Used by one thread at a time; ``start`` once, ``stop`` whatever happened."""

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self.inputs: tuple[TensorSpec, ...] = ()
        self.outputs: tuple[TensorSpec, ...] = ()
        self.runtime = ""
        self._child: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._output = -1
        self._poll = select.poll()
        self._tensors: SharedTensors | None = None

    @property
    def pid(self) -> int | None:
        """Return the child's process number while there is one."""
        return None if self._child is None else self._child.pid

    def start(self) -> None:
        """Start the child and tell it what to open; does not wait for it. Raises EngineError."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._output, printed = os.pipe()
        os.set_blocking(self._output, False)
        os.set_blocking(printed, False)  # native code that prints without end loses lines and does not stop
        try:
            # -P: a file named like a module in the current directory must not be imported.
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "edge_runtime.engines._isolated_child", str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=printed,
                stderr=printed,
                bufsize=0,
                pass_fds=(theirs.fileno(),),
                process_group=0,  # Ctrl-C in the terminal is for the parent, which ends the child in its own order
            )
        except OSError as error:
            raise EngineError(f"the engine's process cannot be started: {error.strerror}") from error
        finally:
            theirs.close()
            os.close(printed)
        self._poll.register(self._control, select.POLLIN)
        self._poll.register(self._output, select.POLLIN)
        self._send(encode(self.opening))

    def opened(self, timeout_s: float) -> bool:
        """Return whether the child has opened its engine and invoked it once; wait for at most ``timeout_s``.

        Raises what opening raised in the child (ModelError, DelegateError, UsageError), EngineError when it died.
        """
        if self._tensors is not None:
            return True
        answer = self._receive(timeout_s)
        if answer is None:
            return False
        if not isinstance(answer, Opened):
            raise self._confused()
        try:
            self.inputs = tuple(tensor.spec() for tensor in answer.inputs)
            self.outputs = tuple(tensor.spec() for tensor in answer.outputs)
            descriptor = create_memory(self.inputs, self.outputs)
        except (OSError, TypeError) as error:
            raise EngineError(f"there is no shared memory for the tensors: {error}") from error
        self.runtime = answer.runtime
        self._tensors = SharedTensors(descriptor, self.inputs, self.outputs)
        assert self._control is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died: the next answer says so
            socket.send_fds(self._control, [MEMORY], [descriptor])
        return True

    def invoke(self, inputs: Sequence[NDArray[Any]], *, timeout_s: float) -> tuple[NDArray[Any], ...]:
        """Run the model once and return copies of its outputs; ``inputs`` are as ``self.inputs`` says.

        Raises EngineError for a failed invoke, a child that died, and one that does not answer in time; after any of
        them the child is of no use any more.
        """
        assert self._tensors is not None
        self._tensors.write(inputs)
        self._send(INVOKE)
        answer = self._receive(timeout_s)
        if answer is None:
            raise EngineError(f"invoke hangs on {self.opening.delegate}: no answer within {timeout_s:g} s")
        if not isinstance(answer, Done):
            raise self._confused()
        try:
            return self._tensors.read(answer.shapes)
        except ValueError as error:
            raise self._confused() from error

    def kill(self) -> None:
        """Kill the child and leave the rest to ``stop``; from any thread."""
        child = self._child
        if child is not None:
            child.kill()  # Popen does not signal a process that it has reaped

    def stop(self) -> None:
        """Kill the child, reap it and release everything; may be called twice."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()  # also ends one that is stopped or stuck in native code; it has nothing to put in order
            assert child.stdin is not None
            child.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(KILL_WAIT_S)  # in an uninterruptible wait of a driver it stays; Popen reaps it later
        if self._output >= 0:
            self._log_output()
            os.close(self._output)
            self._output = -1
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._tensors is not None:
            self._tensors.close()
            self._tensors = None

    def _send(self, packet: bytes) -> None:
        assert self._control is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died: the next answer says so
            self._control.send(packet)

    def _receive(self, timeout_s: float) -> Opened | Done | None:
        """Return the child's next answer, None when there is none in time. Raises what it says, EngineError."""
        assert self._control is not None
        deadline_s = time.monotonic() + timeout_s
        while True:
            ready = dict(self._poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000))
            if self._output in ready:
                self._log_output()
            if self._control.fileno() in ready:
                return self._answer(self._control)
            if time.monotonic() >= deadline_s:
                return None

    def _answer(self, control: socket.socket) -> Opened | Done:
        try:
            packet = control.recv(LONGEST_BYTES)
        except ConnectionResetError:
            packet = b""
        if packet == DONE:
            return Done()
        if not packet:
            raise EngineError(self._obituary())
        try:
            answer = decode_answer(packet)
        except msgspec.DecodeError as error:
            raise self._confused() from error
        if isinstance(answer, Failed):
            raise _error(answer)
        return cast("Opened | Done", answer)

    def _log_output(self) -> None:
        """Move what the child printed to the debug log."""
        try:
            printed = os.read(self._output, OUTPUT_BYTES)
        except BlockingIOError:
            return
        if not printed:
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._output)
        for line in printed.decode("utf-8", "replace").splitlines():
            log.debug("engine: %s", line)

    def _confused(self) -> EngineError:
        return EngineError(f"the engine's process on {self.opening.delegate} answers what cannot be understood")

    def _obituary(self) -> str:
        assert self._child is not None
        died = f"the engine's process on {self.opening.delegate}"
        try:
            status = self._child.wait(KILL_WAIT_S)
        except subprocess.TimeoutExpired:
            return f"{died} hangs while it ends"
        if status >= 0:
            return f"{died} ended with status {status}"
        what = "was killed" if -status == signal.SIGKILL else "crashed"
        return f"{died} {what} ({signal.Signals(-status).name})"


def _error(failed: Failed) -> EdgeRuntimeError:
    kind: Any = getattr(errors, failed.kind, None)
    if isinstance(kind, type) and issubclass(kind, EdgeRuntimeError):
        return kind(failed.message)
    return EngineError(failed.message)
