"""The wall clock: whether something keeps it right, and when it was set while we ran.

Durations, ages, rates, back-off and deadlines all go by the monotonic clock and do not notice. What is stamped with the
wall time is: by how much it was off is published, so that readers can correct what came before.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from edge_runtime.clock import is_synchronised, now_rfc3339

log = logging.getLogger(__name__)

STEP_S: Final = 1.0
"""Less is slewing, or a suspended machine's rounding."""


class ClockWatch:
    """Compares the wall clock with the monotonic one. ``tick`` belongs to the supervisor's thread."""

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
        self._offset_ns = wall_ns() - monotonic_ns()
        self._state: dict[str, Any] = {"synchronised": is_right(), "steps": 0, "stepped_at": None, "step_s": None}

    def tick(self) -> None:
        """Look whether it was set."""
        offset_ns = self._wall_ns() - self._monotonic_ns()
        step_s = (offset_ns - self._offset_ns) / 1e9
        self._offset_ns = offset_ns
        changes: dict[str, Any] = {"synchronised": self._is_right()}
        if abs(step_s) >= STEP_S:
            steps = self._state["steps"] + 1
            changes |= {"steps": steps, "stepped_at": now_rfc3339(), "step_s": round(step_s, 3)}
            log.warning("the clock was set %s by %s; times before are off by that", *_spoken(step_s))
        self._state = self._state | changes

    def state(self) -> dict[str, Any]:
        """Return ``synchronised`` (None: unknown), how often it was set, when last (new time), and by how many seconds.

        Any thread.
        """
        return self._state


def _spoken(step_s: float) -> tuple[str, str]:
    direction, seconds = "forward" if step_s > 0 else "back", abs(step_s)
    for unit, size in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return direction, f"{seconds / size:.1f} {unit}"
    return direction, f"{seconds:.1f} seconds"
