"""Signals, taken in a thread of their own: a main thread that is stuck in native code cannot ignore them."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from edge_runtime.stopping import Stop

log = logging.getLogger(__name__)

STOP_S: Final = 1.5
"""How long a run may take to end once it is told to."""
LAST_S: Final = 1.9
"""After that long the process ends however it is: what was committed is on the disk, and children end with it."""
INTERRUPTED: Final = 130
TAKEN: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """SIGINT and SIGTERM end the run, a second one the process; SIGHUP calls ``on_hangup``.

    SIGHUP because the terminal this was started from is gone ends the run too. A context manager, for the main thread.
    ``stopped`` tells whether a run was ended so, ``interrupted`` whether by Ctrl-C.
    """

    def __init__(self, *, on_hangup: Callable[[], None], on_stop: Callable[[], None]) -> None:
        self._on_hangup = on_hangup
        self._on_stop = on_stop
        self._lock = threading.Lock()
        self._run: Stop | None = None
        self._has_terminal = False
        self._over = threading.Event()
        self._previous: dict[int, object] = {}
        self._previous_fd = -1
        self._reading, self._writing = -1, -1
        self._thread = threading.Thread(target=self._work, name="signals", daemon=True)
        self.stopped = False
        self.interrupted = False

    def attach(self, run: Stop) -> None:
        """Let signals end this run from now on; at once, when one came before."""
        with self._lock:
            self._run = run
            if self.stopped:
                run.hurry(STOP_S)

    def __enter__(self) -> Self:
        """Begin to take signals."""
        self._has_terminal = _terminal_is_there()
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._previous_fd = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        # The numbers reach the thread by the pipe, written before Python runs anything; the handlers do nothing.
        self._previous = {number: signal.signal(number, lambda *_: None) for number in TAKEN}
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give the signals back."""
        self._over.set()
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type] # what signal.signal itself returned
        signal.set_wakeup_fd(self._previous_fd)
        os.write(self._writing, b"\0")
        self._thread.join()
        os.close(self._reading)
        os.close(self._writing)

    def _work(self) -> None:
        while not self._over.is_set():
            for number in os.read(self._reading, 64):
                self._take(number)

    def _take(self, number: int) -> None:
        if number == signal.SIGHUP and (not self._has_terminal or _terminal_is_there()):
            self._on_hangup()
        elif number in TAKEN:
            self._end(number)

    def _end(self, number: int) -> None:
        with self._lock:
            again, self.stopped = self.stopped, True
            self.interrupted |= number == signal.SIGINT
            run = self._run
        if again:
            os._exit(INTERRUPTED)
        if run is not None:
            run.hurry(STOP_S)
        self._on_stop()
        threading.Thread(target=self._last_resort, name="last-resort", daemon=True).start()

    def _last_resort(self) -> None:
        if not self._over.wait(LAST_S):
            stuck = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
            log.warning("not everything ended within %g s (%s): leaving it behind", LAST_S, ", ".join(stuck))
            os._exit(INTERRUPTED if self.interrupted else 0)


def _terminal_is_there() -> bool:
    """Whether this process has a controlling terminal that has not hung up."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
