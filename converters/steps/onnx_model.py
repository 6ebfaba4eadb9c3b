"""ONNX models: to float ``.tflite``, and run as they came."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converters.arrays import Array, read_array, split_sample, write_arrays
from converters.steps import counting
from converters.steps.onnx_blame import first_wrong
from converters.steps.onnx_inputs import (
    Shape,
    channels_first,
    fixed_inputs,
    import_onnx,
    load,
    refuse_quantized,
    takes_anything,
    takes_pictures,
)
from converters.steps.onnx_lowering import Lowering, NotConvertedError, lower, settled
from converters.steps.onnx_source import Source, with_other_last_bits
from edge_runtime.errors import ModelError


class Session:
    """One model: converted, then run on the samples."""

    def __init__(self) -> None:
        self._model: Any = None
        self._shapes: dict[str, Shape] = {}
        self._how: Lowering | None = None
        self._source: Source | None = None

    def convert(
        self,
        source: str,
        output: str,
        input_shape: list[int] | dict[str, list[int]] | None,
        *,
        unroll: bool,
        window: list[int] | None = None,
        said: bool = True,
    ) -> dict[str, Any]:
        """Write the float ``.tflite``. Returns ``names`` of the outputs and the first input's ``shape`` in the source.

        A model of pictures, or of a window, comes in the layout that the device feeds; any other in its own.
        ``said``: somebody speaks of pictures, so that a tiny input is one too.
        Raises ModelError for what is no model or has operators that do not convert, UsageError when a shape must be
        given or a package is missing.
        """
        del unroll  # recurrences are written out anyway
        onnx = import_onnx()
        model = load(onnx, source)
        refuse_quantized(model)
        self._shapes = fixed_inputs(model, input_shape)
        folder = Path(output).parent / "onnx2tf"
        self._model = model
        self._source = Source(model)
        pictures = takes_pictures(self._shapes, said=said)
        turned = channels_first(self._shapes) if pictures else window is not None and len(self._shapes) == 1
        self._how = Lowering(folder, self._shapes, turned=turned, fused=pictures or turned)
        inputs = trial_inputs(self._shapes)
        try:
            content = lower(model, self._how)
        except NotConvertedError as error:
            raise ModelError(f"{error}; the first operator in question: {self._blamed(inputs)}") from error
        if not self._how.turned:
            content = settled(content, self._how, inputs, self._source.named(inputs))
        Path(output).write_bytes(content)
        return {
            "names": self._source.names,
            "shape": next(iter(self._shapes.values())),
            "normalization": None,
            "takes_anything": takes_anything(self._shapes, said=said),
            "names_operators": True,
        }

    def run(self, samples: str, folder: str, axes: list[int], *, seed: int | None = None) -> dict[str, Any]:
        """Run the source on an .npy of inputs in the converted layout; write its outputs.

        ``axes`` are those that turned the source's layout into the converted one; of several inputs none is turned.
        With a ``seed`` its weights differ in their last bits.
        """
        assert self._source is not None
        source = self._source if seed is None else Source(with_other_last_bits(self._model, seed))
        rows = []
        inputs = read_array(samples)
        for number, sample in enumerate(inputs, 1):
            counting.count(number, len(inputs))
            rows.append(source.run(self._fed(sample, axes)))
        columns = [
            np.concatenate(column) if column[0].ndim and len(column[0]) == 1 else np.stack(column)
            for column in zip(*rows, strict=True)
        ]
        return {"outputs": write_arrays(Path(folder), "source", columns)}

    def blame(self, samples: str, axes: list[int]) -> dict[str, Any]:
        """Return as ``operator`` which one is the first that differs on a sample, "" where none does by itself."""
        return {"operator": self._blamed(self._fed(read_array(samples)[0], axes))}

    def _blamed(self, inputs: Sequence[Array]) -> str:
        assert self._how is not None
        return first_wrong(self._model, self._how, inputs) or "unknown"

    def _fed(self, sample: Array, axes: Sequence[int]) -> list[Array]:
        shapes = list(self._shapes.values())
        if len(shapes) > 1:
            return split_sample(sample, shapes)
        turned = [shapes[0][axis] for axis in axes]
        return [np.asarray(sample).reshape(turned).transpose(np.argsort(axes)) if axes else np.reshape(sample, ())]


def trial_inputs(shapes: Mapping[str, Shape]) -> list[Array]:
    """Return one sample of every input, for finding out how the converter turned things."""
    generator = np.random.default_rng(7)
    return [generator.uniform(0.05, 0.95, shape).astype(np.float32) for shape in shapes.values()]
