"""The best classes of a vector of scores; what classification and audio share."""

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import EngineError, ModelError
from edge_runtime.postprocess.tensors import dequantize, value_range
from edge_runtime.types import ModelSpec, TensorSpec

DEFAULT_TOP_K: Final = 5
PROBABILITY_SLACK: Final = 0.01
"""How far over 0..1 rounding may carry a probability."""
Activation = Literal["none", "softmax", "sigmoid"]
Best = tuple[NDArray[np.int64], NDArray[np.float32]]


def score_output(spec: ModelSpec) -> int:
    """Return which output holds the class scores: the only one, or the only one with as many values as labels.

    Raises ModelError where that does not tell, and for integers without a scale, which are no scores.
    """
    candidates = list(range(len(spec.outputs)))
    if len(spec.outputs) > 1 and spec.labels:
        candidates = [i for i in candidates if spec.outputs[i].shape[-1:] == (len(spec.labels),)]
    if len(candidates) != 1:
        raise ModelError(
            f"{spec.path}: task {spec.task} reads one tensor of scores, this model has {len(spec.outputs)} outputs; "
            "give --labels of the right number or --task raw"
        )
    output = spec.outputs[candidates[0]]
    if output.dtype.kind not in "iuf" or (output.dtype.kind in "iu" and not output.quantized):
        raise ModelError(f"{spec.path}: output {output.name} is {output.dtype}, no class scores; try --task raw")
    return candidates[0]


class ScoreReader:
    """Finds the best classes of one tensor of scores.

    What is still to be applied to the scores is ``score_activation`` where the model says so. Else a quantised output
    decides by its range: one that ends at about 0 and 1 holds probabilities, any other holds logits for a softmax. A
    float output holds logits from the first value outside 0..1 on, for good; scores within 0..1 are left as they are,
    whatever their sum (a sigmoid per class looks like that). Called from the inference thread.
    """

    def __init__(
        self, output: TensorSpec, *, score_activation: Activation | None, top_k: int, threshold: float
    ) -> None:
        self._output = output
        self._top_k = top_k
        self._threshold = threshold
        # Several logits compete with each other; a single one answers yes or no.
        self._of_logits: Activation = "sigmoid" if int(np.prod(output.shape)) == 1 else "softmax"
        self._undecided = score_activation is None and not output.quantized
        reach = value_range(output)
        self._activation: Activation
        if score_activation is None:
            self._activation = "none" if reach is None or _is_probability(*reach) else self._of_logits
        else:
            self._activation = self._of_logits if score_activation == "softmax" else score_activation

    def __call__(self, values: NDArray[Any]) -> Best:
        """Return ids (k,) and scores (k,) of the best classes of ``values`` (n,), best first, all finite."""
        if self._output.quantized and self._activation != "softmax":
            return self._best_of_integers(values)
        real = dequantize(values, self._output)
        finite = np.isfinite(real)
        if finite.all():
            return self._best_of_floats(real)
        kept = np.flatnonzero(finite)
        ids, scores = self._best_of_floats(real[kept])
        return kept[ids], scores

    def _best_of_integers(self, values: NDArray[Any]) -> Best:
        """Sort before dequantising: ``~q`` turns the order round, and a stable sort of 8 or 16 bit is a radix sort."""
        ids = np.argsort(~values, kind="stable")[: self._top_k].astype(np.int64, copy=False)
        scores = dequantize(values[ids], self._output)
        return self._above(ids, sigmoid(scores) if self._activation == "sigmoid" else scores)

    def _best_of_floats(self, real: NDArray[np.float32]) -> Best:
        if real.size == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        if self._undecided and not _is_probability(float(real.min()), float(real.max())):
            self._undecided, self._activation = False, self._of_logits
        if self._activation == "softmax":
            real = softmax(real)
        elif self._activation == "sigmoid":
            real = sigmoid(real)
        return self._above(*_largest(real, self._top_k))

    def _above(self, ids: NDArray[np.int64], scores: NDArray[np.float32]) -> Best:
        if self._threshold <= 0.0:
            return ids, scores
        kept = scores >= self._threshold
        return ids[kept], scores[kept]


def _largest(real: NDArray[np.float32], count: int) -> Best:
    """Return the ``count`` largest values with their places, largest first; partitions before it sorts."""
    if count < real.size:
        ids = np.argpartition(real, real.size - count)[real.size - count :]
        ids = ids[np.lexsort((ids, -real[ids]))]
    else:
        ids = np.argsort(-real, kind="stable")
    return ids.astype(np.int64, copy=False), real[ids]


def _is_probability(low: float, high: float) -> bool:
    return low >= -PROBABILITY_SLACK and high <= 1.0 + PROBABILITY_SLACK


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``exp(x) / sum(exp(x))`` of a vector, shifted by its maximum so that nothing overflows."""
    powers = np.exp(logits.astype(np.float64) - logits.max())
    return np.asarray(powers / powers.sum(), dtype=np.float32)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``1 / (1 + exp(-x))`` of any shape, written with tanh, which does not overflow."""
    return np.asarray(0.5 * (np.tanh(0.5 * logits) + 1.0), dtype=np.float32)


def class_count(spec: ModelSpec, output: TensorSpec) -> int:
    """Return how many classes an output of shape (..., n) scores; 0 when its shape is known only while running."""
    sizes = [size for size in output.shape if size != 1]
    if any(size <= 0 for size in sizes) or not output.shape:
        return 0
    if len(sizes) > 1:
        shape = list(output.shape)
        raise ModelError(f"{spec.path}: task {spec.task} needs one score per class, the output has shape {shape}")
    return sizes[0] if sizes else 1


def vector(values: NDArray[Any], *, classes: int) -> NDArray[Any]:
    """Return an output as a vector. Raises EngineError when it has not the length the model promised."""
    flat = values.reshape(-1)
    if classes and flat.size != classes:
        raise EngineError(f"the model promised {classes} class scores and gave {flat.size}; check it with --task raw")
    return flat
