"""How much slower a long run is than a short one that repeats: nothing is undisturbed for long.

Operators are timed as the shortest mean over half a millisecond. A network that takes ten milliseconds never meets such
a moment from its beginning to its end, however often it is run.
"""

import time
from collections.abc import Sequence
from math import exp, fsum, log
from typing import Final

from edge_runtime.analysis.calibration.timing import BATCH_S, Sitting

LENGTHS: Final = (2, 4, 8, 16, 32)
"""Of runs, in ``BATCH_S``."""
TRIES: Final = 5
"""How often a short run is tried where an operator is timed."""
_RUN_S: Final = 0.1
"""For how long a network is run again and again where it is timed."""


def longer_runs(sittings: Sequence[Sitting], seconds: float) -> tuple[tuple[float, float], ...]:
    """Return microseconds and how many times slower runs of such length are, from these operators in ``seconds``."""
    if not sittings:
        return ()
    courses = [_course(sitting, seconds / len(sittings)) for sitting in sittings]
    return curve(courses)


def curve(courses: Sequence[list[float]]) -> tuple[tuple[float, float], ...]:
    """Return the same from how long one batch after another took, of each operator; nothing of too short a course."""
    found = []
    for length in LENGTHS:
        slower = [_slower(course, length) for course in courses if len(course) >= max(TRIES, 2 * length)]
        if slower:
            found.append((1e6 * BATCH_S * length, round(max(1.0, exp(fsum(map(log, slower)) / len(slower))), 4)))
    return tuple(found)


def _course(sitting: Sitting, seconds: float) -> list[float]:
    """Return how long one batch after another took."""
    end_s, count = time.monotonic() + seconds, sitting.runs_in(BATCH_S)
    course = []
    while time.monotonic() < end_s:
        course.append(sitting.time_us(count))
    return course


def _slower(course: list[float], length: int) -> float:
    """Return the shortest of long runs over the shortest of a few short ones, on average over the course."""
    short = [min(course[at : at + TRIES]) for at in range(0, len(course) - TRIES + 1, TRIES)]
    means = [fsum(course[at : at + length]) / length for at in range(0, len(course) - length + 1, length)]
    many = max(1, int(_RUN_S / BATCH_S / length))
    long = [min(means[at : at + many]) for at in range(0, max(1, len(means) - many + 1), max(1, many // 2))]
    return (fsum(long) / len(long)) / (fsum(short) / len(short))
