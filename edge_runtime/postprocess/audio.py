"""Audio classification: the best classes of a window of sound, with the time it covers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import EngineError
from edge_runtime.postprocess.scores import DEFAULT_TOP_K, ScoreReader, score_output
from edge_runtime.postprocess.tensors import dequantize, names_for, names_of
from edge_runtime.types import Classifications, ModelSpec, Prepared, TensorSpec


class AudioPostprocessor:
    """Reads one tensor of class scores, (..., n); several frames of scores for one window are averaged.

    Scores are read as in classification, so YAMNet's, which are a probability per class already, stay as they are.
    ``start_s`` and ``end_s`` come from the frame's origin and are absent without it. ``top_k`` is 5 unless given.
    Raises ModelError and UsageError when outputs or labels do not fit. Called from the inference thread.
    """

    def __init__(self, spec: ModelSpec, *, top_k: int | None, score_threshold: float | None) -> None:
        self._index = score_output(spec)
        self._output = spec.outputs[self._index]
        self._classes = self._output.shape[-1] if self._output.shape else 0
        self._labels = names_for(spec.labels, max(0, self._classes))
        self._averaged = TensorSpec(self._output.name, (self._classes,), np.dtype(np.float32))

        def reader(output: TensorSpec) -> ScoreReader:
            return ScoreReader(
                output,
                score_activation=spec.output.score_activation,
                top_k=top_k or DEFAULT_TOP_K,
                threshold=score_threshold or 0.0,
            )

        self._best, self._best_averaged = reader(self._output), reader(self._averaged)

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> Classifications:
        """Return the best classes of the window, best first. Raises EngineError when the output changed its shape."""
        values = outputs[self._index]
        if values.ndim == 0 or (self._classes > 0 and values.shape[-1] != self._classes):
            promised = list(self._output.shape)
            raise EngineError(f"the model promised scores of shape {promised} and gave {list(values.shape)}")
        frames = values.reshape(-1, values.shape[-1])
        if len(frames) == 1:
            ids, scores = self._best(frames[0])
        else:
            ids, scores = self._best_averaged(dequantize(frames, self._output).mean(axis=0))
        origin = prepared.frame.origin
        return Classifications(ids, scores, names_of(ids, self._labels), origin.start_s, origin.end_s)
