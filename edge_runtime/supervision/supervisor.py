"""The thread that looks after the rest, about once a second; nothing on the path of a frame waits for it."""

import logging
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

log = logging.getLogger(__name__)


class Supervisor:
    """Calls each of ``duties`` again and again, from one thread. A context manager.

    A duty that fails is logged and called again; one that does not return holds up the others, the watchdog's petting
    included, which is what a watchdog is for.
    """

    def __init__(self, duties: Sequence[Callable[[], None]], *, interval_s: Callable[[], float]) -> None:
        self._duties = tuple(duties)
        self._for_run: tuple[Callable[[], None], ...] = ()
        self._interval_s = interval_s
        self._over = threading.Event()
        self._failing: set[Callable[[], None]] = set()
        self._thread = threading.Thread(target=self._work, name="supervisor", daemon=True)

    def look_after(self, *duties: Callable[[], None]) -> None:
        """Take these on beside the others, in place of those of the run before."""
        self._for_run = duties

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it."""
        self._over.set()
        self._thread.join(1.0)

    def _work(self) -> None:
        while not self._over.wait(self._interval_s()):
            for duty in (*self._duties, *self._for_run):
                try:
                    duty()
                except Exception:  # the worker's top: one duty that fails must not end the others
                    if duty not in self._failing:
                        log.exception("a duty of the supervisor failed")
                    self._failing.add(duty)
                else:
                    self._failing.discard(duty)
