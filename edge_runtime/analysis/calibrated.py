"""What ``edge-infer bench --calibrate`` found out about a device, and the time of operators by it.

A network takes ``call + copies + scale · (sum of its operators) + operators · per operator + bytes from behind the
cache + bytes moved``: the last four say what operators cost more beside others than alone, and are fitted on the device
to small made-up networks timed as a whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import exp, log, sqrt
from typing import Final

import msgspec
import numpy as np

from edge_runtime.analysis.cost import costs
from edge_runtime.analysis.descriptor import Descriptor
from edge_runtime.analysis.graph import Graph
from edge_runtime.analysis.kernel_table import Table

INTERVAL_SIGMAS: Final = 1.64
"""Half of an interval that is to hold nine of ten predictions, in standard deviations."""
SHARED_ERROR: Final = 0.5
_ALIKE: Final = {
    "SQUEEZE": "RESHAPE", "EXPAND_DIMS": "RESHAPE", "RELU_N1_TO_1": "RELU", "RELU_0_TO_1": "RELU", "NEG": "ABS",
    "FLOOR": "ABS", "CEIL": "ABS", "ROUND": "ABS", "POW": "EXP", "LOG": "EXP", "SIN": "TANH", "COS": "TANH",
    "PRELU": "LEAKY_RELU", "PADV2": "PAD", "MIRROR_PAD": "PAD", "SPLIT_V": "SPLIT", "UNPACK": "PACK",
    "REDUCE_MAX": "SUM", "REDUCE_MIN": "SUM", "REDUCE_PROD": "SUM", "ARG_MIN": "ARG_MAX", "DEPTH_TO_SPACE": "TRANSPOSE",
    "SPACE_TO_DEPTH": "TRANSPOSE", "BATCH_TO_SPACE_ND": "TRANSPOSE", "SPACE_TO_BATCH_ND": "TRANSPOSE",
    "GATHER": "SLICE", "LOG_SOFTMAX": "SOFTMAX", "SUB": "ADD",
    "MINIMUM": "MAXIMUM", "SQUARE": "ABS", "SQRT": "RSQRT", "RELU6": "RELU", "CAST": "DEQUANTIZE",
}  # fmt: skip
"""Operators that are not timed to those that do about the same work."""
_LARGEST: Final = 1e12
_LARGEST_ERROR: Final = 3.0
UNKNOWN_ERROR: Final = 0.5
"""Standard deviation of the logarithm where an operator is predicted from another kind."""


class Context(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a network costs beside its operators, with one number of threads; microseconds, per megabyte (10^6)."""

    threads: int
    scale: float
    per_operator_us: float
    """Below zero: alone, every operator pays for an inference."""
    cold_us_per_mb: float
    """Weights that have left the cache since the last inference."""
    cold_once_us_per_mb: float = 0.0
    """More for those of them that are used once only: nothing is computed meanwhile."""
    moved_us_per_mb: float
    """Values read and written."""
    shared_us_per_mb: float
    """What several cores want of an operator: the smaller of its weights and its values. None with one thread."""
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
    far_us_per_mb: tuple[tuple[float, float], ...] = ()
    """Megabytes of weights in a network, rising, and microseconds that each then costs more: it comes from memory."""
    reference_us: tuple[float, ...] = ()
    """What the reference operators took (``calibration.pace``), for telling how fast the machine is at another time."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed with. Raises ValueError."""
        above = (self.threads, self.scale, self.kept_bytes, self.level2_bytes, self.caches)
        others = (
            self.cold_us_per_mb,
            self.cold_once_us_per_mb,
            self.moved_us_per_mb,
            self.shared_us_per_mb,
            self.call_us,
            self.error,
        )
        whole = (*above, *others, abs(self.per_operator_us), self.copy_us_per_mb)
        far = [value for point in self.far_us_per_mb for value in point]
        rising = all(0 < one[0] < other[0] for one, other in pairwise(self.far_us_per_mb))
        possible = all(0 <= value < _LARGEST for value in (*whole, *far, *self.reference_us))
        if not (rising and possible) or 0 in above or 0 in self.reference_us or self.error > _LARGEST_ERROR:
            raise ValueError("a context has a number that no device has")

    def far_us(self, sums: "Sums") -> float:
        """Return what it costs that weights come from memory: interpolated over the logarithm of their size.

        The least of it is what leaving the second level costs: that holds of the bytes which had not left it alone.
        """
        weights_mb = sum(sums.weight_bytes) / 1e6
        if not self.far_us_per_mb or weights_mb < self.far_us_per_mb[0][0]:
            return 0.0
        sizes, costs_us = zip(*self.far_us_per_mb, strict=True)
        least_us = min(costs_us)
        more_us = float(np.interp(log(weights_mb), np.log(sizes), costs_us)) - least_us
        return float(weights_mb * more_us + self.cold_bytes(sums) / 1e6 * least_us)

    def cold_bytes(self, sums: "Sums", *, once: bool = False) -> float:
        """Return how many bytes of weights come from behind the cache."""
        caches = {"kept_bytes": self.kept_bytes, "level2_bytes": self.level2_bytes, "caches": self.caches}
        return cold_bytes(sums, once=once, **caches)


