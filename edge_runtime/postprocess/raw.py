"""Raw: the output tensors as they are, for models no other task fits."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from edge_runtime.postprocess.tensors import dequantize
from edge_runtime.types import ModelSpec, Prepared, RawTensors


class RawPostprocessor:
    """Names and dequantises every output; integers without a scale stay integers. Called from the inference thread.

    ``top_k`` and ``score_threshold`` mean nothing here and are not looked at.
    """

    def __init__(self, spec: ModelSpec, *, top_k: int | None, score_threshold: float | None) -> None:  # noqa: ARG002
        self._specs = spec.outputs
        self._names = tuple(output.name for output in spec.outputs)

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> RawTensors:  # noqa: ARG002
        """Return the tensors with their own shapes."""
        return RawTensors(
            self._names,
            tuple(
                dequantize(values, spec) if spec.quantized else values
                for values, spec in zip(outputs, self._specs, strict=True)
            ),
        )
