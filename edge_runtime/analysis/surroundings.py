"""What a network's operators have around them: what they read, make and need, and what of it a cache has kept.

It decides what operators cost more, or less, in a network than alone (``network_cost``).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from edge_runtime.analysis.cost import costs
from edge_runtime.analysis.graph import Graph
from edge_runtime.analysis.kernel_table import Floats
from edge_runtime.analysis.xnnpack import Delegation

FEATURES: Final = 13
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
                fed_bytes=cost.read_bytes,
                made_bytes=cost.made_bytes,
            )
        )
    plain = sum(not part.delegated for part in parts)
    ends = {*graph.model.inputs, *graph.model.outputs}
    copied = sum(graph.tensors[index].size_bytes for index in ends)
    return Surroundings(parts=tuple(parts), runs=taken.segments + plain, copied_bytes=copied)
