"""An engine in a process of its own: what native code does there costs one restart of that process and one frame."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from numpy.typing import NDArray

from edge_runtime.engines._deadlines import START_S, InvokeDeadline, StartDeadline
from edge_runtime.engines._engine_process import EngineProcess
from edge_runtime.engines._isolated_dialogue import Opening
from edge_runtime.engines._memory_ceiling import MemoryCeiling
from edge_runtime.errors import EdgeRuntimeError, EngineError, EngineRestartingError, ModelError
from edge_runtime.types import TensorSpec

log = logging.getLogger(__name__)

WAIT_S: Final = 3.0
"""How long ``invoke`` waits for an engine that restarts: a file then loses one frame, also where starting is slow."""
PAUSE_S: Final = 0.1
"""How often an invoke that waits looks whether the engine is being closed."""
BACKOFF_FIRST_S: Final = 1.0
BACKOFF_MOST_S: Final = 60.0
LASTING_S: Final = 30.0
"""An engine that ran as long is restarted at once when it fails; a sooner failure counts with those before."""
FALLBACK_AFTER: Final = 3
"""Failures without such a run between, after which the fallback takes over."""


class IsolatedEngine:
    """An ``Engine`` in a child process, with a deadline for each invoke and a fallback where one is given.

    A crash, a hang or a failed invoke loses its frame and restarts the child; one that holds too much memory is
    restarted too: at once the first time and after a run of 30 s, else after 1 s, 2 s ... 60 s, off by up to a quarter.
    After three failures in a row, or a restart that hangs, the ``fallback`` takes over, and the preferred engine comes
    back when it answers again. A child starts while the caller does something else; no thread waits for it, each
    ``invoke`` takes the next step. One thread at a time may call it; ``restarts``
    and ``restart_reason`` may be read from any.
    """

    def __init__(
        self,
        preferred: Opening,
        *,
        fallback: Opening | None = None,
        invoke_timeout_s: float | None = None,
        ceiling: MemoryCeiling | None = None,
        launch: Callable[[Opening], EngineProcess] = EngineProcess,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._preferred = self._last = preferred
        self._fallback = fallback
        self._invoke_timeout_s = invoke_timeout_s
        self._launch, self._clock, self._pause, self._uniform = launch, clock, pause, uniform
        self._ceiling = ceiling or MemoryCeiling(None, clock=clock)
        self._serving: EngineProcess | None = None
        self._candidate: EngineProcess | None = None
        self._started_s = self._adopted_s = self._due_s = 0.0
        self._failures = 0
        self._closed = False
        self._deadline = InvokeDeadline(invoke_timeout_s)
        self._start_deadline = StartDeadline()
        self.inputs: tuple[TensorSpec, ...] = ()
        self.outputs: tuple[TensorSpec, ...] = ()
        self.delegate, self.delegate_reason = preferred.delegate, preferred.delegate_reason
        self.threads = preferred.threads
        self.restarts = 0
        self.restart_reason: str | None = None
        self._runtime = ""

    @property
    def runtime(self) -> str:
        """Return the interpreter's package and version."""
        return self._runtime

    @property
    def pid(self) -> int | None:
        """Return the number of the process that serves now."""
        return None if self._serving is None else self._serving.pid

    def open(self, *, away: str | None = None) -> None:
        """Start the child and wait, for at most 30 s, until its engine has answered once.

        ``away`` says why the preferred engine is known not to work now: it is left out and the fallback opened. Raises
        what opening raises there (ModelError, DelegateError, UsageError), and EngineError when it hangs or dies.
        """
        if away is not None and self._fallback is not None:
            self._last, self._failures = self._fallback, FALLBACK_AFTER - 1
            self._failed(EngineError(away))
        process = self._launch(self._last)
        self._started_s = self._clock()
        try:
            process.start()
            answered = process.opened(START_S)
        except BaseException:
            process.stop()
            raise
        if not answered:
            process.stop()
            raise _slow(process, START_S)
        self._adopt(process)

    def invoke(self, inputs: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        """Run the model once and return copies of its outputs.

        Raises EngineRestartingError when this frame is lost to a restart, EngineError for inputs that do not fit.
        """
        self._check(inputs)
        process = self._ready()
        if self._closed:
            raise EngineRestartingError("the engine is being closed")
        started_s = self._clock()
        try:
            outputs = process.invoke(inputs, timeout_s=self._deadline.seconds)
        except EdgeRuntimeError as error:
            self._lose(process, error)
            raise EngineRestartingError(f"{error}; the engine is restarted") from error
        self._deadline.add(self._clock() - started_s)
        if leaks := self._ceiling.exceeded(process.pid):
            self._lose(process, EngineError(leaks))  # with its answer read: no frame is lost to it
        return outputs

    def abort(self) -> None:
        """Kill the child, whatever it is doing, and start none any more; from any thread."""
        self._closed = True
        for process in (self._serving, self._candidate):
            if process is not None:
                process.kill()

    def close(self) -> None:
        """End the child; may be called twice."""
        self._closed = True
        for process in (self._serving, self._candidate):
            if process is not None:
                process.stop()
        self._serving = self._candidate = None

    def _check(self, inputs: Sequence[NDArray[Any]]) -> None:
        if self._closed:
            raise EngineError("invoke failed: the engine is closed")
        given = [(value.shape, value.dtype) for value in inputs]
        if given != (wanted := [(tensor.shape, tensor.dtype) for tensor in self.inputs]):
            raise EngineError(f"invoke failed: expected {_words(wanted)}, found {_words(given)}")

    def _ready(self) -> EngineProcess:
        """Return a process that serves, waiting for one for at most 3 s. Raises EngineRestartingError."""
        self._advance(0.0)
        until_s = self._clock() + WAIT_S
        while self._serving is None:
            if (left_s := until_s - self._clock()) <= 0 or self._closed:
                raise EngineRestartingError(f"the engine is being restarted: {self.restart_reason}")
            self._advance(left_s)
        return self._serving

    def _advance(self, wait_s: float) -> None:
        """Take one step towards the preferred engine, waiting for it for at most ``wait_s``."""
        if self._closed:
            return
        if self._candidate is None:
            if self._serving is not None and self._serving.opening is self._preferred:
                return
            if (following := self._following()) is None:
                self._pause(max(0.0, min(wait_s, PAUSE_S, self._due_s - self._clock())))
                return
            self._start(following)
        process = self._candidate
        if process is None:
            return
        try:
            left_s = self._started_s + self._start_limit_s(process) - self._clock()
            if process.opened(max(0.0, min(wait_s, left_s))):
                self._adopt(process)
            elif left_s <= wait_s:
                raise self._hung(process)
        except EdgeRuntimeError as error:
            self._candidate = None
            process.stop()
            self._failed(error)

    def _start_limit_s(self, process: EngineProcess) -> float:
        """Return how long a candidate may take; the short limit is for one that is waited for and has been quicker."""
        awaited = self._serving is None and process.opening is self._preferred
        return self._start_deadline.seconds if awaited else START_S

    def _hung(self, process: EngineProcess) -> EngineError:
        """Give a candidate up that did not answer in time; return what to say."""
        error = _slow(process, self._start_limit_s(process))
        if self._serving is None and process.opening is self._preferred:
            self._start_deadline.add_hung()
            if self._fallback is not None:  # it takes over at once, and the next try is made beside it
                self._failures = max(self._failures, FALLBACK_AFTER - 1)
        return error

    def _following(self) -> Opening | None:
        """Return what is to be started now; None while the back-off lasts."""
        wanted = self._serving is None and self._failures >= FALLBACK_AFTER
        if wanted and self._fallback is not None and self._last is not self._fallback:
            return self._fallback
        return self._preferred if self._clock() >= self._due_s else None

    def _start(self, opening: Opening) -> None:
        self._last = opening
        self._started_s = self._clock()
        self.restarts += 1
        process = self._launch(opening)
        try:
            process.start()
        except EngineError as error:
            process.stop()
            self._failed(error)
            return
        self._candidate = process

    def _adopt(self, process: EngineProcess) -> None:
        """Let ``process``, which has answered, serve from now on. Raises ModelError when its tensors are others."""
        alike = same_tensors(process.inputs, self.inputs) and same_tensors(process.outputs, self.outputs)
        if self.inputs and not alike:
            raise ModelError(f"{process.opening.model} has other inputs or outputs than {self._preferred.model}")
        if self._serving is not None:
            self._serving.stop()
        if self.restarts:
            log.warning("the engine runs again, on %s", process.opening.delegate)
        self._candidate, self._serving = None, process
        self._ceiling.begin(process.pid)
        self._adopted_s = self._clock()
        if process.opening is self._preferred:
            self._start_deadline.add_good(self._adopted_s - self._started_s)
        self._deadline = InvokeDeadline(self._invoke_timeout_s)
        self.inputs, self.outputs = self.inputs or process.inputs, self.outputs or process.outputs
        self.delegate, self.threads = process.opening.delegate, process.opening.threads
        self.delegate_reason, self._runtime = process.opening.delegate_reason, process.runtime

    def _lose(self, process: EngineProcess, error: EdgeRuntimeError) -> None:
        process.stop()
        self._serving = None
        if process.opening is self._preferred and self._clock() - self._adopted_s >= LASTING_S:
            self._failures = 0
        if self._closed:
            return
        self._failed(error)
        self._advance(0.0)  # starts while the next frame is prepared

    def _failed(self, error: EdgeRuntimeError) -> None:
        self.restart_reason = str(error)
        self._failures += 1
        doubled_s = BACKOFF_FIRST_S * 2.0 ** min(self._failures - 2, 10)
        delay_s = 0.0 if self._failures == 1 else min(doubled_s, BACKOFF_MOST_S) * self._uniform(0.75, 1.25)
        self._due_s = self._clock() + delay_s
        log.warning("%s; the engine is started again%s", error, f" in {delay_s:.1f} s" if delay_s else "")


def _slow(process: EngineProcess, limit_s: float) -> EngineError:
    return EngineError(f"the engine on {process.opening.delegate} hangs: no answer within {limit_s:.3g} s of its start")


def same_tensors(some: Sequence[TensorSpec], others: Sequence[TensorSpec]) -> bool:
    """Return whether tensors are alike in all but their names, so that one model can stand in for the other."""
    return [*map(_kind, some)] == [*map(_kind, others)]


def _kind(tensor: TensorSpec) -> tuple[Any, ...]:
    return tensor.shape, tensor.dtype, round(tensor.scale, 6), tensor.zero_point


def _words(tensors: Sequence[tuple[tuple[int, ...], Any]]) -> str:
    return ", ".join(f"{dtype} {'x'.join(map(str, shape)) or 'scalar'}" for shape, dtype in tensors)
