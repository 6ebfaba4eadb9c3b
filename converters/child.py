"""Run a heavy step in a process of its own, so that its crash is an error and its memory is given back.

Requests go to the child's standard input and replies come on a pipe, one JSON document per line. What the libraries
print goes to a log file, whose end is told when the child dies.
"""

import importlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from converters import disk
from converters.steps import counting
from edge_runtime import errors
from edge_runtime.errors import EdgeRuntimeError, ModelError

_LOG_TAIL_BYTES: Final = 4000
_WORK_FOLDER: Final = re.compile(rf"\S*/{disk.WORK_PREFIX}[^/\s]+/(?:trial/)?")
_QUIET: Final = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
    "KERAS_BACKEND": "tensorflow",
    "PYTHONWARNINGS": "ignore",
    "TQDM_DISABLE": "1",
}


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step cost: its own wall time (waiting for others left out) and the child's largest resident memory."""

    name: str
    seconds: float
    peak_mb: float

    def plus(self, other: Self) -> "StepReport":
        """Return both as one: their time, and the memory of the larger."""
        seconds, peak_mb = round(self.seconds + other.seconds, 2), max(self.peak_mb, other.peak_mb)
        return StepReport(self.name, seconds, peak_mb)


class Child:
    """A process that holds one ``Session`` of a module and calls its methods. One thread at a time.

    ``module`` is looked for in ``package``. ``on_count`` is called with what a step tells through
    ``converters.steps.counting`` while it runs: done, total.
    """

    def __init__(
        self,
        module: str,
        *,
        folder: Path,
        title: str,
        package: str = "converters.steps",
        on_count: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
    ) -> None:
        self._folder = folder
        self._module = f"{package}.{module}".lstrip(".")
        self._title = title
        self._on_count = on_count
        self._log = folder / f"{module}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._replies: Any = None
        self._seconds = 0.0
        self._peak_mb = 0.0

    def __enter__(self) -> Self:
        """Start the process."""
        reading, writing = os.pipe()
        environment = os.environ | _QUIET
        environment["TMPDIR"] = str(self._folder)  # what a library leaves behind goes with it
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "converters.child", self._module, str(writing)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[writing],
                env=environment,
            )
        os.close(writing)
        self._replies = os.fdopen(reading, "rb")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the process, at once when something went wrong."""
        process = self._process
        if process is None:
            return
        if kind is not None:
            process.kill()
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # a request that a dead child never read is flushed here
            process.stdin.close()
        process.wait()
        self._replies.close()

    @property
    def alive(self) -> bool:
        """Whether the process is there to be asked."""
        return self._process is not None and self._process.poll() is None

    @property
    def report(self) -> StepReport:
        """Return what the calls so far cost."""
        return StepReport(self._title, round(self._seconds, 2), round(self._peak_mb, 1))

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a method of the session with JSON values. Raises what the step raises of our tree, ModelError else."""
        return self.begin(method, **arguments)()

    def begin(self, method: str, **arguments: Any) -> Callable[[], dict[str, Any]]:
        """Begin a call and return what waits for its end, so that two children can work at once."""
        request = msgspec.json.encode({"method": method, "arguments": arguments})
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._died() from error
        return self._end

    def _end(self) -> dict[str, Any]:
        reply = self._reply()
        self._seconds += reply["seconds"]
        self._peak_mb = max(self._peak_mb, reply["peak_mb"])
        if "error" in reply:
            raise _rebuilt(reply["error"], self._title, self._folder)
        result: dict[str, Any] = reply["result"]
        return result

    def _reply(self) -> dict[str, Any]:
        """Return the answer to a call; what is counted meanwhile is passed on. Raises ModelError when it died."""
        for line in self._replies:
            reply: dict[str, Any] = msgspec.json.decode(line)
            if "counted" not in reply:
                return reply
            self._on_count(*reply["counted"])
        raise self._died()

    def _died(self) -> ModelError:
        assert self._process is not None
        status = self._process.wait()
        how = f"was ended by {_signal_name(-status)}" if status < 0 else f"ended with status {status}"
        if status == -signal.SIGKILL:
            how += " (mostly: not enough memory)"
        said = self._last_words()
        return ModelError(f"{self._title}: the child process {how}{f'; it said: {said}' if said else ''}")

    def _last_words(self) -> str:
        lines = self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").splitlines()
        spoken = [line.strip() for line in lines if line.strip()]
        return spoken[-1][:300] if spoken else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _rebuilt(said: Mapping[str, str], title: str, folder: Path) -> EdgeRuntimeError:
    message = said["message"].replace(f"{folder}/", "")  # a file the user never sees, and that is gone soon
    message = _WORK_FOLDER.sub("", message)
    kind = getattr(errors, said["type"], None)
    if isinstance(kind, type) and issubclass(kind, EdgeRuntimeError):
        return kind(message)
    return ModelError(f"{title}: {said['type']}: {message}")


def _serve(module: str, descriptor: int) -> None:
    """The child's side: build the session, answer until standard input ends."""
    started_s = time.monotonic()
    session = importlib.import_module(module).Session()
    spent_s = time.monotonic() - started_s
    with os.fdopen(descriptor, "wb") as replies:

        def send(reply: dict[str, Any]) -> None:
            replies.write(msgspec.json.encode(reply) + b"\n")
            replies.flush()

        counting.listen(lambda done, total: send({"counted": [done, total]}))
        for line in sys.stdin.buffer:
            started_s = time.monotonic()
            reply = _answer(session, msgspec.json.decode(line))
            send(reply | {"seconds": spent_s + time.monotonic() - started_s})
            spent_s = 0.0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # all is said and written; to take TensorFlow down piece by piece took 1.9 s on a busy machine


def _answer(session: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        reply: dict[str, Any] = {"result": getattr(session, request["method"])(**request["arguments"]) or {}}
    except Exception as error:  # noqa: BLE001 - a worker's top: whatever a library raises is told to the parent
        text = " ".join(str(error).split())
        reply = {"error": {"type": type(error).__name__, "message": text[:500]}}
        if disk.is_full(error):
            reply = {"error": {"type": EdgeRuntimeError.__name__, "message": disk.full()}}
    return reply | {"peak_mb": _peak_mb()}


def _peak_mb() -> float:
    """Return this process's own peak; ``getrusage`` would count the parent's memory before the exec."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
