"""How old a stored message is, with a clock that jumps by years when a device without a battery finds its time server.

Ages are counted by a clock of the outbox's own: it starts at the wall clock's time and goes on by the monotonic one, so
that no step of the wall clock makes anything older. The time that passed while the outbox was closed is added only
where the wall clock was kept right both before and after; else messages are kept for longer.
"""

import time
from collections.abc import Callable

from edge_runtime.clock import is_synchronised


class AgeClock:
    """Milliseconds, of no meaning but their differences. One thread.

    ``wall_ns`` and ``monotonic_ns`` are the clocks, ``is_right`` tells whether the first is kept right (None: unknown).
    """

    def __init__(
        self,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        is_right: Callable[[], bool | None] = is_synchronised,
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._is_right = is_right
        self._base_ms = wall_ns() // 1_000_000
        self._base_ns = monotonic_ns()

    def resume(self, stored_ms: int, wall_ms: int | None) -> None:
        """Go on from the newest message of an earlier run: its ``now_ms`` and ``wall_ms``."""
        now_wall_ms = self.wall_ms()
        away_ms = 0 if wall_ms is None or now_wall_ms is None else max(0, now_wall_ms - wall_ms)
        self._base_ms, self._base_ns = stored_ms + away_ms, self._monotonic_ns()

    def now_ms(self) -> int:
        """Return the outbox's own time."""
        return self._base_ms + (self._monotonic_ns() - self._base_ns) // 1_000_000

    def wall_ms(self) -> int | None:
        """Return the wall time where it can be relied on; None elsewhere."""
        return self._wall_ns() // 1_000_000 if self._is_right() else None
