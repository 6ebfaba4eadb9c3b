"""The page itself: the verdict first, then what it rests on."""

import base64
import io
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

import numpy as np

from converters import summary
from converters.arrays import Array
from converters.comparison import top1
from converters.report import charts
from converters.report.evidence import Evidence, Speed
from converters.report.style import STYLE
from converters.rescue.recipe import Candidate, LayerError, TensorRange
from converters.result import ConversionResult
from edge_runtime.types import ImageInput

_SHOWN: Final = 8
_MOST_CLASSES: Final = 40
_MOST_OUTPUTS: Final = 4


def page(result: ConversionResult, evidence: Evidence) -> str:
    """Return the page. Names and paths are escaped."""
    word = "passed" if result.verdict.passed else "refused" if result.output is None else "failed"
    title = escape(f"{result.source.name} in {result.quantize}: {word}")
    head = (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{title}</title>"
        f"<meta name=viewport content='width=device-width,initial-scale=1'><style>{STYLE}</style></head>"
    )
    return f"{head}<body><main>{''.join(_parts(result, evidence, word))}</main></body></html>\n"


def _parts(result: ConversionResult, evidence: Evidence, word: str) -> Iterator[str]:
    yield _verdict(result, word)
    yield _cards(result, evidence.speed)
    yield from (f"<p class=warn>{escape(warning)}</p>" for warning in result.warnings)
    if evidence.speed is not None:
        yield _speed(evidence.speed)
    yield _pareto(result.candidates)
    yield _layers(result.layer_errors)
    yield _activations(result.ranges)
    if result.verdict.agreement is not None:
        yield _confusion(evidence)
        yield _changed(evidence)
    yield _outputs(evidence)
    yield _steps(result)


def _verdict(result: ConversionResult, word: str) -> str:
    verdict = result.verdict
    said = [escape(failure) for failure in verdict.failures] or [_why(result)]
    return (
        f"<h1>{escape(result.source.name)} → {escape(result.quantize)}</h1>"
        f"<div class='verdict {'pass' if verdict.passed else 'fail'}'><strong>{word}</strong>"
        f"{''.join(f'<p>{line}</p>' for line in said)}"
        f"<p>Compared on {verdict.samples} samples of {escape(result.compared_with)}; none of them calibrated.</p>"
        "</div>"
    )


def _why(result: ConversionResult) -> str:
    verdict = result.verdict
    words = [f"its worst output is {verdict.sqnr_db:.1f} dB from the float model's"]
    if verdict.agreement is not None:
        words.append(f"it names the same best class for {verdict.agreement:.1%} of the samples")
    return f"It answers like the model it was made from: {' and '.join(words)}."


def _cards(result: ConversionResult, speed: Speed | None) -> str:
    verdict = result.verdict
    cards: list[tuple[str, str]] = []
    if verdict.accuracy is not None:
        paired = verdict.accuracy
        low, high = paired.low * 100, paired.high * 100
        change = f"{(paired.after - paired.before) * 100:+.1f} points (95 %: {low:+.1f} to {high:+.1f})"
        cards.append((f"{paired.before:.1%} → {paired.after:.1%}", f"accuracy, {change}"))
    if verdict.mean_squared_error is not None:
        before, after = verdict.mean_squared_error
        cards.append((f"{before:.4g} → {after:.4g}", "mean squared error"))
    if verdict.agreement is not None:
        bits = f"the float model's answers have {verdict.class_entropy_bits:.2f} bits"
        cards.append((f"{verdict.agreement:.1%}", f"same best class; {bits}"))
    cards.append((f"{verdict.sqnr_db:.1f} dB", "signal to quantisation noise, the worst output"))
    if speed is not None:
        share = speed.artifact_bytes / speed.source_bytes
        cards.append(
            (f"{_kilobytes(speed.source_bytes)} → {_kilobytes(speed.artifact_bytes)}", f"file, {share:.0%} of float")
        )
        gain = speed.source_ms / speed.artifact_ms
        cards.append(
            (f"{speed.source_ms:.3g} → {speed.artifact_ms:.3g} ms", f"one inference here, {gain:.1f} times as fast")
        )
    if result.calibration is not None:
        seen = result.calibration
        cards.append((f"{seen.clipped_share:.2%}", f"of input values clipped; {seen.samples} samples calibrated"))
    drawn = "".join(f"<div class=card><b>{figure}</b><span>{escape(said)}</span></div>" for figure, said in cards)
    return f"<div class=cards>{drawn}</div>"


def _kilobytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _speed(speed: Speed) -> str:
    rows = [
        (
            "this machine, one thread, measured",
            speed.source_ms,
            speed.artifact_ms,
            _times(speed.source_ms, speed.artifact_ms),
        )
    ]
    for board in speed.boards:
        said = f"{_times(board.source_ms, board.artifact_ms)} ({board.low_ms:.3g}-{board.high_ms:.3g})"
        said += f", Edge TPU {board.edgetpu_ms:.3g} ms" if board.edgetpu_ms is not None else ""
        rows.append((board.title, board.source_ms, board.artifact_ms, said))
    return (
        "<h2>How fast</h2><p>One inference, without the camera and what comes after. This machine: the best of "
        f"{speed.runs} runs in LiteRT. Boards: predicted from the operators, all cores, with the interval.</p>"
        f"<p class=key><i style='background:var(--float)'></i>float<i style='background:var(--int)'></i>converted</p>"
        f"{charts.pair_bars(rows)}"
    )


