"""How one candidate is quantised, and what was measured of it. Frozen values that the report and ``--json`` show."""

from dataclasses import dataclass

from converters.rescue.ranges import RangeMethod


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to quantise a network; weights have a scale for each output channel in all of them."""

    ranges: RangeMethod = "minmax"
    equalized: bool = False
    """Scales were moved between layers first, and biases absorbed."""
    bias_corrected: bool = False
    wide: tuple[str, ...] = ()
    """Layers, by their output, whose activations have 16 bits."""
    in_float: tuple[str, ...] = ()
    """Layers, by their output, that compute in float."""

    def describe(self) -> str:
        """Return the candidate in a few words."""
        words = [f"{self.ranges} ranges"]
        words += ["equalised"] if self.equalized else []
        words += ["biases corrected"] if self.bias_corrected else []
        for names, kind in ((self.wide, "int16"), (self.in_float, "float")):
            words += [f"{len(names)} layer{'s' * (len(names) > 1)} in {kind}"] if names else []
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One row of the Pareto table: a recipe, what it costs, and what it lost over the held-back calibration samples."""

    recipe: Recipe
    size_bytes: int
    int8_macs: float
    """Predicted share of multiply-accumulates that work on 8-bit values."""
    samples: int
    sqnr_db: float
    agreement: float | None
    """Of the best class, for classifiers."""
    accuracy: float | None
    """Share of right answers, where the calibration samples are labelled."""
    failures: tuple[str, ...]
    doubts: tuple[str, ...] = ()
    """What its few samples cannot tell."""
    chosen: bool = False
    scores_db: float | None = None
    """Of a detector's scores alone, where they share a tensor with boxes in pixels; part of ``sqnr_db``."""
    precision: float | None = None
    """Of a detector: mAP@0.5:0.95 with the boxes that the float model would show as the truth."""

    @property
    def passed(self) -> bool:
        """Whether it would pass the gate with these samples."""
        return not self.failures


@dataclass(frozen=True, slots=True)
class TensorRange:
    """The range of an activation that was chosen, within what the calibration samples showed."""

    name: str
    low: float
    high: float
    seen: tuple[float, float]
    clipped_share: float
    histogram: tuple[int, ...] = ()
    """Counts over ``seen``, in bins of equal width."""


@dataclass(frozen=True, slots=True)
class LayerError:
    """What int8 costs at one layer."""

    name: str
    """Of its output."""
    operator: str
    sqnr_db: float
    """Of its output in the artifact against float: what its own rounding and all before it add up to."""
    alone_db: float | None = None
    """Of the network's outputs when this layer alone is quantised; measured when layers are looked for to rescue."""
