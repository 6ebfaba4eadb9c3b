"""Anomaly detection: how badly an autoencoder reproduces its input."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import BadFrameError, EngineError, ModelError
from edge_runtime.postprocess.tensors import dequantize, the_output
from edge_runtime.types import Anomaly, ModelSpec, Prepared


class AnomalyPostprocessor:
    """Compares the reconstruction with the input, both dequantised; a model with one value gives the score itself.

    The score is the mean of the squared differences, in squared units of the model's input. ``score_threshold`` is
    the score above which a window is anomalous; without it the model's own threshold counts, without that ``anomalous``
    is None. Raises ModelError when the output is neither as large as the input nor one value. Called from the
    inference thread, before the input's buffer is used again.
    """

    def __init__(self, spec: ModelSpec, *, top_k: int | None, score_threshold: float | None) -> None:  # noqa: ARG002
        self._output = the_output(spec)
        self._input = spec.inputs[0]
        self._threshold = spec.output.threshold if score_threshold is None else score_threshold
        size = int(np.prod(self._output.shape))
        self._direct = size == 1
        if not self._direct and size != int(np.prod(self._input.shape)):
            shapes = f"{list(self._input.shape)} and {list(self._output.shape)}"
            raise ModelError(f"{spec.path}: input and output of an autoencoder have one shape, these are {shapes}")

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> Anomaly:
        """Return the score. Raises BadFrameError when it is no number, EngineError when the output changed its size."""
        rebuilt = dequantize(outputs[0], self._output).reshape(-1)
        if self._direct:
            score = float(rebuilt[0]) if rebuilt.size else np.nan
        else:
            given = dequantize(prepared.inputs[0], self._input).reshape(-1)
            if given.size != rebuilt.size:
                raise EngineError(f"the model took {given.size} values and gave {rebuilt.size} back; try --task raw")
            with np.errstate(over="ignore", invalid="ignore"):
                score = float(np.mean(np.square(given - rebuilt, dtype=np.float64)))
        if not np.isfinite(score):
            raise BadFrameError("the anomaly score of this window is no number; look for gaps in the sensor's samples")
        return Anomaly(score, self._threshold)