@dataclass(frozen=True, slots=True)
class Sums:
    """What of a network the context depends on, in bytes."""

    weight_bytes: tuple[int, ...]
    """Of every operator."""
    moved_bytes: tuple[int, ...]
    """That every operator reads and writes."""
    once: tuple[bool, ...]
    """Whether an operator uses each of its weights once only."""
    copied_bytes: int
    """Inputs and outputs."""

    @property
    def beside(self) -> int:
        """Return how many operators have another before them."""
        return max(0, len(self.weight_bytes) - 1)


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Everything measured on one device. Immutable."""

    basis: str = "measured"
    """Of every time in here."""
    date: str
    runtime: str
    software: str
    machine: str
    system: str
    seconds: float
    noise: float
    """How far the minima of two passes are apart, median of the logarithm: the noise floor of one operator."""
    contexts: tuple[Context, ...]
    kernels: tuple[Table, ...]

    def __post_init__(self) -> None:
        """Refuse what nothing can be predicted from. Raises ValueError."""
        if not self.contexts:
            raise ValueError("a calibration needs a context for at least one number of threads")

    @cached_property
    def _tables(self) -> dict[tuple[str, int], Table]:
        return {(table.kernel, table.threads): table for table in self.kernels}

    def context(self, threads: int) -> Context:
        """Return the context of so many threads: of the nearest number that was measured, no more than there are."""
        return min(self.contexts, key=lambda one: (abs(one.threads - threads), one.threads))

    def operators(self, wanted: Sequence[Descriptor], *, threads: int) -> list[tuple[float, float] | None]:
        """Return microseconds and the standard deviation of their logarithm for each operator; None where unknown."""
        counts = sorted({one.threads for one in self.contexts})
        below = max((count for count in counts if count <= threads), default=counts[0])
        above = min((count for count in counts if count >= threads), default=counts[-1])
        found = self._operators(wanted, below)
        if above == below:
            return found
        # Amdahl's law between the two numbers that were measured.
        share = (1 / below - 1 / threads) / (1 / below - 1 / above)
        return [
            (one[0] + (other[0] - one[0]) * share, max(one[1], other[1])) if one and other else one
            for one, other in zip(found, self._operators(wanted, above), strict=True)
        ]

    def _operators(self, wanted: Sequence[Descriptor], threads: int) -> list[tuple[float, float] | None]:
        found: list[tuple[float, float] | None] = [None] * len(wanted)
        groups: dict[tuple[str, float], list[int]] = {}
        for number, one in enumerate(wanted):
            if key := self._known(one.kernel, threads):
                groups.setdefault(key, []).append(number)
        for (kernel, doubt), numbers in groups.items():
            table = self._tables[kernel, threads]
            sizes = np.array([_as_long(wanted[number].sizes, table) for number in numbers], np.int64)
            took_us, unsure = table.predict(sizes)
            for number, us, sigma in zip(numbers, took_us.tolist(), unsure.tolist(), strict=True):
                found[number] = us, max(sigma, doubt)
        return found

    def _known(self, kernel: str, threads: int) -> tuple[str, float] | None:
        """Return the table to ask for a kernel, and how doubtful it is to ask it."""
        if (kernel, threads) in self._tables:
            return kernel, 0.0
        for doubt, candidate in _relatives(kernel):
            for name, count in self._tables:
                if count == threads and (name == candidate or name.startswith(candidate + "/")):
                    return name, doubt
        return None


def _relatives(kernel: str) -> Iterator[tuple[float, str]]:
    """Yield kernels that take about as long, the most alike first, each with a doubt."""
    by, types, name, *variant = kernel.split("/")
    other = types.replace("uint8", "int8") if "uint8" in types else types.replace("int8", "uint8")
    yield 0.15, f"{by}/{types}/{name}"
    yield 0.15, kernel.replace(types, other, 1)
    yield 0.2, f"{by}/{other}/{name}"
    if alike := _ALIKE.get(name):
        yield 0.15, "/".join((by, types, alike, *variant))
        yield 0.3, f"{by}/{types}/{alike}"
        yield 0.3, f"{by}/{other}/{alike}"
    for swapped in ("int8", "float32"):
        yield UNKNOWN_ERROR, f"{by}/{swapped}/{name}"
    if alike:
        yield UNKNOWN_ERROR, f"plain/int8/{alike}"


def _as_long(sizes: tuple[int, ...], table: Table) -> tuple[int, ...]:
    """Return sizes with as many numbers as the table's points have."""
    wanted = table.measured[0].shape[1]
    return (*sizes, *([1] * wanted))[:wanted]


