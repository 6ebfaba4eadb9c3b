"""How fast the machine is at a moment: the same few operators and small networks, timed again and again.

The clock of a shared or hot machine wanders by several percent, within a second and from one to the next. What is
measured at two moments can be compared when these references were timed around both. One look tells of a hundredth of a
second: dividing by it would add its own noise (here 3.4 %, of which a fifth of a second later two thirds are gone), so
a moment's pace is the mean of the looks of a second or so.
Operators alone do not tell it: what they need stays in the caches, and the time of one of them depends by several
percent on where its memory happens to lie.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import fmean, median
from typing import Final

import numpy as np

from edge_runtime.analysis.calibration import operators as make
from edge_runtime.analysis.calibration.networks import patterns
from edge_runtime.analysis.calibration.timing import BATCH_S, Sitting
from edge_runtime.analysis.kernel_table import Floats
from edge_runtime.errors import EngineError
from edge_runtime.interpreter import Runtime

_NETWORKS: Final = (2, 5, 6, 10, 12)
"""Of the patterns: flat and wide ones, rows, joined and mixed ones, two in float32 and three in int8."""
_BATCHES: Final = 2
"""Of half a millisecond, for one reference in one look; the shorter counts."""
EVERY_S: Final = 0.2
LOOKING_SHARE: Final = 0.07
"""Of the time, at most, goes to looking: on a slow machine looks are longer, and further apart."""
CALM_SHARE: Final = 0.25
"""Of all looks, were no slower than the pace that is 1: what a model takes when nothing else is going on is predicted,
as the shortest of a few repeated runs shows it; most runs take longer.
"""
SMOOTHED_S: Final = 0.5
"""Standard deviation of the weights (Gauss) that looks have for the pace of a moment."""
_FIRST: Final = 5
_FAR: Final = 1e-9
_NOW: Final = 25
"""Looks that tell the pace at this moment: a fifth of a second on a fast core."""


def references() -> list[bytes]:
    """Return the models that tell the pace: of what networks spend their time in, 20 to 400 us each on a fast core."""
    made = [
        make.convolution("float32", 14, (192, 192)),
        make.convolution("int8", 14, (192, 192)),
        make.convolution("float32", 28, (32, 32), window=(3, 3)),
        make.depthwise("int8", 28, 96),
    ]
    return made + [network.make() for number, network in enumerate(patterns(max(_NETWORKS) + 1)) if number in _NETWORKS]


@dataclass(frozen=True, slots=True)
class Course:
    """The moments (n,) of looks and the logarithm (n,) of how many times as long everything took."""

    moments_s: Floats
    slower: Floats

    def slowness(self, at_s: float) -> float:
        """Return how many times as long everything took at a moment that looks were around."""
        weights = np.exp(-0.5 * np.square((self.moments_s - at_s) / SMOOTHED_S))
        # Of a moment far from every look, all of them tell.
        return float(np.exp(np.average(self.slower, weights=weights + _FAR)))


class Pace:
    """Looks at the references now and then. One thread calls it.

    Raises EngineError from the constructor when none of them runs here.
    """

    def __init__(
        self, runtime: Runtime, *, threads: int, reference_us: Sequence[float] = (), every_s: float = EVERY_S
    ) -> None:
        self._sittings = [Sitting(runtime, content, threads=threads) for content in references()]
        self._runs = [sitting.runs_in(BATCH_S) for sitting in self._sittings]
        self._every_s, self._next_s = every_s, 0.0
        self._looks: list[tuple[float, tuple[float, ...]]] = []
        self.look(_FIRST)
        self.reference_us = tuple(reference_us) or self._calm_us()
        """What the references take at the pace that is 1: as of now, unless told."""
        if len(self.reference_us) != len(self._sittings):
            raise EngineError("the profile is of another version: calibrate again")

    def look(self, times: int = 1) -> None:
        """Time every reference so many times."""
        for _ in range(times):
            began_s = time.monotonic()
            took_us = tuple(
                min(sitting.time_us(runs) for _ in range(_BATCHES))
                for sitting, runs in zip(self._sittings, self._runs, strict=True)
            )
            now_s = time.monotonic()
            self._looks.append((now_s, took_us))
            self._next_s = now_s + max(self._every_s, (now_s - began_s) / LOOKING_SHARE)

    def keep_up(self) -> None:
        """Look again where the last look is old."""
        if time.monotonic() > self._next_s:
            self.look()

    def now(self) -> float:
        """Return how many times as long everything takes at this moment."""
        self.look(_NOW)
        return exp(fmean(log(self._slower(took_us)) for _, took_us in self._looks[-_NOW:]))

    def settle(self) -> None:
        """Make the pace of a calm moment the one that is 1: the first looks were few, and may have been of any."""
        self.reference_us = self._calm_us()

    def course(self) -> "Course":
        """Return how fast the machine was all the while."""
        moments_s, took_us = zip(*self._looks, strict=True)
        return Course(np.array(moments_s), np.log([self._slower(times) for times in took_us]))

    def _calm_us(self) -> tuple[float, ...]:
        """Return what each reference took in the calmest quarter of the looks, at most."""
        took_us = np.array([times for _, times in self._looks])
        return tuple(np.quantile(took_us, CALM_SHARE, axis=0).tolist())

    def _slower(self, took_us: Sequence[float]) -> float:
        """Return how many times as long the references took; most of them tell, one that lies badly in memory not."""
        return median(us / was_us for us, was_us in zip(took_us, self.reference_us, strict=True))
