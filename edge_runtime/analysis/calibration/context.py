"""Fit what a network costs beside its operators, to made-up networks timed as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_runtime.analysis.calibration.caches import Cache
from edge_runtime.analysis.calibration.fitting import least_squares_above_zero
from edge_runtime.analysis.descriptor import Descriptor, describe
from edge_runtime.analysis.graph import Graph
from edge_runtime.analysis.kernel_table import Floats, matern
from edge_runtime.analysis.network_cost import Alone, Context, known_us, share_us
from edge_runtime.analysis.surroundings import Caches, Surroundings, features, surroundings_of
from edge_runtime.analysis.xnnpack import delegation, fused_away

_LEAST: Final = 6
_COSTS: Final = 7
"""Beside the scale."""
_CACHE_SHARES: Final = (0.5, 0.65, 0.8, 1.0)
_DISTURBED: Final = 3.0
"""Operators that alone took so many times longer than the network were kept from running; the smallest may."""
_TINY_US: Final = 2.0
_PRIOR: Final = 10.0
"""How much the scale is kept near 1, in networks."""
_USUAL_US_PER_MB: Final = 200.0
_USUAL_US: Final = 500.0
_ROUNDS: Final = 5
_USUAL: Final = 0.03
"""Relative errors beyond this count by their size, no longer by its square."""
_CENTRES: Final = 240
REACH: Final = 12.0
AMPLITUDE: Final = 0.1
"""Of the bend; chosen on the networks of docs/calibration.md: the error is much the same from 0.07 to 0.2, 6 to 24."""
_NOISE: Final = 0.03
_FAR: Final = 0.3
"""A deviation of the logarithm beyond this counts as this much."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A network that was timed as a whole, and its operators timed alone."""

    around: Surroundings
    threads: int
    us: float
    alone: Alone
    kind: str
    """Networks of a kind are left out together when it is looked how well others predict them."""


@dataclass(frozen=True, slots=True)
class Described:
    """A graph as calibration sees it: ``alone`` are the operators that are not run by the one before them."""

    descriptors: tuple[Descriptor, ...]
    alone: tuple[int, ...]
    around: Surroundings


def describe_graph(graph: Graph, *, runtime: str) -> Described:
    """Return the descriptors of a graph's operators and what its context depends on."""
    taken = delegation(graph, runtime="litert" if runtime == "litert" else "tflite-runtime")
    fused = fused_away(graph, taken)
    return Described(
        descriptors=tuple(
            describe(graph, node, delegated=taken.segment[node.index] is not None) for node in graph.nodes
        ),
        alone=tuple(node.index for node in graph.nodes if node.index not in fused),
        around=surroundings_of(graph, taken, fused=fused),
    )


