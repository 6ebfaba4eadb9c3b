"""Regression: numbers with names and units."""

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import EngineError, ModelError
from edge_runtime.postprocess.tensors import dequantize
from edge_runtime.types import ModelSpec, Prepared, Regression, TensorSpec

_MADE_UP: Final = re.compile(r"(Stateful)?PartitionedCall|Identity|serving_default|output_?\d*$|\d*$", re.IGNORECASE)
"""Tensor names that a converter made up: they say nothing to a reader."""


class RegressPostprocessor:
    """Reads every value of every output, in order. Called from the inference thread.

    Names are the model's ``output.names`` where there is one for each value, else made of the tensors' names, else
    ``value``; several of one name are numbered from 0. Units are ``output.units`` in the same order, None where short.
    A value that is NaN or infinite is left out. ``top_k`` and ``score_threshold`` mean nothing here. Raises ModelError
    when the number of names is not the number of values.
    """

    def __init__(self, spec: ModelSpec, *, top_k: int | None, score_threshold: float | None) -> None:  # noqa: ARG002
        self._specs = spec.outputs
        sizes = [max(0, int(np.prod(output.shape))) for output in spec.outputs]
        names = spec.output.names
        if names and len(names) != sum(sizes) and all(sizes):
            raise ModelError(f"{spec.path}: {len(names)} output names for {sum(sizes)} values; give one for each")
        self._names = names or _names_from(spec.outputs, sizes)
        missing = max(0, len(self._names) - len(spec.output.units))
        self._units: tuple[str | None, ...] = (*spec.output.units, *[None] * missing)

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> Regression:  # noqa: ARG002
        """Return the values. Raises EngineError when there are not as many as the model promised."""
        values = np.concatenate(
            [dequantize(tensor, spec).reshape(-1) for tensor, spec in zip(outputs, self._specs, strict=True)]
        )
        if values.size != len(self._names):
            raise EngineError(f"the model promised {len(self._names)} values and gave {values.size}; try --task raw")
        kept = np.flatnonzero(np.isfinite(values))
        return Regression(tuple(self._names[i] for i in kept), values[kept], tuple(self._units[i] for i in kept))


def _names_from(outputs: Sequence[TensorSpec], sizes: Sequence[int]) -> tuple[str, ...]:
    stems = ["value" if _MADE_UP.match(output.name) else output.name.partition(":")[0] for output in outputs]
    names = [stem for stem, size in zip(stems, sizes, strict=True) for _ in range(size)]
    seen: dict[str, int] = {}
    numbered = []
    for name in names:
        seen[name] = seen.get(name, -1) + 1
        numbered.append(name if names.count(name) == 1 else f"{name}_{seen[name]}")
    return tuple(numbered)
