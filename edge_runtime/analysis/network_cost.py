"""What operators cost more, or less, in a network than alone.

Alone, run after run, an operator finds its weights and inputs in the cache where the same core left them, and pays for
an inference of its own. In a network others have been there since. So a network takes

    scale · sum of its operators + operators · per operator + cold weights + far weights + values handed on
    + operators that threads share + waking the others + bend

where the costs are fitted on the device to made-up networks (``calibration.context``). The bend is Gaussian process
regression of what is left, as a sum over the operators: each deviates by an amount that grows a little more slowly than
its own time, and depends on its sizes and kind; what is observed are the sums (Rasmussen and Williams, Gaussian
Processes for Machine Learning, 2006, chapter 2; with a few of the operators as inducing inputs, chapter 8).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import exp, log
from typing import Final

import msgspec
import numpy as np

from edge_runtime.analysis.kernel_table import Floats, matern
from edge_runtime.analysis.surroundings import FEATURES, Caches, Surroundings, features

_LARGEST: Final = 1e12
_LARGEST_ERROR: Final = 3.0
_DECIMAL: Final = r"-?\d{1,3}(?:\.\d{1,2})? "
_CENTRES: Final = re.compile(rf"(?:(?:{_DECIMAL}){{{FEATURES}}}-?\d{{1,9}}\.\d{{6}}\n){{0,300}}")
_SHARE_US: Final = 0.3
"""Added to an operator's time before its share is taken: the smallest deviate by more than their time."""
_SHARE_POWER: Final = 0.9
"""Of its time, that an operator deviates by: the longer it runs, the less it matters what was there before it."""
_ALONE_SHARE: Final = 0.85
_ALONE_US: Final = 0.6
"""Threads do not share an operator of which several take more than so much of the time of one, or one that short."""
_ASLEEP_US: Final = 60.0
"""While one works alone the others wait, and sleep the more likely the longer: they must be woken (seen on x86-64)."""
_LEAST_SHARE: Final = 0.12
"""Of what an inference costs: the smallest operator takes so much in a network (seen on x86-64)."""