def fit_context(
    wholes: Sequence[Whole],
    *,
    threads: int,
    cache: Cache,
    call: tuple[float, float],
) -> Context:
    """Return the context of so many threads; ``call`` is microseconds of a call and per megabyte copied."""
    chosen = [whole for whole in wholes if whole.threads == threads and not _is_disturbed(whole)]
    caches = -(-threads // cache.cores)
    best = _context(threads, Caches(cache.size_bytes, cache.size_bytes, caches), np.array([1.0, *[0.0] * _COSTS]), call)
    if len(chosen) < _LEAST:
        return best
    took_us = np.array([whole.us for whole in chosen])
    kinds = np.array([whole.kind for whole in chosen])
    error = np.inf
    for share in _CACHE_SHARES:
        tried = Caches(int(share * cache.size_bytes), cache.size_bytes, caches)
        rows = _rows(chosen, tried)
        left_out = np.zeros(len(chosen))
        for members in _kinds(kinds):
            left_out[members] = rows[members] @ _solve(rows[~members], took_us[~members])
        found = _error(left_out, took_us)
        if found < error:
            error, best = found, _context(threads, tried, _solve(rows, took_us), call)
    return _bent(best, chosen, took_us)


def _is_disturbed(whole: Whole) -> bool:
    return float(np.maximum(whole.alone.us - _TINY_US, 0.0).sum()) > _DISTURBED * whole.us


def _context(threads: int, caches: Caches, found: Floats, call: tuple[float, float]) -> Context:
    return Context(
        threads=threads,
        scale=round(float(found[0]), 4),
        per_operator_us=round(float(found[1] - found[2]), 4),
        cold_us_per_mb=round(float(found[3]), 3),
        cold_once_us_per_mb=round(float(found[4]), 3),
        handed_us_per_mb=round(float(found[5]), 3),
        shared_us=round(float(found[6]), 4),
        wake_us=round(float(found[7]), 3),
        call_us=round(call[0], 3),
        copy_us_per_mb=round(call[1], 3),
        kept_bytes=caches.kept_bytes,
        level2_bytes=caches.level2_bytes,
        caches=caches.count,
        error=0.2,
    )


def _kinds(kinds: NDArray[np.str_]) -> list[NDArray[np.bool_]]:
    """Return the members of each kind, or each network by itself where all are of one."""
    names = sorted(set(kinds))
    if len(names) > 1:
        return [kinds == name for name in names]
    return [np.arange(len(kinds)) == number for number in range(len(kinds))]


def _error(guess_us: Floats, took_us: Floats) -> float:
    """Return the root mean square of the logarithm, what is far off counting as ``_FAR``."""
    off = np.log(np.maximum(guess_us, 0.01) / took_us)
    return float(np.sqrt(np.mean(np.minimum(np.square(off), _FAR**2))))


def _rows(wholes: Sequence[Whole], caches: Caches) -> Floats:
    rows = []
    for whole in wholes:
        beside = len(whole.around.parts) - whole.around.runs
        often, once = caches.cold_sums(whole.around)
        shared = whole.alone.shared() if whole.threads > 1 else (0, 0.0)
        bytes_ = [often / 1e6, once / 1e6, whole.around.handed_mb]
        rows.append([whole.alone.total_us, beside, -beside, *bytes_, *shared])
    return np.array(rows)


def _solve(rows: Floats, took_us: Floats) -> Floats:
    """Return scale, overhead of an operator above and below zero, and what bytes, sharing and waking cost.

    By relative errors.
    """
    # Few networks say anything of bytes: what they cost is kept from being what one disturbed network wants it to be.
    prior = np.diag([_PRIOR, 0.0, 0.0, *[1 / _USUAL_US_PER_MB] * 3, *[1 / _USUAL_US] * 2])[[0, *range(3, 1 + _COSTS)]]
    matrix = np.vstack([rows / took_us[:, None], prior])
    wanted = np.concatenate([np.ones(len(took_us)), [_PRIOR], np.zeros(len(prior) - 1)])
    size = np.abs(matrix).max(axis=0) + 1e-12
    weights: Floats = np.ones(len(wanted))
    found: Floats = np.zeros(rows.shape[1])
    for _ in range(_ROUNDS):
        found = least_squares_above_zero(matrix / size * weights[:, None], wanted * weights) / size
        off: Floats = np.asarray(np.abs(matrix @ found - wanted), np.float64)
        weights = np.sqrt(_USUAL / np.maximum(off, _USUAL)).astype(np.float64)
    return found


def _bent(context: Context, wholes: Sequence[Whole], took_us: Floats) -> Context:
    """Return the context with what is left explained by the operators' sizes, and the error of leaving one out."""
    known = np.array([known_us(context, whole.alone, whole.around) for whole in wholes])
    left = np.clip((took_us - known) / took_us, -1.0, 1.0)
    at = [features(whole.around, whole.alone.us, context.caches_of()) for whole in wholes]
    centres = _spread(np.unique(np.round(np.vstack(at)), axis=0))
    spread = np.linalg.cholesky(matern(centres, centres, REACH) + 1e-6 * np.eye(len(centres)))
    shares = [
        share_us(whole.alone.us) @ matern(points, centres, REACH) for whole, points in zip(wholes, at, strict=True)
    ]
    basis = np.linalg.solve(spread, (np.array(shares) / took_us[:, None]).T).T
    inverse = np.linalg.inv(basis.T @ basis + (_NOISE / AMPLITUDE) ** 2 * np.eye(len(centres)))
    found = inverse @ basis.T @ left
    # Leaving one out of a ridge regression: its error here over what it does not say of itself.
    itself = np.einsum("ij,jk,ik->i", basis, inverse, basis)
    off = (left - basis @ found) / np.maximum(1.0 - itself, 0.05)
    error = float(np.sqrt(np.mean(np.minimum(np.square(off), _FAR**2))))
    weights = np.linalg.solve(spread.T, found)
    return msgspec.structs.replace(context, error=round(error, 4), reach=REACH, centres=_lines(centres, weights))


def _spread(points: Floats) -> Floats:
    """Return up to ``_CENTRES`` points, each as far from those before it as there is."""
    chosen, apart = [0], np.full(len(points), np.inf)
    while len(chosen) < min(_CENTRES, len(points)):
        apart = np.minimum(apart, ((points - points[chosen[-1]]) ** 2).sum(-1))
        chosen.append(int(np.argmax(apart)))
    found: Floats = points[chosen]
    return found


def _lines(centres: Floats, weights: Floats) -> str:
    rows = zip(centres.tolist(), weights.tolist(), strict=True)
    return "".join(" ".join(f"{value:g}" for value in row) + f" {weight:.6f}\n" for row, weight in rows)
