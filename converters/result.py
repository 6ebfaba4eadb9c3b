"""What a conversion gives back."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.child import StepReport
from converters.edgetpu import EdgeTpu
from converters.gate import Verdict
from converters.older_runtime import OlderRuntime
from converters.rescue.recipe import Candidate, LayerError, TensorRange
from edge_runtime.errors import RefusedError


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the quantiser saw."""

    where: str
    samples: int
    input_range: tuple[float, float]
    clipped_share: float
    """Of the compared samples' input values, the share beyond the calibrated range."""


@dataclass(frozen=True, slots=True)
class ConversionResult:
    """One conversion. ``output`` is None when the gate refused it and nothing was written."""

    output: Path | None
    sha256: str
    size_bytes: int
    source: Path
    source_sha256: str
    route: str
    quantize: str
    preprocessing: str
    """Where the normalisation comes from: ``given``, a layer of the source, or proven by the evaluation."""
    layout: dict[str, Any]
    """How input and outputs were turned against the source: axes, the batch first."""
    compared_with: str
    """Which samples the verdict is over."""
    verdict: Verdict
    float_sqnr_db: float
    """The worst output of the float ``.tflite`` against the source; what differs is refused."""
    calibration: Calibration | None
    float_operators: int
    steps: tuple[StepReport, ...]
    warnings: tuple[str, ...] = ()
    older_runtime: OlderRuntime | None = None
    """With ``--runtime tflite-runtime``."""
    ranges: tuple[TensorRange, ...] = ()
    """Of every activation, the most clipped first."""
    layer_errors: tuple[LayerError, ...] = ()
    """In execution order, over the first calibration samples that were held back."""
    candidates: tuple[Candidate, ...] = ()
    """The Pareto table: every way to quantise that was tried, in order; one is chosen."""
    edgetpu: EdgeTpu | None = None
    """With ``--edgetpu``: what maps, and the compiled model."""

    @property
    def seconds(self) -> float:
        """Return the time of all steps."""
        return sum(step.seconds for step in self.steps)

    @property
    def peak_mb(self) -> float:
        """Return the largest step's peak of resident memory."""
        return max(step.peak_mb for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values, for ``--json``."""
        values: dict[str, Any] = dataclasses.asdict(self)
        values["output"] = None if self.output is None else str(self.output)
        values["source"] = str(self.source)
        if self.edgetpu is not None and self.edgetpu.output is not None:
            values["edgetpu"]["output"] = str(self.edgetpu.output)
        return values | {"schema": 1, "passed": self.verdict.passed, "seconds": self.seconds, "peak_mb": self.peak_mb}


class GateError(RefusedError):
    """The artifact lost too much and was not written. ``result`` has the numbers."""

    def __init__(self, message: str, result: ConversionResult) -> None:
        super().__init__(message)
        self.result = result