class Context(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """What a network costs beside its operators, with one number of threads; microseconds, per megabyte (10^6)."""

    threads: int
    scale: float
    per_operator_us: float
    """Below zero: alone, every operator pays for an inference."""
    cold_us_per_mb: float
    """Weights that have left the cache since the last inference."""
    cold_once_us_per_mb: float
    """The same where each is used once, as in dense layers of one vector: nothing is computed meanwhile."""
    handed_us_per_mb: float
    """Values that another operator made: alone they lie where they were read last, with the core that reads them."""
    shared_us: float
    """Each operator that several threads share: alone, it shares out its work once for the whole inference."""
    wake_us: float
    """Waking the other threads, when they sleep."""
    call_us: float
    """Setting inputs and reading outputs, as the engine does for every frame."""
    copy_us_per_mb: float
    kept_bytes: int
    """What a cache seems to keep from one inference to the next: a share of ``level2_bytes``."""
    level2_bytes: int
    """A cache of the second level: what an operator alone finds again."""
    caches: int
    """How many of them the threads have."""
    error: float
    """Standard deviation of the logarithm of whole networks."""
    reach: float = 1.0
    """Of the bend: over how many doublings of a size a deviation carries."""
    centres: str = ""
    """Of the bend: lines of an operator's features and the deviation that belongs to them."""
    far_us_per_mb: tuple[tuple[float, float], ...] = ()
    """Megabytes of weights in a network, rising, and microseconds that each then costs more: it comes from memory."""
    reference_us: tuple[float, ...] = ()
    """What the references took (``calibration.pace``), for telling how fast the machine is at another time."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed with. Raises ValueError."""
        above = (self.threads, self.scale, self.kept_bytes, self.level2_bytes, self.caches, self.reach)
        others = (
            self.cold_us_per_mb,
            self.cold_once_us_per_mb,
            self.handed_us_per_mb,
            self.shared_us,
            self.wake_us,
            self.call_us,
            self.copy_us_per_mb,
        )
        far = [value for point in self.far_us_per_mb for value in point]
        rising = all(0 < one[0] < other[0] for one, other in pairwise(self.far_us_per_mb))
        values = (*above, *others, self.error, abs(self.per_operator_us), *far, *self.reference_us)
        possible = all(0 <= value < _LARGEST for value in values)
        if not (rising and possible) or 0 in (*above, *self.reference_us) or self.error > _LARGEST_ERROR:
            raise ValueError("a context has a number that no device has")
        if not _CENTRES.fullmatch(self.centres):
            raise ValueError(f"centres are lines of {FEATURES + 1} numbers")

    @cached_property
    def _bend(self) -> tuple[Floats, Floats]:
        rows = np.array([line.split() for line in self.centres.splitlines()], np.float64)
        return rows[:, :-1], rows[:, -1]

    def bend_us(self, alone_us: Floats, around: Surroundings) -> float:
        """Return what is left after the costs that are known by name."""
        if not self.centres or not around.parts:
            return 0.0
        centres, weights = self._bend
        near = matern(features(around, alone_us, self.caches_of()), centres, self.reach)
        return float(share_us(alone_us) @ near @ weights)

    def caches_of(self) -> "Caches":
        """Return the caches of the cores that take part."""
        return Caches(self.kept_bytes, self.level2_bytes, self.caches)

    def far_us(self, around: Surroundings) -> float:
        """Return what it costs that weights come from memory: interpolated over the logarithm of their size.

        The least of it is what leaving the second level costs: that holds of the bytes which had not left it alone.
        """
        weights_mb = around.weights_mb
        if not self.far_us_per_mb or weights_mb < self.far_us_per_mb[0][0]:
            return 0.0
        sizes, costs_us = zip(*self.far_us_per_mb, strict=True)
        least_us = min(costs_us)
        more_us = float(np.interp(log(weights_mb), np.log(sizes), costs_us)) - least_us
        return float(weights_mb * more_us + sum(self.caches_of().cold(around)) / 1e6 * least_us)


@dataclass(frozen=True, slots=True)
class Alone:
    """What operators take by themselves, in microseconds: with one thread, and with as many as there are."""

    single_us: Floats
    us: Floats

    @classmethod
    def of(cls, single_us: Sequence[float], us: Sequence[float]) -> "Alone":
        """Return the operators whose times these are, in execution order."""
        return cls(np.asarray(single_us, np.float64), np.asarray(us, np.float64))

    @property
    def total_us(self) -> float:
        """Return the sum, with all threads."""
        return float(self.us.sum())

    def shared(self) -> tuple[int, float]:
        """Return how many operators threads share, and how often the others sleep when one of these begins."""
        alone_us, count, asleep = 0.0, 0, 0.0
        by_one = (self.us > _ALONE_SHARE * self.single_us) | (self.single_us < _ALONE_US)
        for one, us in zip(by_one.tolist(), self.us.tolist(), strict=True):
            if one:
                alone_us += us
                continue
            count, asleep = count + 1, asleep + 1.0 - exp(-alone_us / _ASLEEP_US)
            alone_us = 0.0
        return count, asleep


def known_us(context: Context, alone: Alone, around: Surroundings) -> float:
    """Return an inference of a network whose operators take so long alone, without call and bend."""
    often, once = context.caches_of().cold_sums(around)
    us = _operators_us(context, alone.us, around) + context.far_us(around)
    us += context.handed_us_per_mb * around.handed_mb
    if context.threads > 1:
        shared, asleep = alone.shared()
        us += context.shared_us * shared + context.wake_us * asleep
    return us + (context.cold_us_per_mb * often + context.cold_once_us_per_mb * once) / 1e6


def _operators_us(context: Context, alone_us: Floats, around: Surroundings) -> float:
    """Return the sum of the operators, each without what an inference of its own costs; something is always left."""
    us = context.scale * alone_us
    delegated = np.array([part.delegated for part in around.parts], bool)
    overhead_us = -context.per_operator_us * (len(around.parts) - around.runs) / max(int(delegated.sum()), 1)
    rest = np.maximum(us - overhead_us, np.minimum(us, _LEAST_SHARE * overhead_us))
    return float(np.where(delegated, rest, us).sum())


def in_context_us(context: Context, alone: Alone, around: Surroundings) -> float:
    """Return the same with the bend."""
    known = known_us(context, alone, around)
    us = known + context.bend_us(alone.us, around)
    return max(us, 0.5 * known, 0.05 * alone.total_us)


def repeated_us(context: Context, alone: Alone, around: Surroundings) -> float:
    """Return one run of a graph that an operator runs again and again: no operator is called as an inference is."""
    called = tuple(replace(part, delegated=True) for part in around.parts)
    return known_us(context, alone, replace(around, parts=called, runs=1))


def share_us(alone_us: Floats) -> Floats:
    """Return what operators may deviate by among others, before it is known by how much of that each does."""
    share: Floats = (alone_us + _SHARE_US) ** _SHARE_POWER
    return share


def call_us(context: Context, around: Surroundings) -> float:
    """Return what setting inputs and reading outputs takes."""
    return context.call_us + context.copy_us_per_mb * around.copied_bytes / 1e6
