"""Stand-ins for the ends of the frame path: sources that follow a script, a pipeline without pictures or model."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from edge_runtime.clock import monotonic_ns
from edge_runtime.errors import BadFrameError, EdgeRuntimeError, SourceTimeoutError
from edge_runtime.types import Frame, Latency, ModelIdentity, Origin, Prediction, Prepared, RawTensors

DEADLINE_S = 20.0
MS = 1_000_000


def frame(sequence: int = 0, stream: str = "images0", *, at_ns: int = 0) -> Frame:
    return Frame(b"", "jpeg", stream, sequence, at_ns, at_ns)


def prepared(of: Frame, *, ready_ns: int = 0) -> Prepared:
    return Prepared(of, (np.zeros(1),), None, ready_ns, ready_ns)


class ScriptedSource:
    """Gives what the script says: frames, errors to raise; then its end, or silence where it is ``endless``.

    ``openings`` are errors (or None) for each call of ``open``; after the last of them it opens.
    """

    def __init__(
        self,
        script: Iterable[Frame | EdgeRuntimeError],
        *,
        live: bool = False,
        openings: Iterable[EdgeRuntimeError | None] = (),
        endless: bool = False,
        stall_after_s: float | None = None,
        before_read: Callable[[], None] = lambda: None,
    ) -> None:
        self.live = live
        self.stall_after_s = stall_after_s
        self.opened = self.closed = 0
        self._script = iter(script)
        self._openings = iter(openings)
        self._endless = endless
        self._before_read = before_read

    def open(self) -> None:
        self.opened += 1
        if error := next(self._openings, None):
            raise error

    def read(self, timeout_s: float) -> Frame | None:
        self._before_read()
        item = next(self._script, None)
        if isinstance(item, EdgeRuntimeError):
            raise item
        if item is None and self._endless:
            threading.Event().wait(0.001)
            raise SourceTimeoutError("nothing yet")
        return item

    def close(self) -> None:
        self.closed += 1

    def describe(self) -> dict[str, Any]:
        return {"type": "scripted"}


class FakePipeline:
    """Prepares and infers by calling what it was given; keeps what it was asked to discard."""

    def __init__(
        self,
        *,
        on_prepare: Callable[[Frame], None] = lambda _: None,
        on_infer: Callable[[Prepared], None] = lambda _: None,
    ) -> None:
        self.discarded: list[Prepared] = []
        self.aborted = threading.Event()
        self._on_prepare = on_prepare
        self._on_infer = on_infer

    def prepare(self, of: Frame) -> Prepared:
        started_ns = monotonic_ns()
        self._on_prepare(of)
        return Prepared(of, (np.zeros(1),), None, started_ns, monotonic_ns())

    def infer(self, ready: Prepared) -> Prediction:
        self._on_infer(ready)
        return prediction(ready.frame)

    def abort(self) -> None:
        self.aborted.set()

    def discard(self, ready: Prepared) -> None:
        self.discarded.append(ready)


def prediction(of: Frame) -> Prediction:
    latency = Latency(queue=0.0, prepare=0.0, wait=0.0, invoke=0.0, postprocess=0.0)
    model = ModelIdentity("fake", None, "")
    return Prediction(of.stream, of.sequence, of.captured_ns, Origin(), model, "raw", RawTensors((), ()), latency, of)


class PatientStop(threading.Event):
    """A stop event on which waiting takes no time; keeps how long it was asked to wait, and sets itself in the end."""

    def __init__(self, *, after_waits: int = 1000) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._after = after_waits

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        if len(self.waits) >= self._after:
            self.set()
        return self.is_set()


def bad(what: str = "a broken frame") -> BadFrameError:
    return BadFrameError(what)


def ends(*threads: threading.Thread) -> bool:
    """Whether all threads end before the deadline."""
    for thread in threads:
        thread.join(DEADLINE_S)
    return not any(thread.is_alive() for thread in threads)


def started(*bodies: Callable[[], Any]) -> list[threading.Thread]:
    threads = [threading.Thread(target=body, daemon=True) for body in bodies]
    for thread in threads:
        thread.start()
    return threads
