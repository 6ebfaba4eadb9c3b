"""The parent's side of the video decoder's process: start it, ask it, wait with a deadline, kill it."""

import json
import mmap
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import SourceError, SourceUnavailableError

KILL_WAIT_S: Final = 2.0


class VideoProcess:
    """A child process that decodes one video; see ``_video_child`` for the dialogue. Used from one thread.

    Not a fork of this process (which has threads) and not an import of its main module: a fresh interpreter.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._memory = -1
        self._map: mmap.mmap | None = None
        self._buffer = b""

    def start(self, options: dict[str, Any]) -> None:
        """Start the process and give it ``options``. Raises SourceUnavailableError when it cannot be started."""
        self.stop()
        self._memory = os.memfd_create("edge-infer-video")
        try:
            # -P: a file named like a module in the current directory must not be imported.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "edge_runtime.sources._video_child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                pass_fds=(self._memory,),
                process_group=0,  # Ctrl-C in the terminal is for the parent, which stops the child in its own order
            )
        except OSError as error:
            raise SourceUnavailableError(f"the video decoder's process cannot be started: {error.strerror}") from error
        self._write(json.dumps(options | {"memory": self._memory}).encode() + b"\n")

    def ask(self) -> None:
        """Ask for the next picture; one answer will come. The one before must have been copied."""
        self._write(b"n")

    def answer(self, timeout_s: float) -> dict[str, Any] | None:
        """Return the next line of the child, None when there is none within ``timeout_s``.

        Raises SourceError when the process has died.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        deadline_s = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            if not poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000):
                return None
            part = os.read(descriptor, 65536)
            if not part:
                raise SourceError(self._obituary())
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def picture(self, answer: dict[str, Any]) -> NDArray[np.uint8]:
        """Copy the picture an answer speaks of out of the shared memory, in the shape it says."""
        shape = tuple(answer["shape"])
        size_bytes = int(np.prod(shape))
        if self._map is None or len(self._map) < size_bytes:
            self._map = mmap.mmap(self._memory, os.fstat(self._memory).st_size, prot=mmap.PROT_READ)
        return np.frombuffer(self._map, np.uint8, size_bytes).reshape(shape).copy()

    def stop(self) -> None:
        """Kill the process, reap it and release everything; may be called twice."""
        self._map = None
        self._buffer = b""
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()  # also ends one that is stopped or stuck in native code; it has nothing to put in order
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            process.wait(KILL_WAIT_S)
        except subprocess.TimeoutExpired:
            return  # in an uninterruptible wait of the kernel; Popen reaps it later

    def _write(self, data: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
        except BrokenPipeError:
            return  # it has died: the next answer says so

    def _obituary(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(KILL_WAIT_S)
        except subprocess.TimeoutExpired:
            code = 0
        if code < 0:
            return f"the video decoder's process was killed by {signal.Signals(-code).name}"
        return f"the video decoder's process ended with status {code}"
