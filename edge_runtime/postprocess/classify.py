"""Classification: the best classes of a picture or a window."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.postprocess.scores import DEFAULT_TOP_K, Best, ScoreReader, class_count, score_output, vector
from edge_runtime.postprocess.tensors import names_for, names_of
from edge_runtime.types import Classifications, ModelSpec, Prepared


class ClassifyPostprocessor:
    """Reads one tensor of n class scores, of any shape with n values; see ``ScoreReader`` for softmax or not.

    A single score with two labels is a yes-or-no model: the score is the second label's, the rest the first's.
    ``top_k`` is 5 unless given; classes under ``score_threshold`` (none unless given) are left out, NaN always.
    Raises ModelError and UsageError when outputs or labels do not fit. Called from the inference thread.
    """

    def __init__(self, spec: ModelSpec, *, top_k: int | None, score_threshold: float | None) -> None:
        self._index = score_output(spec)
        output = spec.outputs[self._index]
        self._classes = class_count(spec, output)
        self._yes_or_no = self._classes == 1 and len(spec.labels or ()) == 2
        self._labels = names_for(spec.labels, 2 if self._yes_or_no else self._classes)
        self._top_k = top_k or DEFAULT_TOP_K
        self._threshold = score_threshold or 0.0
        self._best = ScoreReader(
            output,
            score_activation=spec.output.score_activation,
            top_k=self._top_k,
            threshold=0.0 if self._yes_or_no else self._threshold,
        )

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> Classifications:  # noqa: ARG002
        """Return the best classes, best first. Raises EngineError when the output changed its length."""
        ids, scores = self._best(vector(outputs[self._index], classes=self._classes))
        if self._yes_or_no:
            ids, scores = self._two_sided(scores)
        return Classifications(ids, scores, names_of(ids, self._labels))

    def _two_sided(self, yes: NDArray[np.float32]) -> Best:
        """Return both classes of a yes-or-no model from the one score, shape (1,), or (0,) when it was NaN."""
        scores = np.concatenate([1.0 - yes, yes])
        ids = np.argsort(-scores, kind="stable")[: self._top_k]
        ids = ids[scores[ids] >= self._threshold]
        return ids, scores[ids]
