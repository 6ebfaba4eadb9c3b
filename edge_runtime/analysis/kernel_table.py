"""The time of a kind of operator as a function of its sizes: a law of what the kernel does, bent to what was measured.

The law is a sum of terms with fitted costs above zero (tiles, values, bytes beyond a cache); the bend is Gaussian
process regression of the logarithm of measured over lawful time, in the logarithm of the sizes, with a Matern 3/2
kernel (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, chapters 2 and 4). It also says how
unsure it is: far from what was measured it falls back to the law with a wide interval.
"""

import re
from functools import cached_property
from math import isfinite
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Tile = tuple[int, int, int, int]
"""Rows, outputs and depth that a kernel computes at a time, and in how many parts the last, incomplete outputs."""
Law = Literal["product", "depthwise", "values"]
_PRODUCTS: Final = frozenset({"CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL"})
_BINARY: Final = frozenset({"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "POW"})
_LINES = r"(?:(?:[1-9]\d{0,9} ){%d}\d{1,9}\.\d{3}\n){1,2000}"
_POINTS: Final[dict[Law, re.Pattern[str]]] = {
    "product": re.compile(_LINES % 4),
    "depthwise": re.compile(_LINES % 4),
    "values": re.compile(_LINES % 3),
}
_TERMS: Final[dict[Law, int]] = {"product": 10, "depthwise": 8, "values": 7}
_LARGEST: Final = 1e12
SHORTEST_US: Final = 0.05
_CHANNEL_GROUPS: Final = (16, 32, 64)
_WASTE_WEIGHT: Final = 3.0
"""Chosen on the design set of docs/static-inference.md; the error is much the same from 2 to 4."""
_FEW_TAPS: Final = 9
_MANY_TAPS: Final = 25


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """One kernel with one number of threads. Immutable; what follows from its points is computed when first asked."""

    kernel: str
    threads: int
    tile: Tile = (1, 1, 1, 1)
    """Sizes are rounded up to whole tiles, outputs to parts of one."""
    caches_bytes: tuple[int, int]
    """Of all cores that take part: first and second level."""
    costs_us: tuple[float, ...]
    """Of each term of the law."""
    reach: float
    """Over how many doublings of a size a measured deviation carries."""
    amplitude: float
    noise: float
    """Standard deviation of the logarithm of one measured time."""
    error: float
    """Root mean square of the logarithm, each point predicted from the others."""
    points: str
    """Lines of sizes and microseconds."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed with: profiles are handed about. Raises ValueError."""
        if self.kernel.count("/") < 2:
            raise ValueError(f"{self.kernel!r} names no kernel")
        law = law_of(self.kernel)
        if not _POINTS[law].fullmatch(self.points):
            raise ValueError(f"{self.kernel}: points are lines of whole sizes and microseconds")
        positive = (self.reach, self.amplitude, self.noise, *self.tile, *self.caches_bytes, self.threads)
        if not all(isfinite(value) and 0 < value < _LARGEST for value in positive):
            raise ValueError(f"{self.kernel}: reach, amplitude, noise, tile, caches and threads must be above 0")
        if len(self.costs_us) != _TERMS[law] or not all(0 <= cost < _LARGEST for cost in (*self.costs_us, self.error)):
            raise ValueError(f"{self.kernel}: {_TERMS[law]} costs of at least 0 are needed")

    @cached_property
    def measured(self) -> tuple[NDArray[np.int64], Floats]:
        """Return sizes (n, k) and microseconds (n,)."""
        rows = [line.split() for line in self.points.strip().splitlines()]
        sizes = np.array([[int(word) for word in row[:-1]] for row in rows], np.int64)
        return sizes, np.array([float(row[-1]) for row in rows])

    @cached_property
    def _solved(self) -> tuple[Floats, Floats, Floats]:
        sizes, took_us = self.measured
        at = coordinates(self.kernel, sizes)
        covariance = self.amplitude**2 * matern(at, at, self.reach) + self.noise**2 * np.eye(len(at))
        inverse = np.asarray(np.linalg.inv(covariance), np.float64)
        weights: Floats = inverse @ np.log(took_us / self.lawful_us(sizes))
        return at, weights, inverse

    def lawful_us(self, sizes: NDArray[np.int64]) -> Floats:
        """Return the law's time (n,) for sizes (n, k), in microseconds."""
        terms = law_terms(self.kernel, sizes, tile=self.tile, caches_bytes=self.caches_bytes)
        lawful: Floats = np.maximum(terms @ np.asarray(self.costs_us), SHORTEST_US)
        return lawful

    def predict(self, sizes: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Return microseconds (n,) and the standard deviation of their logarithm (n,) for sizes (n, k)."""
        at, weights, inverse = self._solved
        near = self.amplitude**2 * matern(coordinates(self.kernel, sizes), at, self.reach)
        known = np.einsum("ij,jk,ik->i", near, inverse, near)
        unsure = np.sqrt(np.maximum(self.amplitude**2 - known, 0.0) + self.error**2)
        return self.lawful_us(sizes) * np.exp(near @ weights), unsure


def law_of(kernel: str) -> Law:
    """Return which law a kernel follows."""
    name = kernel.split("/")[2]
    if name == "DEPTHWISE_CONV_2D":
        return "depthwise"
    return "product" if name in _PRODUCTS or name.endswith(("LSTM", "RNN", "SVDF")) else "values"


def coordinates(kernel: str, sizes: NDArray[np.int64]) -> Floats:
    """Return where points lie (n, c): logarithms to base 2 of the sizes, and how much groups of several widths waste.

    Two operators are alike when their sizes are and when their last channels fill the kernels' tiles alike.
    """
    logarithms = np.log2(np.maximum(sizes, 1).astype(np.float64))
    groups = _CHANNEL_GROUPS if law_of(kernel) != "values" else ()
    wasted = [
        _WASTE_WEIGHT * np.log2(np.ceil(sizes[:, 1] / group) * group / np.maximum(sizes[:, 1], 1)) for group in groups
    ]
    return np.column_stack([logarithms, *wasted])


def matern(left: Floats, right: Floats, reach: float) -> Floats:
    """Return the Matern 3/2 correlation (n, m) of points (n, k) and (m, k)."""
    apart = np.sqrt(3.0 * ((left[:, None, :] - right[None, :, :]) ** 2).sum(-1)) / reach
    alike: Floats = (1.0 + apart) * np.exp(-apart)
    return alike


def law_terms(kernel: str, sizes: NDArray[np.int64], *, tile: Tile, caches_bytes: tuple[int, int]) -> Floats:
    """Return the terms (n, t) that a kernel's time is a sum of, for sizes (n, k)."""
    columns = np.maximum(sizes, 1).astype(np.float64).T
    types = kernel.split("/")[1]
    size = 4 if types.split("-")[0] in {"float32", "int32"} else 1
    if law_of(kernel) == "values":
        return np.stack(_values(columns, tile, size * _tensors(kernel), caches_bytes), axis=1)
    terms = {"product": _product, "depthwise": _depthwise}[law_of(kernel)]
    return np.stack(terms(columns, tile, size, caches_bytes), axis=1)


def _tensors(kernel: str) -> int:
    """Return how many tensors of the full size an operator reads and writes."""
    parts = kernel.split("/")
    return 3 if parts[2] in _BINARY and len(parts) == 3 else 2


def _product(columns: Floats, tile: Tile, size: int, caches: tuple[int, int]) -> list[Floats]:
    rows, outputs, depth, taps = columns
    tiles = np.ceil(rows / tile[0]) * np.ceil(outputs / tile[1])
    computed = np.ceil(rows / tile[0]) * tile[0] * np.ceil(depth / tile[2]) * tile[2] * taps
    # What is left of the outputs is stored value by value, or by a narrower kernel: it costs more than a whole tile.
    whole, part = np.floor(outputs / tile[1]) * tile[1], max(1, tile[1] // tile[3])
    rest = np.ceil((outputs - whole) / part) * part
    weight_bytes, moved_bytes = outputs * depth * taps * size, rows * (outputs + depth) * size
    return [
        np.ones_like(rows),
        computed * whole,
        computed * rest,
        rows * outputs,
        rows * depth * taps,
        tiles * taps,
        rows,
        weight_bytes,
        _missed(weight_bytes, caches[1]),
        _missed(moved_bytes, caches[1]),
    ]


def _depthwise(columns: Floats, tile: Tile, size: int, caches: tuple[int, int]) -> list[Floats]:
    rows, channels, step, taps = columns
    # Kernels exist for windows of 9 and 25; smaller ones run on the next.
    taps = np.where(taps <= _FEW_TAPS, _FEW_TAPS, np.where(taps <= _MANY_TAPS, _MANY_TAPS, taps))
    computed = np.ceil(channels / tile[1]) * tile[1]
    moved_bytes = rows * channels * (1 + step * step) * size
    return [
        np.ones_like(rows),
        rows * computed * taps,
        rows * computed,
        rows * taps,
        rows * channels * step * step,
        channels * taps,
        _missed(moved_bytes, caches[0]),
        _missed(moved_bytes, caches[1]),
    ]


def _values(columns: Floats, tile: Tile, size: int, caches: tuple[int, int]) -> list[Floats]:
    rows, inner, window = columns
    moved_bytes = rows * inner * size
    computed = rows * np.ceil(inner / tile[1]) * tile[1]
    return [
        np.ones_like(rows),
        rows,
        computed,
        computed * window,
        inner,
        _missed(moved_bytes, caches[0]),
        _missed(moved_bytes, caches[1]),
    ]


def _missed(needed_bytes: Floats, cache_bytes: float) -> Floats:
    """Return how many bytes come from behind a cache: none while everything fits, all from one and a half times on."""
    share: Any = np.clip((needed_bytes - cache_bytes) / (0.5 * cache_bytes), 0.0, 1.0)
    return np.asarray(needed_bytes * share, np.float64)
