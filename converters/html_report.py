"""A conversion as one page that needs nothing else: no script, no address, no font of others."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np

from converters import summary
from converters.arrays import Array
from converters.comparison import top1
from converters.result import ConversionResult
from edge_runtime.types import ImageInput, ModelSpec

_POINTS: Final = 2000
_BINS: Final = 41
_SHOWN: Final = 8
_MOST_CLASSES: Final = 40
_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1f24;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}.pass{color:#116329}.fail{color:#a40e26}
pre{background:#f6f8fa;padding:1rem;overflow-x:auto;white-space:pre-wrap}svg{background:#f6f8fa;max-width:100%}
table{border-collapse:collapse;font-size:.8rem}td,th{border:1px solid #d0d7de;padding:.15rem .4rem;text-align:right}
figure{display:inline-block;margin:.5rem;width:12rem;vertical-align:top}figcaption{font-size:.8rem}
img{width:100%;image-rendering:pixelated}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}pre,svg{background:#161b22}
.pass{color:#57ab5a}.fail{color:#f47067}td,th{border-color:#30363d}}
"""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a page shows beside the numbers: inputs (n, ...) and both models' outputs of the compared samples."""

    spec: ModelSpec
    samples: Array
    names: Sequence[str]
    source: Sequence[Array]
    artifact: Sequence[Array]
    targets: Array | None


def page(result: ConversionResult, evidence: Evidence) -> str:
    """Return the page. Names and paths are escaped."""
    verdict = result.verdict
    word, kind = ("passed", "pass") if verdict.passed else ("failed", "fail")
    parts = [
        f"<h1>{escape(result.source.name)} → {escape(result.quantize)}: <span class={kind}>{word}</span></h1>",
        *(f"<p class=fail>{escape(failure)}</p>" for failure in verdict.failures),
        f"<pre>{escape(summary.text(result))}</pre>",
    ]
    for name, wanted, got in zip(evidence.names, evidence.source, evidence.artifact, strict=True):
        parts.append(f"<h2>Output {escape(name)}</h2>{_scatter(wanted, got)}{_histogram(wanted, got)}")
    if verdict.agreement is not None:
        parts += [_confusion(evidence), _changed(evidence)]
    title = escape(f"{result.source.name}: {word}")
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
    return f"{head}<body>{''.join(parts)}</body></html>\n"


def _scatter(wanted: Array, got: Array) -> str:
    """Draw the artifact's values over the source's; on the diagonal they are equal."""
    x, y = wanted.reshape(-1), got.reshape(-1)
    chosen = np.linspace(0, len(x) - 1, min(len(x), _POINTS)).astype(int)
    x, y = x[chosen], y[chosen]
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    scale = 280 / ((high - low) or 1.0)
    dots = "".join(
        f"<circle cx={10 + (a - low) * scale:.1f} cy={290 - (b - low) * scale:.1f} r=1.5 />"
        for a, b in zip(x.tolist(), y.tolist(), strict=True)
    )
    return (
        f"<figure style='width:19rem'><svg viewBox='0 0 300 300' role=img aria-label='artifact over source'>"
        f"<line x1=10 y1=290 x2=290 y2=10 stroke=#8b949e /><g fill=#0969da fill-opacity=.5>{dots}</g></svg>"
        f"<figcaption>artifact (up) over source (right), {low:.3g} to {high:.3g}</figcaption></figure>"
    )


def _histogram(wanted: Array, got: Array) -> str:
    errors = (got - wanted).reshape(-1)
    limit = float(np.abs(errors).max()) or 1.0
    counts, _ = np.histogram(errors, _BINS, (-limit, limit))
    heights = np.log1p(counts) / np.log1p(counts.max()) * 270
    width = 280 / _BINS
    bars = "".join(
        f"<rect x={10 + n * width:.1f} y={290 - height:.1f} width={width - 1:.1f} height={height:.1f} />"
        for n, height in enumerate(heights.tolist())
    )
    return (
        f"<figure style='width:19rem'><svg viewBox='0 0 300 300' role=img aria-label='errors'>"
        f"<g fill=#bf8700>{bars}</g></svg>"
        f"<figcaption>errors, -{limit:.3g} to {limit:.3g}, logarithmic</figcaption></figure>"
    )


def _confusion(evidence: Evidence) -> str:
    """Count right classes (or the source's, without labels) against the artifact's."""
    truth = top1(evidence.source[0])
    title = "The source's class (row), the artifact's (column)"
    if evidence.targets is not None and evidence.targets.ndim == 1:
        truth, title = evidence.targets.astype(int), "The right class (row), the artifact's (column)"
    count = int(np.prod(evidence.source[0].shape[1:]))
    if count > _MOST_CLASSES:
        return ""
    table = np.zeros((count, count), int)
    np.add.at(table, (truth, top1(evidence.artifact[0])), 1)
    head = "".join(f"<th>{escape(_label(evidence, n))}" for n in range(count))
    rows = "".join(f"<tr><th>{escape(_label(evidence, n))}{_cells(row, n)}" for n, row in enumerate(table))
    return f"<h2>{title}</h2><table><tr><th>{head}{rows}</table>"


def _cells(row: Array, right: int) -> str:
    total = max(int(row.sum()), 1)
    colors = ("87,171,90" if n == right else "244,112,103" for n in range(len(row)))
    return "".join(
        f"<td style='background:rgba({color},{value / total:.2f})'>{value or ''}"
        for color, value in zip(colors, row.tolist(), strict=True)
    )


def _changed(evidence: Evidence) -> str:
    """Show the samples whose answers changed most, with both answers."""
    source, artifact = (outputs[0].reshape(len(outputs[0]), -1) for outputs in (evidence.source, evidence.artifact))
    worst = np.argsort(-np.abs(source - artifact).max(axis=1))[:_SHOWN]
    figures = "".join(
        f"<figure>{_picture(evidence, int(index))}<figcaption>float: {_answer(evidence, source[index])}<br>"
        f"artifact: {_answer(evidence, artifact[index])}</figcaption></figure>"
        for index in worst
    )
    return f"<h2>What changed most</h2>{figures}"


def _answer(evidence: Evidence, scores: Array) -> str:
    best = int(scores.argmax())
    return f"{escape(_label(evidence, best))} {scores[best]:.3f}"


def _label(evidence: Evidence, index: int) -> str:
    labels = evidence.spec.labels or ()
    return labels[index] if index < len(labels) else str(index)


def _picture(evidence: Evidence, index: int) -> str:
    """Return a sample as an embedded PNG, or nothing for what is no picture."""
    fed = evidence.spec.input
    if not isinstance(fed, ImageInput):
        return ""
    from PIL import Image

    sample = np.asarray(evidence.samples[index])
    channels = 1 if fed.color == "GRAY" else 3
    width, height = fed.size
    pixels = sample.reshape(channels, height, width).transpose(1, 2, 0) if fed.layout == "NCHW" else sample
    pixels = pixels.reshape(height, width, channels) * np.asarray(fed.std) + np.asarray(fed.mean)
    shown = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    shown = shown[..., ::-1] if fed.color == "BGR" else shown
    stream = io.BytesIO()
    Image.fromarray(shown[..., 0] if channels == 1 else np.ascontiguousarray(shown)).save(stream, "PNG")
    return f"<img alt='sample {index}' src='data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}'>"
