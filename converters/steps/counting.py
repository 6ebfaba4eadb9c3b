"""How a step that runs in a child tells its parent how far it is."""

import time
from collections.abc import Callable
from typing import Final

_PAUSE_S: Final = 0.1

_tell: Callable[[int, int], None] = lambda done, total: None  # noqa: E731, ARG005 - nobody listens
_told_s = 0.0


def listen(tell: Callable[[int, int], None]) -> None:
    """Send what ``count`` is called with to ``tell`` from now on."""
    global _tell  # noqa: PLW0603 - one child, one parent
    _tell = tell


def count(done: int, total: int) -> None:
    """Say that ``done`` of ``total`` are done; called as often as one likes, told ten times a second."""
    global _told_s  # noqa: PLW0603
    now_s = time.monotonic()
    if done == total or now_s - _told_s >= _PAUSE_S:
        _told_s = now_s
        _tell(done, total)
