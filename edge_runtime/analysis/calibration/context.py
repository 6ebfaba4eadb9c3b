"""Fit what a network costs beside its operators, to made-up networks timed as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_runtime.analysis.calibrated import Context, Sums, cold_bytes, shared_bytes, sums_of
from edge_runtime.analysis.calibration.caches import Cache
from edge_runtime.analysis.calibration.fitting import least_squares_above_zero
from edge_runtime.analysis.descriptor import Descriptor, describe
from edge_runtime.analysis.graph import Graph
from edge_runtime.analysis.kernel_table import Floats
from edge_runtime.analysis.xnnpack import delegation

_LEAST = 6
_CACHE_SHARES = (0.5, 0.7, 1.0)
_DISTURBED = 3.0
"""Operators that alone took so many times longer than the network were kept from running."""
_PRIOR = 10.0
"""How much the scale is kept near 1, in networks."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A network that was timed as a whole, and the sum of its operators timed alone."""

    sums: Sums
    threads: int
    us: float
    alone_us: float


def parts_of(graph: Graph, *, runtime: str) -> tuple[tuple[Descriptor, ...], Sums]:
    """Return the descriptors of a graph's operators and what its context depends on."""
    taken = delegation(graph, runtime="litert" if runtime == "litert" else "tflite-runtime").segment
    described = tuple(describe(graph, node, delegated=taken[node.index] is not None) for node in graph.nodes)
    return described, sums_of(graph)


def fit_context(wholes: Sequence[Whole], *, threads: int, cache: Cache, call: tuple[float, float]) -> Context:
    """Return the context of so many threads; ``call`` is microseconds of a call and per megabyte copied."""
    chosen = [whole for whole in wholes if whole.threads == threads and whole.alone_us < _DISTURBED * whole.us]
    level2_bytes, caches = cache.size_bytes, -(-threads // cache.cores)
    best = (np.inf, level2_bytes, np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
    if len(chosen) >= _LEAST:
        took_us = np.array([whole.us for whole in chosen])
        for share in _CACHE_SHARES:
            kept = int(share * level2_bytes)
            rows = _rows(chosen, kept, level2_bytes, caches)
            left_out = [_left_out(rows, took_us, number) for number in range(len(chosen))]
            error = float(np.sqrt(np.mean(np.minimum(np.square(left_out), 0.25))))
            best = min(best, (error, kept, _solve(rows, took_us)), key=lambda one: one[0])
    error, kept, found = best
    return Context(
        threads=threads,
        scale=round(float(found[0]), 4),
        per_operator_us=round(float(found[1] - found[2]), 4),
        cold_us_per_mb=round(float(found[3]), 3),
        moved_us_per_mb=round(float(found[4]), 3),
        shared_us_per_mb=round(float(found[5]), 3),
        cold_once_us_per_mb=round(float(found[6]), 3),
        call_us=round(call[0], 3),
        copy_us_per_mb=round(call[1], 3),
        kept_bytes=kept,
        level2_bytes=level2_bytes,
        caches=caches,
        error=round(error, 4) if np.isfinite(error) else 0.2,
    )


def _rows(wholes: Sequence[Whole], kept_bytes: int, level2_bytes: int, caches: int) -> Floats:
    rows = []
    for whole in wholes:
        beside, moved_mb = whole.sums.beside, sum(whole.sums.moved_bytes) / 1e6
        sizes = {"kept_bytes": kept_bytes, "level2_bytes": level2_bytes, "caches": caches}
        cold_mb, once_mb = (cold_bytes(whole.sums, once=once, **sizes) / 1e6 for once in (False, True))
        shared_mb = shared_bytes(whole.sums) / 1e6 if whole.threads > 1 else 0.0
        rows.append([whole.alone_us, beside, -beside, cold_mb, moved_mb, shared_mb, once_mb])
    return np.array(rows)


def _solve(rows: Floats, took_us: Floats) -> Floats:
    """Return scale, an operator's overhead above and below zero, cold, moved, shared, once; scale is near 1."""
    prior = np.array([[_PRIOR, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    matrix = np.vstack([rows / took_us[:, None], prior])
    size = np.abs(matrix).max(axis=0) + 1e-12
    found: Floats = least_squares_above_zero(matrix / size, np.append(np.ones(len(took_us)), _PRIOR)) / size
    return found


def _left_out(rows: Floats, took_us: Floats, number: int) -> float:
    """Return the logarithmic error for one network by a fit to the others."""
    others = np.arange(len(took_us)) != number
    guess = float(rows[number] @ _solve(rows[others], took_us[others]))
    return float(np.log(max(guess, 0.01) / took_us[number]))