def cold_bytes(sums: Sums, *, kept_bytes: int, level2_bytes: int, caches: int, once: bool = False) -> float:
    """Return how many bytes of weights have left the cache since the last inference, and had not when timed alone.

    Of each cache: every core reads all weights of an operator, but its own rows only, and of weights that are used once
    (dense layers) its part. All stay while that fits into ``kept_bytes``; none when it is one and a half times as much:
    a cache that drops what was used least recently loses all that comes round in turn. ``once``: only those weights.
    """
    needed = [
        (weights / caches if once else weights, moved / caches)
        for weights, moved, once in zip(sums.weight_bytes, sums.moved_bytes, sums.once, strict=True)
    ]
    largest = max((moved for _, moved in needed), default=0.0)
    lost = lost_share(sum(weights for weights, _ in needed) + 1.5 * largest, kept_bytes)
    return lost * sum(
        whole * (1.0 - lost_share(weights + moved, level2_bytes))
        for whole, single, (weights, moved) in zip(sums.weight_bytes, sums.once, needed, strict=True)
        if single or not once
    )


def shared_bytes(sums: Sums) -> int:
    """Return how many bytes cores that share an operator have to fetch from each other."""
    return sum(min(weights, moved) for weights, moved in zip(sums.weight_bytes, sums.moved_bytes, strict=True))


def lost_share(needed_bytes: float, cache_bytes: float) -> float:
    """Return which share of what is needed in turn a cache has lost when its turn comes."""
    return min(1.0, max(0.0, (needed_bytes - cache_bytes) / (0.5 * cache_bytes)))


def in_context_us(context: Context, operators_us: float, sums: Sums) -> float:
    """Return a whole inference of a network whose operators take ``operators_us`` alone, without the call."""
    us = context.scale * operators_us + context.per_operator_us * sums.beside
    us += context.cold_us_per_mb * context.cold_bytes(sums) / 1e6
    us += context.cold_once_us_per_mb * context.cold_bytes(sums, once=True) / 1e6 + context.far_us(sums)
    us += context.shared_us_per_mb * shared_bytes(sums) / 1e6
    us += context.moved_us_per_mb * sum(sums.moved_bytes) / 1e6
    return max(us, 0.1 * operators_us)


def call_us(context: Context, sums: Sums) -> float:
    """Return what setting inputs and reading outputs takes."""
    return context.call_us + context.copy_us_per_mb * sums.copied_bytes / 1e6


def interval_factor(context: Context, alone: Sequence[tuple[float, float]]) -> float:
    """Return by what a prediction may be off, as a factor, in nine cases of ten.

    ``alone`` are microseconds and deviations of the operators. Half of an operator's error is taken as its own, half as
    shared by all operators of its kind, which is what was seen on the networks of the design set.
    """
    total = sum(us for us, _ in alone) or 1.0
    own = sqrt(sum((us * sigma) ** 2 for us, sigma in alone)) / total
    shared = sum(us * sigma for us, sigma in alone) / total
    return exp(INTERVAL_SIGMAS * sqrt(own**2 + (SHARED_ERROR * shared) ** 2 + context.error**2))


def sums_of(graph: Graph) -> Sums:
    """Return what of a graph its context depends on."""
    every = costs(graph)
    ends = {*graph.model.inputs, *graph.model.outputs}
    return Sums(
        weight_bytes=tuple(cost.weight_bytes for cost in every),
        moved_bytes=tuple(cost.activation_bytes for cost in every),
        once=tuple(0 < cost.macs <= cost.parameters for cost in every),
        copied_bytes=sum(graph.tensors[index].size_bytes for index in ends),
    )
