"""What a conversion shows while it runs, on standard error: a live display in a terminal, plain lines elsewhere."""

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

_REFRESHES_PER_S: Final = 4


class Progress(Protocol):
    """Called with a title when a step begins, and with the same title and counts as it goes on.

    From the thread that called ``convert``. ``print`` will do.
    """

    def __call__(self, title: str, done: int = 0, total: int = 0, /) -> None:
        """``total`` is 0 for a step that cannot count what it does."""


def silent(title: str, done: int = 0, total: int = 0, /) -> None:
    """Show nothing."""
    del title, done, total


class Display(Progress, Protocol):
    """A ``Progress`` that is entered before the first step and left after the last one."""

    def __enter__(self) -> Self:
        """Get ready."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the last step."""


def open_display(*, quiet: bool) -> Display:
    """Return the display that suits standard error; one that shows nothing with ``quiet``."""
    if quiet:
        return _Lines(shown=False)
    if sys.stderr.isatty():
        try:
            return _Live()
        except ImportError:
            pass  # rich comes with the extra [convert]; a float .tflite converts without it
    return _Lines(shown=True)


class _Lines:
    """A line for each step with its time, when it is over."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._title = ""
        self._started_s = 0.0

    def __call__(self, title: str, done: int = 0, total: int = 0, /) -> None:
        del done, total
        if title != self._title:
            self._end()
            self._title, self._started_s = title, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        if self._title and self._shown:
            sys.stderr.write(f"{time.monotonic() - self._started_s:6.1f} s  {self._title}\n")
            sys.stderr.flush()
        self._title = ""


class _Live:
    """A line for each step: its state, a bar where it counts, its time, and the memory its processes use."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.fields[mark]}"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[counted]}", style="cyan"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[memory]}", style="dim"),
            console=Console(stderr=True),
            refresh_per_second=_REFRESHES_PER_S,
            get_time=time.monotonic,
        )
        self._bars.live.get_renderable = self._measured  # type: ignore[method-assign]
        self._step: Any = None
        self._title = ""
        self._peak_mb = 0.0

    def __call__(self, title: str, done: int = 0, total: int = 0, /) -> None:
        if title != self._title:
            self._end("[green]✓[/]")
            self._title, self._peak_mb = title, 0.0
            self._step = self._bars.add_task(title, total=None, mark="[cyan]…[/]", counted="", memory="")
        if total:
            self._bars.update(self._step, completed=done, total=total, counted=f"{done} of {total}")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end("[green]✓[/]" if kind is None else "[red]✗[/]")
        self._bars.stop()

    def _measured(self) -> Any:
        """Return what is drawn, the memory of the step that runs looked up anew."""
        if self._step is not None:
            self._peak_mb = max(self._peak_mb, children_mb())
            if self._peak_mb:
                self._bars.update(self._step, memory=f"{self._peak_mb:.0f} MB")
        return self._bars.get_renderable()

    def _end(self, mark: str) -> None:
        if self._step is None:
            return
        total = self._bars.tasks[self._step].total or 1
        self._bars.update(self._step, mark=mark, completed=total, total=total)
        self._bars.stop_task(self._step)
        self._step = None


def children_mb() -> float:
    """Return the resident memory of this process's children; 0 where the system does not tell."""
    pages = 0
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            for child in listing.read_text(encoding="ascii").split():
                pages += int(Path(f"/proc/{child}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, ValueError, IndexError):
            continue
    return pages * 4096 / 2**20
