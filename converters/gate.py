"""The gate: what an artifact must show before it is handed over. Pure functions of arrays."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from converters.comparison import (
    Array,
    OutputDifference,
    PairedDifference,
    agreement,
    class_entropy_bits,
    compare,
    paired_difference,
    top1,
)
from converters.precision import PrecisionDifference

LOWEST_SQNR_DB: Final = 20.0
LOWEST_AGREEMENT: Final = 0.95
FEW_SAMPLES: Final = 40
"""Of fewer than these, one that falls to another class moves the share by more than half of what is forgiven."""
_CONFIDENCE_Z: Final = 1.959964
"""Two-sided 95 % of the normal distribution."""
LARGEST_LOSS: Final = 0.01
"""Of accuracy, beyond the interval: a share, 0.01 is one point."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was measured over ``samples`` samples, none of which was used for calibration, and what fails."""

    samples: int
    outputs: tuple[OutputDifference, ...]
    agreement: float | None = None
    """The share of samples with the same best class, for classifiers."""
    class_entropy_bits: float | None = None
    """Of the float model's best classes; near 0 the agreement says little."""
    accuracy: PairedDifference | None = None
    """Share of right answers, where labels were given."""
    mean_squared_error: tuple[float, float] | None = None
    """Before and after, where target values were given."""
    precision: PrecisionDifference | None = None
    """Mean average precision, where labelled boxes were given."""
    failures: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    """What so few samples cannot tell; it does not fail."""

    @property
    def passed(self) -> bool:
        """Whether nothing fails."""
        return not self.failures

    @property
    def sqnr_db(self) -> float:
        """Return the worst output's ratio."""
        return min(output.worst_db for output in self.outputs)

    @property
    def scores_db(self) -> float | None:
        """Return the worst ratio of scores that share a tensor with boxes in pixels, None where none do."""
        return min((output.scores_db for output in self.outputs if output.scores_db is not None), default=None)


def judge(
    names: Sequence[str],
    reference: Sequence[Array],
    other: Sequence[Array],
    *,
    classifier: bool,
    targets: Array | None = None,
    precision: PrecisionDifference | None = None,
) -> Verdict:
    """Compare the outputs of the source and of the artifact, each (samples, ...), one array per output.

    ``targets`` are class ids (integers, (samples,)) or values of the first output (floats, (samples, ...)).
    ``precision`` is that of a detector with labelled boxes, which has no ``targets``.
    """
    outputs = tuple(compare(*three) for three in zip(names, reference, other, strict=True))
    failures = _noisy(outputs)
    agreed = entropy = accuracy = errors = None
    doubt = ""
    if classifier:
        agreed, entropy = agreement(reference[0], other[0]), class_entropy_bits(reference[0])
        doubt, refused = _other_classes(agreed, len(reference[0]))
        failures += refused
    targets = _class_ids(targets) if classifier and targets is not None else targets
    if targets is not None and targets.dtype.kind in "iu":
        accuracy = paired_difference(top1(reference[0]) == targets, top1(other[0]) == targets)
        failures += _lost(accuracy)
    elif targets is not None:
        errors = (_mean_squared(reference[0], targets), _mean_squared(other[0], targets))
    failures += _less_precise(precision) if precision is not None else []
    return Verdict(
        len(reference[0]),
        outputs,
        agreed,
        entropy,
        accuracy,
        errors,
        precision,
        tuple(failures),
        (doubt,) if doubt else (),
    )


def _noisy(outputs: Sequence[OutputDifference]) -> list[str]:
    wanted = f"at least {LOWEST_SQNR_DB:g} dB are wanted"
    whole = [
        f"output {output.name}: {output.sqnr_db:.1f} dB, {wanted}"
        for output in outputs
        if output.sqnr_db < LOWEST_SQNR_DB
    ]
    scores = [
        f"output {output.name}: {output.scores_db:.1f} dB of its scores, which share a scale with boxes in pixels, "
        f"{wanted}"
        for output in outputs
        if output.scores_db is not None and output.scores_db < LOWEST_SQNR_DB
    ]
    return whole + scores


def _other_classes(agreed: float, count: int) -> tuple[str, list[str]]:
    """Return what so few samples cannot tell of the best classes, and what they refuse."""
    if agreed >= LOWEST_AGREEMENT:
        return "", []
    doubt = _doubt(agreed, count)
    refusal = f"the same best class for {agreed:.1%} of samples, at least {LOWEST_AGREEMENT:.0%} wanted"
    return doubt, [] if doubt else [refusal]


def _doubt(agreed: float, count: int) -> str:
    """Return what to say where so few samples cannot tell a share from the least one wanted; empty where they can."""
    low, high = share_interval(agreed, count)
    if count >= FEW_SAMPLES or high < LOWEST_AGREEMENT:
        return ""
    return (
        f"the same best class for {agreed:.0%} of only {count} samples (95 %: {low:.0%} to {high:.0%}), which does not "
        f"tell it from the {LOWEST_AGREEMENT:.0%} wanted: give more samples, {FEW_SAMPLES} at least"
    )


def share_interval(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share that was found in ``count`` samples.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927).
    """
    z2 = _CONFIDENCE_Z**2 / count
    middle = (share + z2 / 2.0) / (1.0 + z2)
    half = math.sqrt(share * (1.0 - share) * z2 + z2**2 / 4.0) / (1.0 + z2)
    return middle - half, middle + half


def _class_ids(targets: Array) -> Array:
    """Return the class of each sample: of labels as numbers, or of one-hot rows."""
    rows = targets.reshape(len(targets), -1)
    if rows.shape[1] > 1:
        return top1(rows)
    return rows[:, 0].astype(np.int64)


def _lost(accuracy: PairedDifference) -> list[str]:
    if accuracy.high >= -LARGEST_LOSS:
        return []
    change = f"accuracy {accuracy.before:.1%} became {accuracy.after:.1%} over {accuracy.count} samples"
    return [f"{change}, certainly more than {LARGEST_LOSS * 100:g} point lost"]


def _less_precise(precision: PrecisionDifference) -> list[str]:
    if precision.high >= -LARGEST_LOSS:
        return []
    change = f"mAP@0.5:0.95 {precision.before:.1%} became {precision.after:.1%} over {precision.count} pictures"
    return [f"{change}, certainly more than {LARGEST_LOSS * 100:g} point lost"]


def _mean_squared(outputs: Array, targets: Array) -> float:
    return float(np.mean((outputs.reshape(len(outputs), -1) - targets.reshape(len(targets), -1)) ** 2))
