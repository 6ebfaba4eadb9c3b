"""The dashboard beside the daemon: a child process, so that a slow page or a crash of it never touches a frame."""

import logging
import subprocess
import sys
from importlib.util import find_spec
from types import TracebackType
from typing import Self

import msgspec

from edge_runtime.dashboard.serve import listen
from edge_runtime.dashboard.settings import DashboardSettings
from edge_runtime.errors import UsageError

log = logging.getLogger(__name__)

END_S = 3.0


class DashboardProcess:
    """Runs ``python -m edge_runtime.dashboard``; its settings go in by standard input, which ends it when closed."""

    def __init__(self, settings: DashboardSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it; it prints its address itself.

        Raises UsageError where its libraries are not installed, EdgeRuntimeError where its port is in use.
        """
        if self._settings.broker.url == "none":
            raise UsageError(
                "the dashboard reads from the broker, and --broker none has none; --broker embedded brings one"
            )
        if find_spec("starlette") is None or find_spec("uvicorn") is None:
            raise UsageError("the dashboard is not installed; pip install 'edge-infer[dashboard]'")
        # Tried here first: a mistake in the address should end the run, not leave it without its page.
        listen(self._settings.host, self._settings.port, flag="--dashboard").close()
        command = [sys.executable, "-m", "edge_runtime.dashboard"]
        # In a session of its own: Ctrl-C is for the daemon, which then ends it.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(self._settings) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            log.warning("the dashboard ended at once; the run goes on without it")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it."""
        self.close()

    def close(self, timeout_s: float = END_S) -> None:
        """End it, by force after ``timeout_s``; may be called twice."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        try:
            process.stdin.close()
        except BrokenPipeError:
            log.debug("the dashboard had ended before")
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
