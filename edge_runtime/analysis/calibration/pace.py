"""How fast the machine is at this moment: the same few operators, timed again and again.

The clock of a shared or hot machine wanders by several percent within minutes. What is measured at two moments can be
compared when these operators were timed beside both.
"""

import time
from collections.abc import Callable, Sequence
from math import exp, log
from statistics import fmean, median
from typing import Final

from edge_runtime.analysis.calibration import operators as make
from edge_runtime.analysis.calibration.timing import Sitting
from edge_runtime.errors import EngineError
from edge_runtime.interpreter import Runtime

REFERENCES: Final[tuple[Callable[[], bytes], ...]] = (
    lambda: make.convolution("float32", 14, (192, 192)),
    lambda: make.convolution("int8", 14, (192, 192)),
    lambda: make.convolution("float32", 28, (32, 32), window=(3, 3)),
    lambda: make.depthwise("int8", 28, 96),
    lambda: make.fully_connected("float32", 1, 768, 768),
)
"""Of every kind that networks spend their time in; 20 to 200 us each on a fast core."""
LOOK_S: Final = 0.004
"""For one reference in one look."""
EVERY_S: Final = 0.5
RECENT: Final = 5
"""Looks of which the median counts: one that was disturbed does not."""


class Pace:
    """Looks at the references now and then. One thread calls it.

    Raises EngineError from the constructor when none of them runs here.
    """

    def __init__(
        self, runtime: Runtime, *, threads: int, reference_us: Sequence[float] = (), every_s: float = EVERY_S
    ) -> None:
        self.sittings = [Sitting(runtime, content(), threads=threads) for content in REFERENCES]
        self.threads = threads
        self._every_s, self._looked_s = every_s, 0.0
        self._looks: list[tuple[float, ...]] = []
        self.look(RECENT)
        self.reference_us = tuple(reference_us) or self._recent()
        """What the references took when the pace was 1: now, unless told."""
        if len(self.reference_us) != len(self.sittings):
            raise EngineError("the profile is of another version: calibrate again")

    def look(self, times: int = 1) -> None:
        """Time every reference so many times."""
        for _ in range(times):
            self._looks.append(tuple(sitting.shortest_us(LOOK_S) for sitting in self.sittings))
        self._looked_s = time.monotonic()

    def now(self) -> float:
        """Return how many times as long everything takes at this moment; looks again where the last look is old."""
        if time.monotonic() - self._looked_s > self._every_s:
            self.look()
        return exp(fmean(log(us / was_us) for us, was_us in zip(self._recent(), self.reference_us, strict=True)))

    def settle(self) -> float:
        """Make the pace of all looks so far the one that is 1; return by what times divided by it are to be multiplied.

        The first looks are few, and may come at an unusual moment.
        """
        before, self.reference_us = self.reference_us, tuple(median(times) for times in zip(*self._looks, strict=True))
        return exp(fmean(log(us / was_us) for us, was_us in zip(self.reference_us, before, strict=True)))

    def _recent(self) -> tuple[float, ...]:
        return tuple(median(times) for times in zip(*self._looks[-RECENT:], strict=True))
