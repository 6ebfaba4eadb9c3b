"""How fast the machine is at this moment: the same few operators and small networks, timed again and again.

The clock of a shared or hot machine wanders by several percent within a second. What is measured at two moments can be
compared when these references were timed beside both. Operators alone do not tell it: what they need stays in the
caches, and the time of one of them depends by several percent on where its memory happens to lie.
"""

import time
from collections.abc import Sequence
from statistics import median
from typing import Final

from edge_runtime.analysis.calibration import operators as make
from edge_runtime.analysis.calibration.networks import patterns
from edge_runtime.analysis.calibration.timing import BATCH_S, Sitting
from edge_runtime.errors import EngineError
from edge_runtime.interpreter import Runtime

_NETWORKS: Final = (2, 5, 6, 10, 12)
"""Of the patterns: flat and wide ones, rows, joined and mixed ones, two in float32 and three in int8."""
_BATCHES: Final = 2
"""Of half a millisecond, for one reference in one look; the shorter counts."""
EVERY_S: Final = 0.2
LOOKING_SHARE: Final = 0.07
"""Of the time, at most, goes to looking: on a slow machine looks are longer, and further apart."""
RECENT_S: Final = 0.06
"""Looks as recent as the last one, within so long, count; those before it were of another moment."""
_FIRST: Final = 5


def references() -> list[bytes]:
    """Return the models that tell the pace: of what networks spend their time in, 20 to 400 us each on a fast core."""
    made = [
        make.convolution("float32", 14, (192, 192)),
        make.convolution("int8", 14, (192, 192)),
        make.convolution("float32", 28, (32, 32), window=(3, 3)),
        make.depthwise("int8", 28, 96),
    ]
    return made + [network.make() for number, network in enumerate(patterns(max(_NETWORKS) + 1)) if number in _NETWORKS]


class Pace:
    """Looks at the references now and then. One thread calls it.

    Raises EngineError from the constructor when none of them runs here.
    """

    def __init__(
        self, runtime: Runtime, *, threads: int, reference_us: Sequence[float] = (), every_s: float = EVERY_S
    ) -> None:
        self.sittings = [Sitting(runtime, content, threads=threads) for content in references()]
        self.threads = threads
        self._runs = [sitting.runs_in(BATCH_S) for sitting in self.sittings]
        self._every_s, self._next_s = every_s, 0.0
        self._looks: list[tuple[float, tuple[float, ...]]] = []
        self.look(_FIRST)
        self.reference_us = tuple(reference_us) or self._recent()
        """What the references took when the pace was 1: now, unless told."""
        if len(self.reference_us) != len(self.sittings):
            raise EngineError("the profile is of another version: calibrate again")

    def look(self, times: int = 1) -> None:
        """Time every reference so many times."""
        for _ in range(times):
            began_s = time.monotonic()
            took_us = tuple(
                min(sitting.time_us(runs) for _ in range(_BATCHES))
                for sitting, runs in zip(self.sittings, self._runs, strict=True)
            )
            now_s = time.monotonic()
            self._looks.append((now_s, took_us))
            self._next_s = now_s + max(self._every_s, (now_s - began_s) / LOOKING_SHARE)

    def now(self) -> float:
        """Return how many times as long everything takes at this moment; looks again where the last look is old."""
        if time.monotonic() > self._next_s:
            self.look()
        return _slower(self._recent(), self.reference_us)

    def settle(self) -> float:
        """Make the pace of all looks so far the one that is 1; return by what times divided by it are to be multiplied.

        The first looks are few, and may come at an unusual moment.
        """
        before, self.reference_us = self.reference_us, _medians([took_us for _, took_us in self._looks])
        return _slower(self.reference_us, before)

    def _recent(self) -> tuple[float, ...]:
        last_s = self._looks[-1][0]
        return _medians([took_us for ended_s, took_us in self._looks if ended_s >= last_s - RECENT_S])


def _medians(looks: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(median(times) for times in zip(*looks, strict=True))


def _slower(now_us: Sequence[float], before_us: Sequence[float]) -> float:
    """Return how many times as long the references take; most of them tell, one that lies badly in memory does not."""
    return median(us / was_us for us, was_us in zip(now_us, before_us, strict=True))
