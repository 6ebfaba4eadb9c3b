"""What operators cost more, or less, in a network than alone.

Alone, run after run, an operator finds its weights and inputs in the cache where the same core left them, and pays for
an inference of its own. In a network others have been there since. So a network takes

    scale · sum of its operators + operators · per operator + cold weights + far weights + values handed on + bend

where the costs are fitted on the device to made-up networks (``calibration.context``). The bend is Gaussian process
regression of what is left, as a sum over the operators: each deviates by an amount that grows a little more slowly than
its own time, and depends on its sizes and kind; what is observed are the sums (Rasmussen and Williams, Gaussian
Processes for Machine Learning, 2006, chapter 2; with a few of the operators as inducing inputs, chapter 8).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import log
from typing import Final

import msgspec
import numpy as np

from edge_runtime.analysis.cost import costs
from edge_runtime.analysis.graph import Graph
from edge_runtime.analysis.kernel_table import Floats, matern
from edge_runtime.analysis.xnnpack import Delegation

_LARGEST: Final = 1e12
_LARGEST_ERROR: Final = 3.0
FEATURES: Final = 13
_DECIMAL: Final = r"-?\d{1,3}(?:\.\d{1,2})? "
_CENTRES: Final = re.compile(rf"(?:(?:{_DECIMAL}){{{FEATURES}}}-?\d{{1,9}}\.\d{{6}}\n){{0,300}}")
_SHARE_US: Final = 0.3
"""Added to an operator's time before its share is taken: the smallest deviate by more than their time."""
_SHARE_POWER: Final = 0.8
"""Of its time, that an operator deviates by: the longer it runs, the less it matters what was there before it."""
_LEAST_SHARE: Final = 0.12
"""Of what an inference costs: the smallest operator takes so much in a network (seen on x86-64)."""
_KINDS: Final = {
    "CONV_2D": 0, "TRANSPOSE_CONV": 0, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 2, "BATCH_MATMUL": 2,
    "CONCATENATION": 4, "SPLIT": 4, "SPLIT_V": 4, "SLICE": 4, "STRIDED_SLICE": 4, "TRANSPOSE": 4, "PAD": 4, "PADV2": 4,
    "PACK": 4, "UNPACK": 4, "GATHER": 4, "TILE": 4, "SPACE_TO_DEPTH": 4, "DEPTH_TO_SPACE": 4, "RESHAPE": 4,
    "MAX_POOL_2D": 5, "AVERAGE_POOL_2D": 5, "MEAN": 5, "SUM": 5, "REDUCE_MAX": 5, "SOFTMAX": 5,
    "RESIZE_BILINEAR": 5, "RESIZE_NEAREST_NEIGHBOR": 5,
}  # fmt: skip
"""Products, depthwise ones, dense ones, those of each value by itself (3), what moves values, what looks at many."""
_VALUES: Final = 3
_LAST_KIND: Final = 5
# How many doublings of a size being of another kind, type or runner counts as.
_APART_KIND, _APART_TYPE, _APART_RUNNER = 4.0, 3.0, 6.0
# Bytes added before logarithms are taken: nobody tells 10 bytes of weights from 20.
_LEAST_WEIGHTS, _LEAST_VALUES, _LEAST_COLD = 500, 100, 2000


@dataclass(frozen=True, slots=True)
class Part:
    """What of an operator its cost among others depends on."""

    kind: int
    real: bool
    """Whether it computes in floating point."""
    delegated: bool
    once: bool
    """Whether it uses each of its weights once only."""
    weight_bytes: int
    fed_bytes: int
    made_bytes: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A network's operators in execution order, and what it depends on as a whole."""

    parts: tuple[Part, ...]
    runs: int
    """Parts that XNNPACK runs in one go, and operators of the interpreter: each is paid for as if it were alone."""
    copied_bytes: int
    """Inputs and outputs."""

    @property
    def weights_mb(self) -> float:
        """Return megabytes (10^6) of weights."""
        return sum(part.weight_bytes for part in self.parts) / 1e6

    @property
    def handed_mb(self) -> float:
        """Return megabytes (10^6) of values that operators are handed by others."""
        return sum(part.fed_bytes for part in self.parts) / 1e6


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
    longer: tuple[tuple[float, float], ...] = ()
    """Microseconds, rising, and how many times slower a run of such length is (``calibration.windows``)."""
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
            self.call_us,
            self.copy_us_per_mb,
        )
        curves = (self.far_us_per_mb, self.longer)
        far = [value for curve in curves for point in curve for value in point]
        rising = all(0 < one[0] < other[0] for curve in curves for one, other in pairwise(curve))
        values = (*above, *others, self.error, abs(self.per_operator_us), *far, *self.reference_us)
        possible = all(0 <= value < _LARGEST for value in values)
        slower = all(factor >= 1 for _, factor in self.longer)
        if not (rising and possible and slower) or 0 in (*above, *self.reference_us) or self.error > _LARGEST_ERROR:
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
class Caches:
    """Caches of the second level: what one keeps between inferences, what it holds, and how many there are."""

    kept_bytes: int
    level2_bytes: int
    count: int

    def cold(self, around: Surroundings) -> list[float]:
        """Return per operator the bytes of weights that have left since the last inference, and had not alone.

        Every core reads all weights of an operator, but its own rows only, and of weights that are used once (dense
        layers) its part. All stay while that fits into ``kept_bytes``; none when it is twice as much: a cache that
        drops what was used least recently loses all that comes round in turn.
        """
        largest = max((part.fed_bytes + part.made_bytes for part in around.parts), default=0) / self.count
        lost = lost_share(sum(self._weights(part) for part in around.parts) + 1.5 * largest, self.kept_bytes)
        return [lost * part.weight_bytes * self._kept_alone(part) for part in around.parts]

    def cold_sums(self, around: Surroundings) -> tuple[float, float]:
        """Return the same bytes of all operators: of those that use weights often, and of those that do once."""
        cold = self.cold(around)
        once = sum(bytes_ for bytes_, part in zip(cold, around.parts, strict=True) if part.once)
        return sum(cold) - once, once

    def _weights(self, part: Part) -> float:
        return part.weight_bytes / self.count if part.once else part.weight_bytes

    def _kept_alone(self, part: Part) -> float:
        needed = self._weights(part) + (part.fed_bytes + part.made_bytes) / self.count
        return 1.0 - lost_share(needed, self.level2_bytes)


