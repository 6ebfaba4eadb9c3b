"""LiteRT in a child process that serves a whole conversion."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from converters.arrays import Array, read_array
from converters.child import Child, StepReport


@dataclass(frozen=True, slots=True)
class Ran:
    """What a model said of some samples."""

    outputs: list[Array]
    """float32, (samples, ...) each, mapped from files that the next run of the same stem writes anew."""
    clipped: float
    """The share of input values that were clipped."""


class LiteRt:
    """Runs one model after the other; starts when first asked, and anew when a model ended it. One thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spent = StepReport("run in LiteRT", 0.0, 0.0)
        self._child: Child | None = None

    def __enter__(self) -> Self:
        """Nothing starts yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the process."""
        if self._child is not None:
            self._spent = self.report
            self._child.__exit__(kind, error, at)
            self._child = None

    def end(self) -> None:
        """End the process; another one starts when it is asked again."""
        self.__exit__(None, None, None)

    @property
    def report(self) -> StepReport:
        """Return what all runs so far cost."""
        return self._spent if self._child is None else self._spent.plus(self._child.report)

    def run(self, model: Path, samples: Path, *, stem: str) -> Ran:
        """Return a model's answers to an .npy of samples. Raises ModelError, EngineError."""
        return self.begin(model, samples, stem=stem)()

    def begin(self, model: Path, samples: Path, *, stem: str) -> Callable[[], Ran]:
        """Begin a run and return what waits for its end. One at a time."""
        if self._child is None or not self._child.alive:
            self.end()
            self._child = Child("tflite_model", folder=self._folder, title=self._spent.name).__enter__()
        folder = str(self._folder)
        wait = self._child.begin("run", model=str(model), samples=str(samples), folder=folder, stem=stem)

        def end() -> Ran:
            reply = wait()
            return Ran([read_array(path) for path in reply["outputs"]], float(reply["clipped"]))

        return end
