"""A conversion in a few lines for the terminal."""

from collections import Counter
from typing import Final

from converters.comparison import OutputDifference
from converters.edgetpu import MAPPED, EdgeTpu
from converters.rescue.recipe import Candidate
from converters.result import ConversionResult

_NAME_SHOWN: Final = 60

_NAMED: Final = 6


def text(result: ConversionResult) -> str:
    """Return what was made, what it lost against its source, and what it took."""
    verdict = result.verdict
    lines = [_headline(result)]
    lines += [_output(output) for output in verdict.outputs]
    lines += _kept(result)
    if result.older_runtime is not None:
        older = result.older_runtime.verdict
        same = "" if older.agreement is None else f", same best class {older.agreement:.1%}"
        lines.append(f"  in {result.older_runtime.runtime}: {older.sqnr_db:.1f} dB{same}")
    lines.append(f"  compared on {verdict.samples} samples of {result.compared_with}, none used for calibration")
    if result.calibration is not None:
        seen = result.calibration
        low, high = seen.input_range
        lines.append(
            f"  calibrated with {seen.samples} samples of {seen.where}: inputs {low:.4g}..{high:.4g}, "
            f"{seen.clipped_share:.2%} of compared values clipped"
        )
    lines += _tried(result)
    lines.append(f"  inputs normalised: {result.preprocessing}")
    if result.edgetpu is not None:
        lines += [f"  Edge TPU: {line}" for line in _edgetpu(result.edgetpu)]
    lines += [f"  {step.name}: {step.seconds:.1f} s, {step.peak_mb:.0f} MB" for step in result.steps]
    lines += [f"  warning: {warning}" for warning in result.warnings]
    return "\n".join(lines)


def _kept(result: ConversionResult) -> list[str]:
    """Return what is left of right answers, as far as it was measured."""
    verdict, lines = result.verdict, []
    if verdict.agreement is not None:
        lines.append(
            f"  same best class: {verdict.agreement:.1%} of {verdict.samples} samples "
            f"(the float model's answers have {verdict.class_entropy_bits:.2f} bits)"
        )
    if verdict.accuracy is not None:
        paired = verdict.accuracy
        low, high = paired.low * 100, paired.high * 100
        lines.append(
            f"  accuracy: {paired.before:.1%} float, {paired.after:.1%} {result.quantize}, "
            f"difference {(paired.after - paired.before) * 100:+.1f} points (95 %: {low:+.1f} to {high:+.1f})"
        )
    if verdict.precision is not None:
        boxes = verdict.precision
        low, high = boxes.low * 100, boxes.high * 100
        lines.append(
            f"  mAP@0.5:0.95: {boxes.before:.1%} float, {boxes.after:.1%} {result.quantize}, "
            f"difference {(boxes.after - boxes.before) * 100:+.1f} points (95 %: {low:+.1f} to {high:+.1f})"
        )
        lines.append(f"  mAP@0.5: {boxes.before_at_half:.1%} float, {boxes.after_at_half:.1%} {result.quantize}")
    if verdict.mean_squared_error is not None:
        before, after = verdict.mean_squared_error
        lines.append(f"  mean squared error: {before:.5g} float, {after:.5g} {result.quantize}")
    return lines


def _output(output: OutputDifference) -> str:
    low, high = output.reference_range
    scores = "" if output.scores_db is None else f"; {output.scores_db:.1f} dB of its scores"
    return (
        f"  output {output.name}: {output.sqnr_db:.1f} dB, largest error {output.max_error:.3g} "
        f"in {low:.3g}..{high:.3g}{scores}"
    )


def _tried(result: ConversionResult) -> list[str]:
    """Return the Pareto table, and the activation that is clipped most."""
    rows = result.candidates
    lines = [f"  tried on {rows[0].samples} calibration samples:"] if rows else []
    for row in rows:
        mark = "->" if row.chosen else "  "
        lines.append(f"  {mark} {row.recipe.describe()}: {_measured(row) if row.size_bytes else row.failures[0]}")
    if result.ranges and result.ranges[0].clipped_share > 0.0:
        worst = result.ranges[0]
        ends = f"{worst.low:.4g}..{worst.high:.4g} of {worst.seen[0]:.4g}..{worst.seen[1]:.4g}"
        lines.append(f"  most clipped activation: {worst.clipped_share:.2%} of {worst.name[-_NAME_SHOWN:]!r} ({ends})")
    return lines


def _measured(row: Candidate) -> str:
    same = "" if row.agreement is None else f", same best class {row.agreement:.0%}"
    right = "" if row.accuracy is None else f", right {row.accuracy:.0%}"
    right += "" if row.precision is None else f", own boxes kept {row.precision:.0%} (mAP@0.5:0.95)"
    return f"{row.sqnr_db:.1f} dB{same}{right}, {row.size_bytes / 1024:.0f} kB, {row.int8_macs:.0%} of MACs in int8"


def _headline(result: ConversionResult) -> str:
    if result.output is None:
        return f"{result.source.name}: refused ({result.route})"
    forced = "" if result.verdict.passed else ", FAILED ITS GATE, written with --force"
    return f"{result.output}: {result.size_bytes / 1024:.0f} kB ({result.route}){forced}"


def _edgetpu(found: EdgeTpu) -> list[str]:
    lines = []
    if found.before.left:
        lines.append(f"before quantising, {found.before.sentence()}")
    lines.append(f"by the published rules {found.after.sentence()}")
    others = Counter(left.reason for left in found.after.left[1:])
    lines += [f"also {count} times: {reason}" for reason, count in others.most_common(_NAMED)]
    if found.compiler is not None:
        mapped = sum(row.count for row in found.rows if row.status == MAPPED)
        lines.append(
            f"{found.output} by compiler {found.compiler}: {mapped} of {sum(r.count for r in found.rows)} mapped"
        )
        lines += [f"{row.count} {row.operator}: {row.status}" for row in found.rows if row.status != MAPPED]
    return lines
