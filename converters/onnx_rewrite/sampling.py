"""GridSample: the neighbours of each point by GATHER, weighted; any number of axes.

Coordinates, padding and weights are those of ONNX's definition; bicubic weights have a = -0.75.
"""

import itertools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from converters.onnx_rewrite.trace import Answer, Call, Trace

_CUBIC: Final = -0.75
_INT32: Final = 6
_MOST_TAPS: Final = 64


@dataclass(frozen=True, slots=True)
class _Tap:
    """One neighbour along one axis: its index as a float, its weight ("" is 1), whether it is inside ("": it is)."""

    index: str
    weight: str
    inside: str


def grid_sample(trace: Trace, call: Call) -> Answer:
    """Say a GridSample over the positions of (batch, channels, positions...)."""
    x, grid = call.inputs
    shape, points = trace.shape(x), trace.shape(grid)
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode := _text(call.get("mode", "linear")), mode)
    padding, aligned = _text(call.get("padding_mode", "zeros")), bool(call.get("align_corners", 0))
    positions = shape[2:]
    if {"nearest": 1, "linear": 2, "cubic": 4}[mode] ** len(positions) > _MOST_TAPS:
        return None
    count = int(np.prod(points[1:-1]))
    taps = []
    for axis, size in enumerate(positions):
        last = len(positions) - 1 - axis  # the grid's last axis holds x first
        at = trace.reshape(trace.cut(grid, len(points) - 1, last, last + 1), [shape[0], count])
        taps.append(_taps(trace, at, size, mode=mode, padding=padding, aligned=aligned))
    table = _table(trace, x, shape)
    total = ""
    for chosen in itertools.product(*taps):
        value = _weighted(trace, table, chosen, shape, count)
        total = trace.op("Add", total, value) if total else value
    turned = trace.op("Transpose", trace.reshape(total, [shape[0], count, shape[1]]), perm=[0, 2, 1])
    return trace.reshape(turned, [*shape[:2], *points[1:-1]])


def _table(trace: Trace, x: str, shape: tuple[int, ...]) -> str:
    """Return the values as rows (batch * positions, channels)."""
    flat = trace.reshape(x, [shape[0], shape[1], int(np.prod(shape[2:]))])
    turned = trace.op("Transpose", flat, perm=[0, 2, 1])
    return trace.reshape(turned, [shape[0] * int(np.prod(shape[2:])), shape[1]])


def _weighted(trace: Trace, table: str, chosen: tuple[_Tap, ...], shape: tuple[int, ...], count: int) -> str:
    place = ""
    for tap, size in zip(chosen, shape[2:], strict=True):
        place = trace.op("Add", trace.op("Mul", place, np.float32(size)), tap.index) if place else tap.index
    size = int(np.prod(shape[2:]))
    if shape[0] > 1:
        place = trace.op("Add", place, (np.arange(shape[0], dtype=np.float32) * size)[:, None])
    index = trace.op("Cast", trace.reshape(place, [shape[0] * count]), to=_INT32)
    rows = trace.op("Gather", table, index, axis=0)
    for factor in [name for tap in chosen for name in (tap.weight, tap.inside) if name]:
        rows = trace.op("Mul", rows, trace.reshape(factor, [shape[0] * count, 1]))
    return rows


def _taps(trace: Trace, at: str, size: int, *, mode: str, padding: str, aligned: bool) -> list[_Tap]:
    """Return the neighbours along one axis of points at -1..1."""
    half = np.float32((size - 1) / 2 if aligned else size / 2)
    place = trace.op("Add", trace.op("Mul", at, half), np.float32((size - 1) / 2))
    if mode == "nearest":
        place = trace.op("Round", place)
    low, high = (0.0, size - 1.0) if aligned else (-0.5, size - 0.5)
    if padding == "border":
        place = trace.op("Clip", place, np.float32(0.0), np.float32(size - 1)) if mode != "cubic" else place
    elif padding == "reflection":
        place = _reflected(trace, place, low, high) if mode != "cubic" else place
    if mode == "nearest":
        return [_tap(trace, place, "", size, padding=padding, limits=(low, high))]
    base = trace.op("Floor", place)
    part = trace.op("Sub", place, base)
    steps = (0, 1) if mode == "linear" else (-1, 0, 1, 2)
    weights = _linear(trace, part) if mode == "linear" else _cubic(trace, part)
    found = []
    for step, weight in zip(steps, weights, strict=True):
        index = trace.op("Add", base, np.float32(step)) if step else base
        found.append(_tap(trace, index, weight, size, padding=padding, limits=(low, high)))
    return found


def _tap(trace: Trace, index: str, weight: str, size: int, *, padding: str, limits: tuple[float, float]) -> _Tap:
    inside = ""
    if padding == "reflection":
        index = _reflected(trace, index, *limits)
    kept = trace.op("Clip", index, np.float32(0.0), np.float32(size - 1))
    if padding == "zeros":
        # 1 inside, 0 from one step outside on: the index is whole
        off = trace.op("Abs", trace.op("Sub", index, kept))
        inside = trace.op("Sub", np.float32(1.0), trace.op("Clip", off, np.float32(0.0), np.float32(1.0)))
    return _Tap(trace.op("Round", kept) if padding == "reflection" else kept, weight, inside)


def _reflected(trace: Trace, place: str, low: float, high: float) -> str:
    """Return places mirrored at the limits, as often as it takes."""
    width = high - low
    if width <= 0.0:
        return trace.op("Mul", place, np.float32(0.0))
    off = trace.op("Abs", trace.op("Sub", place, np.float32(low)))
    turns = trace.op("Floor", trace.op("Mul", off, np.float32(1.0 / (2.0 * width))))
    left = trace.op("Sub", off, trace.op("Mul", turns, np.float32(2.0 * width)))  # 0..2 widths
    back = trace.op("Sub", np.float32(width), trace.op("Abs", trace.op("Sub", left, np.float32(width))))
    return trace.op("Add", back, np.float32(low))


def _linear(trace: Trace, part: str) -> list[str]:
    return [trace.op("Sub", np.float32(1.0), part), part]


def _cubic(trace: Trace, part: str) -> list[str]:
    """Return the weights of the four neighbours (Keys, "Cubic convolution interpolation", 1981)."""
    a = _CUBIC

    def polynomial(distance: str, numbers: tuple[float, ...]) -> str:
        result = trace.constant(np.float32(numbers[0]))
        for number in numbers[1:]:
            result = trace.op("Add", trace.op("Mul", result, distance), np.float32(number))
        return result

    inner, outer = (a + 2, -(a + 3), 0.0, 1.0), (a, -5 * a, 8 * a, -4 * a)
    rest = trace.op("Sub", np.float32(1.0), part)
    return [
        polynomial(trace.op("Add", part, np.float32(1.0)), outer),
        polynomial(part, inner),
        polynomial(rest, inner),
        polynomial(trace.op("Add", rest, np.float32(1.0)), outer),
    ]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


RULES = {"GridSample": grid_sample}
