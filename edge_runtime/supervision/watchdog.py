"""What counts as progress, and petting the service manager's watchdog for that alone.

A worker that comes round is progress, also one that tries again and again while cameras or the broker are away: that is
what it is for. A thread that does not come back is none, nor are frames that come in while nothing comes of them.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

from edge_runtime.supervision.notify import Notifier
from edge_runtime.workers import CAPTURE, RunCounters

STUCK_S: Final = 20.0
"""Without a watchdog: after how long without a sign a worker is called stuck in the log."""
PHASE_S: Final = 600.0
"""For what is no run: loading or fetching a model, opening devices."""
WAITING_S: Final = 20.0
"""A start whose sources give no frame is reported as done after that long, or nothing else would start beside it."""
EXTENSION_S: Final = 30.0
STATUS_S: Final = 10.0


class Watchdog:
    """Judges a run by its workers' signs of life. ``tick`` belongs to the supervisor's thread, the rest to the daemon.

    ``bus_seen_ns`` tells when the broker's thread last came round.
    """

    def __init__(self, notifier: Notifier, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._notifier = notifier
        self._clock = clock
        self._patience_ns = int(1e9 * (STUCK_S if notifier.watchdog_s is None else notifier.watchdog_s / 2))
        self._counters: RunCounters | None = None
        self._bus_seen_ns: Callable[[], int] | None = None
        self._describe: Callable[[], str] = lambda: "starting"
        self._phase_until_ns = clock() + int(PHASE_S * 1e9)
        self._since_ns = self._told_ns = self._alive_ns = clock()
        self._answered = self._offered = -1
        self._unanswered_ns: int | None = None
        self._ready = False
        self._status = ""
        self.stuck: str | None = None
        """What does not come back, one line; None while everything does."""

    @property
    def interval_s(self) -> float:
        """How often ``tick`` is to be called."""
        wanted_s = 1.0 if self._ready else 0.1
        return wanted_s if self._notifier.watchdog_s is None else min(wanted_s, self._notifier.watchdog_s / 4)

    def health(self) -> dict[str, object]:
        """Return what is stuck, and how often the service manager wants to hear that nothing is."""
        return {"stuck": self.stuck, "watchdog_s": self._notifier.watchdog_s}

    def between_runs(self, what: str) -> None:
        """Take what is under way for progress, for 10 minutes at most: there is no run to judge now."""
        self._counters = None
        self._describe = lambda: what
        self._ready = False
        self._phase_until_ns = self._clock() + int(PHASE_S * 1e9)

    def watch(
        self, counters: RunCounters, *, describe: Callable[[], str], bus_seen_ns: Callable[[], int] | None
    ) -> None:
        """Judge this run from now on; ``describe`` says in one line how it is."""
        self._since_ns = self._clock()
        self._answered = self._offered = -1
        self._unanswered_ns = None
        self._bus_seen_ns = bus_seen_ns
        self._describe = describe
        self._counters = counters

    def tick(self) -> None:
        """Look, and tell the service manager what is true."""
        now_ns = self._clock()
        counters = self._counters
        self.stuck = self._find_stuck(counters, now_ns)
        if self.stuck is not None:
            self._tell(f"stuck: {self.stuck}", now_ns)
            return
        self._notifier.alive()
        if self._ready:
            self._tell(self._describe(), now_ns)
        elif counters is not None and self._is_up(counters, now_ns):
            self._ready = True
            self._notifier.ready(self._describe())
        else:
            self._wait_on(now_ns)

    def _is_up(self, counters: RunCounters, now_ns: int) -> bool:
        return counters.inferred > 0 or counters.shown > 0 or now_ns - self._since_ns > WAITING_S * 1e9

    def _wait_on(self, now_ns: int) -> None:
        if now_ns - self._alive_ns > EXTENSION_S / 3 * 1e9:
            self._alive_ns = now_ns
            self._notifier.extend(EXTENSION_S)
        self._tell(self._describe(), now_ns)

    def _tell(self, status: str, now_ns: int) -> None:
        if status != self._status and (now_ns - self._told_ns > STATUS_S * 1e9 or status.startswith("stuck")):
            self._status, self._told_ns = status, now_ns
            self._notifier.status(status)

    def _find_stuck(self, counters: RunCounters | None, now_ns: int) -> str | None:
        if counters is None:
            return None if now_ns < self._phase_until_ns else self._describe()
        late = [name for name, seen_ns in dict(counters.beats).items() if now_ns - seen_ns > self._patience_ns]
        captures = [name for name in counters.beats if name.startswith(CAPTURE)]
        # One camera whose driver never returns must not cost the others; that one is given up by its own deadline.
        if captures and not all(name in late for name in captures):
            late = [name for name in late if not name.startswith(CAPTURE)]
        if self._bus_seen_ns is not None and now_ns - self._bus_seen_ns() > self._patience_ns:
            late.append("broker")
        if late:
            return ", ".join(late)
        return self._unanswered(counters, now_ns)

    def _unanswered(self, counters: RunCounters, now_ns: int) -> str | None:
        """Find frames that went in with nothing coming out: not a prediction, not even a failure."""
        streams = counters.streams.values()
        answered = counters.inferred + counters.shown + counters.engine_failures + sum(one.bad for one in streams)
        offered = sum(one.offered for one in streams)
        if answered != self._answered:
            self._answered, self._offered, self._unanswered_ns = answered, offered, None
        elif offered > self._offered and self._unanswered_ns is None:
            self._unanswered_ns = now_ns
        waited = self._unanswered_ns is not None and now_ns - self._unanswered_ns > self._patience_ns
        return "frames come in and nothing comes out" if waited else None


def describe(counters: RunCounters, *, states: Mapping[str, str], delegate: str, broker: bool | None) -> str:
    """Return one line for ``systemctl status``."""
    away = [f"{stream} {state}" for stream, state in states.items() if state != "online"]
    parts = [f"{counters.inferred} predictions on {delegate}" if delegate else f"{counters.shown} frames shown"]
    parts += away or [f"{len(states)} of {len(counters.streams)} streams online"]
    if broker is not None:
        parts.append("broker connected" if broker else "broker away")
    return ", ".join(parts)
