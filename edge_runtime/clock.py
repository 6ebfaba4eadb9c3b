"""Times: monotonic nanoseconds inside, RFC 3339 UTC with milliseconds where a value leaves the process."""

import time
from datetime import UTC, datetime
from functools import lru_cache

NOT_BEFORE_NS = 1_767_225_600 * 10**9
"""2026-01-01: no clock that is set shows a time before this was written."""
_UNSYNCHRONISED = 5  # TIME_ERROR, sys/timex.h


def monotonic_ns() -> int:
    """Return CLOCK_MONOTONIC in nanoseconds; the clock that V4L2 stamps its buffers with."""
    return time.monotonic_ns()


def wall_ns(moment_ns: int) -> int:
    """Return the wall time, in nanoseconds since 1970, of a monotonic moment.

    The offset is read now, so a clock that was set after the moment (no network at boot) gives the corrected time.
    """
    return time.time_ns() - (time.monotonic_ns() - moment_ns)


def rfc3339(wall: int) -> str:
    """Format nanoseconds since 1970 as ``2026-11-22T06:38:00.123Z``."""
    seconds, rest = divmod(wall, 1_000_000_000)
    return f"{_to_the_second(seconds)}.{rest // 1_000_000:03d}Z"


@lru_cache(maxsize=4)
def _to_the_second(seconds: int) -> str:
    """Return the part that all predictions of one second have in common; formatting it costs as much as the rest."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def is_synchronised() -> bool | None:
    """Tell whether something keeps the wall clock right (adjtimex(2), which knows of every program that does).

    None where the kernel does not say. About a microsecond; the first call loads ``ctypes``.
    """
    import ctypes

    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return None
    # struct timex has 208 bytes at most, and a request that is all zeros sets nothing.
    state = int(adjtimex(ctypes.create_string_buffer(512)))
    return None if state < 0 else state != _UNSYNCHRONISED


def now_rfc3339() -> str:
    """Return the wall time of now as RFC 3339."""
    return rfc3339(time.time_ns())
