"""Fit a kernel's table to measured points: costs above zero for the law, and how far deviations carry.

Everything that has to be chosen is chosen by leaving one point out at a time: nothing is taken from another machine.
"""

from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_runtime.analysis.kernel_table import (
    SHORTEST_US,
    Floats,
    Law,
    Table,
    Tile,
    coordinates,
    law_of,
    law_terms,
    matern,
)

LEAST_POINTS: Final = 4
OUTLIER: Final = 5.0
"""What took so many times longer than the law says was disturbed: a law that is fitted to relative errors is not bent
far by a few times that are too long.
"""
SLOW: Final = 0.25
SLOW_DEVIATIONS: Final = 4.0
"""What took longer than its neighbours say, by more than both (of the logarithm, and in median deviations), was
disturbed: with several threads one of them may have been kept from running. Nothing makes it faster than it is.
"""
_WIDTHS: Final = ((1, 1), (8, 1), (16, 1), (32, 1))
_OUTPUTS: Final = ((8, 1), (16, 1), (32, 1), (32, 2), (64, 1), (64, 2))
_Choices = tuple[tuple[str, tuple[tuple[int, ...], ...]], ...]
_TILES: Final[dict[Law, _Choices]] = {
    "product": (
        ("outputs", ((1, 1), *_OUTPUTS)),
        ("depth", ((1,), (4,), (16,), (64,))),
        ("rows", ((1,), (4,), (5,), (7,), (8,), (14,), (16,))),
        ("outputs", _OUTPUTS),
    ),
    "depthwise": (("outputs", _WIDTHS),),
    "values": (("outputs", _WIDTHS),),
}
"""Which side of the tile, and what it may be, of outputs with their parts: tried again when the others are known."""
_REACHES: Final = (1.0, 2.0, 4.0, 8.0)
_AMPLITUDES: Final = (0.05, 0.1, 0.2, 0.4)
_NOISES: Final = (0.02, 0.04)
_FAR: Final = 0.5
"""A deviation of the logarithm beyond this counts as this much: a rare outlier is not to choose for all."""


def fit_table(
    kernel: str,
    threads: int,
    points: dict[tuple[int, ...], float],
    *,
    caches_bytes: tuple[int, int],
    again: bool = True,
) -> Table:
    """Return the table of a kernel; ``points`` are microseconds by sizes, at least ``LEAST_POINTS``.

    ``caches_bytes``: first and second level of all cores that take part. ``again``: once more without what was slow.
    """
    sizes = np.array(list(points), np.int64)
    took_us = np.array(list(points.values()))
    tile, costs_us = _fit_law(kernel, sizes, took_us, caches_bytes)
    lawful = np.maximum(law_terms(kernel, sizes, tile=tile, caches_bytes=caches_bytes) @ costs_us, SHORTEST_US)
    kept = took_us < OUTLIER * lawful
    if LEAST_POINTS <= kept.sum() < len(kept):
        rest = {size: us for (size, us), keep in zip(points.items(), kept, strict=True) if keep}
        return fit_table(kernel, threads, rest, caches_bytes=caches_bytes, again=again)
    (reach, amplitude, noise, error), left_out = _fit_bend(coordinates(kernel, sizes), np.log(took_us / lawful))
    slow = left_out > max(SLOW, SLOW_DEVIATIONS * float(np.median(np.abs(left_out))))
    if again and slow.any() and (~slow).sum() >= LEAST_POINTS:
        rest = {size: us for (size, us), far in zip(points.items(), slow, strict=True) if not far}
        return fit_table(kernel, threads, rest, caches_bytes=caches_bytes, again=False)
    lines = (" ".join(str(size) for size in row) + f" {us:.3f}" for row, us in points.items())
    return Table(
        kernel=kernel,
        threads=threads,
        tile=tile,
        caches_bytes=caches_bytes,
        costs_us=tuple(float(f"{cost:.4g}") for cost in costs_us),
        reach=reach,
        amplitude=amplitude,
        noise=noise,
        error=round(error, 4),
        points="\n".join(lines) + "\n",
    )


def _fit_law(
    kernel: str, sizes: NDArray[np.int64], took_us: Floats, caches_bytes: tuple[int, int]
) -> tuple[Tile, Floats]:
    """Return the tile and the costs with the least error; the sides of the tile are chosen one after the other."""
    best: tuple[float, Tile, Floats] = (np.inf, (1, 1, 1, 1), np.zeros(0))
    for side, choices in _TILES[law_of(kernel)]:
        for choice in choices:
            tile = _with_side(best[1], side, choice)
            terms = law_terms(kernel, sizes, tile=tile, caches_bytes=caches_bytes)
            costs_us = least_relative_squares(terms, took_us)
            off = np.log(np.maximum(terms @ costs_us, SHORTEST_US) / took_us)
            error = float(np.mean(np.minimum(off**2, _FAR**2)))
            if error < best[0]:
                best = (error, tile, costs_us)
    return best[1], best[2]


def _with_side(tile: Tile, side: str, size: tuple[int, ...]) -> Tile:
    rows, outputs, depth, parts = tile
    if side == "outputs":
        return rows, size[0], depth, size[1]
    return (size[0], outputs, depth, parts) if side == "rows" else (rows, outputs, size[0], parts)


def _fit_bend(at: Floats, off: Floats) -> tuple[tuple[float, float, float, float], Floats]:
    """Return reach, amplitude, noise and the error of leaving one out, and by how much each is off when it is left out.

    The formula is Rasmussen and Williams' 5.12.
    """
    best, far = (1.0, 0.05, 0.05, np.inf), np.zeros(len(off))
    for reach in _REACHES:
        alike = matern(at, at, reach)
        for amplitude, noise in product(_AMPLITUDES, _NOISES):
            inverse = np.linalg.inv(amplitude**2 * alike + noise**2 * np.eye(len(off)))
            left_out = (inverse @ off) / np.diag(inverse)
            error = float(np.sqrt(np.mean(np.minimum(left_out**2, _FAR**2))))
            if error < best[3]:
                best, far = (reach, amplitude, noise, error), left_out
    return best, far


def least_relative_squares(terms: Floats, wanted: Floats) -> Floats:
    """Return costs (t,) of at least 0 with the least squares of ``terms @ costs / wanted - 1``."""
    scale = terms.max(axis=0) + 1e-12
    costs: Floats = least_squares_above_zero(terms / scale / wanted[:, None], np.ones(len(wanted))) / scale
    return costs


def least_squares_above_zero(matrix: Floats, wanted: Floats) -> Floats:
    """Return the least-squares solution without a negative part (Lawson and Hanson, Solving Least Squares, 1974)."""
    count = matrix.shape[1]
    gram, target = matrix.T @ matrix + 1e-12 * np.eye(count), matrix.T @ wanted
    free, found = np.zeros(count, bool), np.zeros(count)
    for _ in range(3 * count):
        slope = np.where(free, -1.0, target - gram @ found)
        if slope.max() < 1e-9:
            break
        free[int(np.argmax(slope))] = True
        found, free = _step(gram, target, found, free)
    return found


def _step(gram: Floats, target: Floats, found: Floats, free: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    while free.any():
        trial = np.zeros(len(found))
        trial[free] = np.linalg.solve(gram[np.ix_(free, free)], target[free])
        if (trial[free] > 0).all():
            return trial, free
        below = free & (trial <= 0)
        far = float(np.min(found[below] / (found[below] - trial[below] + 1e-30)))
        found = found + far * (trial - found)
        free = free & (found > 1e-12)
        found[~free] = 0.0
    return found, free
