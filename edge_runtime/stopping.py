"""The event that ends a run, and how long those may take who still have something to finish."""

import math
import threading
import time

CALM_S, HURRIED_S = 0.25, 0.02
"""How often a thread that waits looks for a deadline, and when there is one."""


class Stop(threading.Event):
    """Set once, when a run is to end. Any thread.

    A run that ends by itself finishes at leisure; one that is told to end (a signal, a command) has a deadline, and
    everything that is waited for shares what is left of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._by_s = math.inf

    def hurry(self, within_s: float) -> None:
        """End the run, and be done within ``within_s``; an earlier deadline stays."""
        self._by_s = min(self._by_s, time.monotonic() + within_s)
        self.set()

    @property
    def hurried(self) -> bool:
        """Whether there is a deadline."""
        return self._by_s < math.inf

    def patience_s(self, usual_s: float, *, keep_s: float = 0.0) -> float:
        """Return how long to wait for something: ``usual_s``, or what is left but ``keep_s`` for those after it."""
        return max(0.0, min(usual_s, self._by_s - keep_s - time.monotonic()))

    def join(self, thread: threading.Thread, usual_s: float, *, keep_s: float = 0.0) -> bool:
        """Wait for a thread as ``patience_s`` says, also when the deadline comes meanwhile; tell whether it ended."""
        until_s = time.monotonic() + usual_s
        while thread.is_alive():
            left_s = self.patience_s(until_s - time.monotonic(), keep_s=keep_s)
            if left_s <= 0:
                return False
            thread.join(min(left_s, HURRIED_S if self.is_set() else CALM_S))
        return True
