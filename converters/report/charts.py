"""Drawings of the page, as SVG without script. Pure functions of numbers; names are escaped here."""

from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np

from converters.arrays import Array
from converters.rescue.recipe import LayerError, TensorRange

_POINTS: Final = 1500
_BINS: Final = 41
_ROW: Final = 18
_MOST_LAYERS: Final = 60
_MOST_HISTOGRAMS: Final = 12
_NAME: Final = 30


def short(name: str, length: int = _NAME) -> str:
    """Return the end of a name, where layers differ, escaped; of joined names the first."""
    name = name.split(";", maxsplit=1)[0]
    return escape(name if len(name) <= length else f"…{name[1 - length :]}")


def pair_bars(rows: Sequence[tuple[str, float, float, str]]) -> str:
    """Draw two bars for each row: the float model's value and the artifact's; the last entry is written behind."""
    largest = max((max(before, after) for _, before, after, _ in rows), default=0.0) or 1.0
    parts = []
    for number, (name, before, after, said) in enumerate(rows):
        y = number * 62
        parts.append(
            f"<text class=name x=0 y={y + 13}>{escape(name)}</text><text x=0 y={y + 28}>{escape(said)}</text>"
            f"<rect class=float x=0 y={y + 33} width={max(1.0, before / largest * 480):.1f} height=8 rx=3 />"
            f"<rect class=int x=0 y={y + 43} width={max(1.0, after / largest * 480):.1f} height=8 rx=3 />"
        )
    return f"<svg viewBox='0 0 480 {len(rows) * 62}' role=img aria-label='float and artifact'>{''.join(parts)}</svg>"


def layer_errors(layers: Sequence[LayerError]) -> str:
    """Draw each layer's ratio of signal to noise in execution order; the longer the bar, the nearer to float."""
    worst = sorted(layers, key=lambda layer: layer.sqnr_db)[:_MOST_LAYERS]
    shown = [layer for layer in layers if any(layer is one for one in worst)]
    limit = max(10.0, *(min(layer.sqnr_db, 60.0) for layer in shown))
    lowest = {id(layer) for layer in worst[:3]}
    parts = []
    for number, layer in enumerate(shown):
        y, width = number * _ROW, max(0.0, min(layer.sqnr_db, limit)) / limit * 220
        kind = "bad" if id(layer) in lowest else "int"
        parts.append(
            f"<text class=name x=0 y={y + 12}>{short(layer.name)}</text>"
            f"<rect class={kind} x=195 y={y + 3} width={width:.1f} height=11 rx=3 />"
            f"<text x={200 + width:.1f} y={y + 12}>{layer.sqnr_db:.1f} dB</text>"
            f"<title>{escape(layer.operator)}: {escape(layer.name)}</title>"
        )
    return f"<svg viewBox='0 0 480 {len(shown) * _ROW}' role=img aria-label='error per layer'>{''.join(parts)}</svg>"


def activations(ranges: Sequence[TensorRange]) -> str:
    """Draw how often each value was seen, and in red what lies beyond the range that was kept."""
    chosen = [one for one in ranges if one.histogram][:_MOST_HISTOGRAMS]
    return f"<div class=grid>{''.join(_activation(one) for one in chosen)}</div>" if chosen else ""


def _activation(one: TensorRange) -> str:
    heights = np.log1p(one.histogram) / max(float(np.log1p(max(one.histogram))), 1e-9) * 70
    low, high = one.seen
    width = 240 / len(heights)
    edges = np.linspace(low, high, len(heights) + 1)
    parts = []
    for number, height in enumerate(heights.tolist()):
        kept = edges[number + 1] > one.low and edges[number] < one.high
        parts.append(
            f"<rect class={'int' if kept else 'bad'} x={number * width:.2f} y={74 - height:.1f} "
            f"width={max(width - 0.4, 0.4):.2f} height={height:.1f} />"
        )
    caption = f"<b>{short(one.name)}</b><br>{low:.3g} to {high:.3g} seen, {one.low:.3g} to {one.high:.3g} kept"
    clipped = f", {one.clipped_share:.2%} clipped" if one.clipped_share else ""
    return (
        f"<figure><svg viewBox='0 0 240 76' role=img aria-label='values seen'>{''.join(parts)}</svg>"
        f"<figcaption>{caption}{clipped}</figcaption></figure>"
    )


def scatter(wanted: Array, got: Array) -> str:
    """Draw the artifact's values over the source's; on the diagonal they are equal."""
    x, y = wanted.reshape(-1), got.reshape(-1)
    chosen = np.linspace(0, len(x) - 1, min(len(x), _POINTS)).astype(int)
    x, y = x[chosen], y[chosen]
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    scale = 280 / ((high - low) or 1.0)
    dots = "".join(
        f"<circle class=dot cx={10 + (a - low) * scale:.1f} cy={290 - (b - low) * scale:.1f} r=2 />"
        for a, b in zip(x.tolist(), y.tolist(), strict=True)
    )
    return (
        "<figure><svg viewBox='0 0 300 300' role=img aria-label='artifact over source'>"
        f"<path class=line d='M10 290 290 10' />{dots}</svg>"
        f"<figcaption>artifact (up) over float (right), {low:.3g} to {high:.3g}</figcaption></figure>"
    )


def errors(wanted: Array, got: Array) -> str:
    """Draw how often each error occurs, logarithmically."""
    differences = (got - wanted).reshape(-1).astype(np.float64)  # float32 has no bins between neighbours
    limit = float(np.abs(differences).max()) or 1.0
    counts, _ = np.histogram(differences, _BINS, (-limit, limit))
    heights = np.log1p(counts) / np.log1p(counts.max()) * 270
    width = 280 / _BINS
    bars = "".join(
        f"<rect class=int x={10 + n * width:.1f} y={290 - height:.1f} width={width - 1:.1f} height={height:.1f} />"
        for n, height in enumerate(heights.tolist())
    )
    return (
        f"<figure><svg viewBox='0 0 300 300' role=img aria-label=errors>{bars}</svg>"
        f"<figcaption>errors, -{limit:.3g} to {limit:.3g}; heights are logarithmic</figcaption></figure>"
    )