def lost_share(needed_bytes: float, cache_bytes: float) -> float:
    """Return which share of what is needed in turn a cache has lost when its turn comes."""
    return min(1.0, max(0.0, needed_bytes / cache_bytes - 1.0))


def known_us(context: Context, alone_us: Sequence[float], around: Surroundings) -> float:
    """Return an inference of a network whose operators take ``alone_us`` alone, without call and bend."""
    often, once = context.caches_of().cold_sums(around)
    us = _operators_us(context, np.array(alone_us, np.float64), around) + context.far_us(around)
    us += context.handed_us_per_mb * around.handed_mb
    return us + (context.cold_us_per_mb * often + context.cold_once_us_per_mb * once) / 1e6


def _operators_us(context: Context, alone_us: Floats, around: Surroundings) -> float:
    """Return the sum of the operators, each without what an inference of its own costs; something is always left."""
    us = context.scale * alone_us
    delegated = np.array([part.delegated for part in around.parts], bool)
    overhead_us = -context.per_operator_us * (len(around.parts) - around.runs) / max(int(delegated.sum()), 1)
    rest = np.maximum(us - overhead_us, np.minimum(us, _LEAST_SHARE * overhead_us))
    return float(np.where(delegated, rest, us).sum())


def in_context_us(context: Context, alone_us: Sequence[float], around: Surroundings) -> float:
    """Return the same with the bend."""
    known = known_us(context, alone_us, around)
    us = known + context.bend_us(np.array(alone_us, np.float64), around)
    us = max(us, 0.5 * known, 0.05 * sum(alone_us))
    return us * slower_by(context.longer, us)


def share_us(alone_us: Floats) -> Floats:
    """Return what operators may deviate by among others, before it is known by how much of that each does."""
    share: Floats = (alone_us + _SHARE_US) ** _SHARE_POWER
    return share


def slower_by(longer: tuple[tuple[float, float], ...], us: float) -> float:
    """Return how many times slower a run of such length is than short ones, interpolated over the logarithm."""
    if not longer or us <= 0:
        return 1.0
    lengths_us, factors = zip((longer[0][0] / 2, 1.0), *longer, strict=True)
    return float(np.interp(log(us), np.log(lengths_us), factors))


def call_us(context: Context, around: Surroundings) -> float:
    """Return what setting inputs and reading outputs takes."""
    return context.call_us + context.copy_us_per_mb * around.copied_bytes / 1e6


def features(around: Surroundings, alone_us: Floats, caches: Caches) -> Floats:
    """Return where operators lie (n, FEATURES) for the bend: logarithms to base 2 of time and bytes, and kinds."""
    parts = around.parts
    sizes = [
        [part.weight_bytes + _LEAST_WEIGHTS, part.fed_bytes + _LEAST_VALUES, part.made_bytes + _LEAST_VALUES, cold]
        for part, cold in zip(parts, (bytes_ + _LEAST_COLD for bytes_ in caches.cold(around)), strict=True)
    ]
    kinds = [
        [_APART_RUNNER * (not part.delegated), _APART_TYPE * part.real]
        + [_APART_KIND * (part.kind == kind) for kind in range(_LAST_KIND + 1)]
        for part in parts
    ]
    return np.column_stack([np.log2(np.maximum(alone_us, 0.01)), np.log2(np.array(sizes, np.float64)), np.array(kinds)])


def surroundings_of(graph: Graph, taken: Delegation, *, fused: frozenset[int] = frozenset()) -> Surroundings:
    """Return what of a graph its context depends on; operators in ``fused`` are run by the one before them."""
    every, parts = costs(graph), []
    for node, cost in zip(graph.nodes, every, strict=True):
        fed = [index for index in dict.fromkeys(node.inputs) if index >= 0 and not graph.constant[index]]
        fed_bytes = sum(graph.tensors[index].size_bytes for index in fed)
        made_bytes = cost.activation_bytes - fed_bytes if cost.activation_bytes else 0
        if node.index in fused:
            continue
        result = graph.result(node)
        parts.append(
            Part(
                kind=_KINDS.get(node.name, _VALUES),
                real=result is not None and result.type.name.startswith("float"),
                delegated=taken.segment[node.index] is not None,
                once=0 < cost.macs <= cost.parameters,
                weight_bytes=cost.weight_bytes,
                fed_bytes=fed_bytes if cost.activation_bytes else 0,
                made_bytes=made_bytes,
            )
        )
    plain = sum(not part.delegated for part in parts)
    ends = {*graph.model.inputs, *graph.model.outputs}
    copied = sum(graph.tensors[index].size_bytes for index in ends)
    return Surroundings(parts=tuple(parts), runs=taken.segments + plain, copied_bytes=copied)