def _times(before: float, after: float) -> str:
    return f"{before:.3g} → {after:.3g} ms"


def _pareto(rows: Sequence[Candidate]) -> str:
    """Draw every way to quantise that was tried, in order."""
    if not rows:
        return ""
    cells = "".join(f"<tr{' class=chosen' if row.chosen else ''}>{_candidate(row)}</tr>" for row in rows)
    scored = "boxes kept" if any(row.precision is not None for row in rows) else "accuracy"
    return (
        "<h2>What was tried</h2><p>Each way to quantise, on held-back calibration samples: size, share of the "
        "arithmetic in 8 bits, and what it keeps.</p><div class=scroll><table><tr><th>way<th>size<th>int8 MACs<th>dB"
        f"<th>same class<th>{scored}<th>{cells}</table></div>"
    )


def _candidate(row: Candidate) -> str:
    way = f"<td>{escape(row.recipe.describe())}</td>"
    if not row.size_bytes:
        return f"{way}<td colspan=6>{escape(row.failures[0])}</td>"
    scored = row.accuracy if row.precision is None else row.precision
    kept = f"<td>{row.sqnr_db:.1f}</td><td>{_share(row.agreement)}</td><td>{_share(scored)}</td>"
    word = "chosen" if row.chosen else "would pass" if row.passed else "fails"
    return f"{way}<td>{_kilobytes(row.size_bytes)}</td><td>{row.int8_macs:.0%}</td>{kept}<td>{word}</td>"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _layers(layers: Sequence[LayerError]) -> str:
    if not layers:
        return ""
    return (
        "<h2>Where it is lost</h2><p>Each layer's output against the float model's, in execution order; it adds up all "
        f"before it. The three worst are marked.</p>{charts.layer_errors(layers)}"
    )


def _activations(ranges: Sequence[TensorRange]) -> str:
    drawn = charts.activations(ranges)
    if not drawn:
        return ""
    return (
        "<h2>What the layers hold</h2><p>Values of the calibration samples, the most clipped layers first; heights are "
        f"logarithmic, and what is red lies beyond the range that 8 bits were given.</p>{drawn}"
    )


def _confusion(evidence: Evidence) -> str:
    """Count right classes (or the source's, without labels) against the artifact's."""
    truth, title = top1(evidence.source[0]), "The float model's class (row), the converted one's (column)"
    if evidence.targets is not None and evidence.targets.ndim == 1 and evidence.targets.dtype != object:
        truth, title = evidence.targets.astype(int), "The right class (row), the converted model's (column)"
    count = int(np.prod(evidence.source[0].shape[1:]))
    if count > _MOST_CLASSES:
        return ""
    table = np.zeros((count, count), int)
    np.add.at(table, (truth, top1(evidence.artifact[0])), 1)
    head = "".join(f"<th>{escape(_label(evidence, n))}</th>" for n in range(count))
    rows = "".join(f"<tr><th>{escape(_label(evidence, n))}</th>{_cells(row, n)}</tr>" for n, row in enumerate(table))
    return (
        f"<h2>{title}</h2><div class=scroll><table class=matrix><thead><tr><td></td>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cells(row: Array, right: int) -> str:
    total = max(int(row.sum()), 1)
    parts = []
    for n, value in enumerate(row.tolist()):
        color = "var(--good)" if n == right else "var(--bad)"
        wash = f" style='background:color-mix(in srgb,{color} {value / total * 60:.0f}%,transparent)'" if value else ""
        parts.append(f"<td{wash}>{value or ''}</td>")
    return "".join(parts)


def _changed(evidence: Evidence) -> str:
    """Show the samples whose answers changed most, with both answers."""
    source, artifact = (outputs[0].reshape(len(outputs[0]), -1) for outputs in (evidence.source, evidence.artifact))
    order = np.argsort(-np.abs(source - artifact).max(axis=1))[:_SHOWN]
    figures = "".join(
        f"<figure>{_picture(evidence, int(index))}<figcaption>float: {_answer(evidence, source[index])}<br>"
        f"converted: {_answer(evidence, artifact[index])}</figcaption></figure>"
        for index in order
    )
    return f"<h2>Samples whose answer changed most</h2><div class=grid>{figures}</div>"


def _answer(evidence: Evidence, scores: Array) -> str:
    best = int(scores.argmax())
    return f"<b>{escape(_label(evidence, best))}</b> {scores[best]:.3f}"


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


def _outputs(evidence: Evidence) -> str:
    rows = list(zip(evidence.names, evidence.source, evidence.artifact, strict=True))[:_MOST_OUTPUTS]
    return "".join(
        f"<h2>Output {escape(name)}</h2><div class=grid>{charts.scatter(wanted, got)}{charts.errors(wanted, got)}</div>"
        for name, wanted, got in rows
    )


def _steps(result: ConversionResult) -> str:
    rows = "".join(
        f"<tr><td>{escape(step.name)}</td><td>{step.seconds:.1f} s</td><td>{step.peak_mb:.0f} MB</td></tr>"
        for step in result.steps
    )
    return (
        f"<h2>How it was made</h2><p>{escape(result.route)}; inputs normalised: {escape(result.preprocessing)}.</p>"
        f"<div class=scroll><table><tr><th>step</th><th>time</th><th>largest memory</th></tr>{rows}</table></div>"
        f"<details><summary>The same as text</summary><pre>{escape(summary.text(result))}</pre></details>"
    )
