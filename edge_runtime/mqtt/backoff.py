"""How long to wait before the next attempt to connect."""

import random
from collections.abc import Callable

FIRST_S = 1.0
LAST_S = 30.0
_EAGER_S = 0.1  # at start the broker may be coming up beside us


class Backoff:
    """Pauses that double from 1 s to 30 s, each off by up to a quarter so that devices do not return in step.

    The first ones after the start are shorter. ``uniform`` is ``random.uniform`` or a stand-in for tests.
    """

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._pause_s = _EAGER_S

    def reset(self) -> None:
        """Begin again, after a connection that lasted."""
        self._pause_s = FIRST_S

    def next_s(self, *, slow: bool = False) -> float:
        """Return the next pause; ``slow`` gives the longest at once (a refused login does not mend itself)."""
        pause_s = LAST_S if slow else self._pause_s
        self._pause_s = min(self._pause_s * 2, LAST_S)
        return pause_s * self._uniform(0.75, 1.25)
