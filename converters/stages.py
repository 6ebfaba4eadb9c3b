"""What the stages of a conversion hand on to each other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.arrays import Array
from converters.calibration import Plan
from converters.gate import Verdict
from converters.older_runtime import OlderRuntime
from converters.rescue.recipe import Candidate, LayerError, TensorRange
from edge_runtime.types import ModelSpec


@dataclass(frozen=True, slots=True)
class Source:
    """The source, converted to float and proven to be the same network, and what it says of the samples."""

    path: Path
    """The float ``.tflite``."""
    spec: ModelSpec
    preprocessing: str
    plan: Plan
    names: list[str]
    """The source's names of the outputs, in the order of the ``.tflite``."""
    outputs: list[Array]
    """Of the compared samples, in the order and layout of the ``.tflite``."""
    layout: dict[str, Any]
    sqnr_db: float

    @property
    def classifier(self) -> bool:
        """Whether the answer is the best of one row of scores."""
        return self.spec.task in {"classify", "audio"} and len(self.names) == 1


@dataclass(frozen=True, slots=True)
class Judged:
    """A quantised network and what was measured of it."""

    path: Path
    outputs: list[Array]
    """Of the compared samples."""
    clipped: float
    verdict: Verdict
    ranges: tuple[TensorRange, ...]
    layer_errors: tuple[LayerError, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    older_runtime: OlderRuntime | None = None
