"""ONNX models: to float ``.tflite``, and run by onnxruntime (where it lacks an operator, by ONNX's own evaluator)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converters.arrays import Array, read_array, split_sample, write_arrays
from converters.steps import counting
from converters.steps.onnx_inputs import Shape, fixed_inputs, import_onnx, load, takes_pictures
from converters.steps.onnx_lowering import Lowering, lower, settled
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
    ) -> dict[str, Any]:
        """Write the float ``.tflite``. Returns ``names`` of the outputs and the first input's ``shape`` in the source.

        A model of pictures, or of a window, comes in the layout that the device feeds; any other in its own.
        Raises ModelError for what is no model or has operators that do not convert, UsageError when a shape must be
        given or a package is missing.
        """
        del unroll  # recurrences are written out anyway
        onnx = import_onnx()
        model = load(onnx, source)
        self._shapes = fixed_inputs(model, input_shape)
        folder = Path(output).parent / "onnx2tf"
        self._model = model
        self._source = Source(model)
        pictures = takes_pictures(self._shapes)
        self._how = Lowering(folder, self._shapes, turned=pictures or (window is not None and len(self._shapes) == 1))
        content = lower(model, self._how)
        if not self._how.turned:
            inputs = trial_inputs(self._shapes)
            content = settled(content, self._how, inputs, dict(zip(self._source.names, self._source.run(inputs), strict=True)))
        Path(output).write_bytes(content)
        return {
            "names": self._source.names,
            "shape": next(iter(self._shapes.values())),
            "normalization": None,
            "takes_anything": not pictures,
        }

    def run(self, samples: str, folder: str, axes: list[int]) -> dict[str, Any]:
        """Run the source on an .npy of inputs in the converted layout; write its outputs.

        ``axes`` are those that turned the source's layout into the converted one; of several inputs none is turned.
        """
        assert self._source is not None
        rows = []
        inputs = read_array(samples)
        for number, sample in enumerate(inputs, 1):
            counting.count(number, len(inputs))
            rows.append(self._source.run(self._fed(sample, axes)))
        columns = [
            np.concatenate(column) if column[0].ndim and len(column[0]) == 1 else np.stack(column)
            for column in zip(*rows, strict=True)
        ]
        return {"outputs": write_arrays(Path(folder), "source", columns)}

    def _fed(self, sample: Array, axes: Sequence[int]) -> list[Array]:
        shapes = list(self._shapes.values())
        if len(shapes) > 1:
            return split_sample(sample, shapes)
        turned = [shapes[0][axis] for axis in axes]
        return [np.asarray(sample).reshape(turned).transpose(np.argsort(axes)) if axes else np.reshape(sample, ())]


class Source:
    """The model as it came, in onnxruntime; in ONNX's own evaluator where that cannot run it."""

    def __init__(self, model: Any) -> None:
        constants = {tensor.name for tensor in model.graph.initializer}
        self._inputs = [value.name for value in model.graph.input if value.name not in constants]
        self.names = [value.name for value in model.graph.output]
        self._run = _onnxruntime(model) or _evaluator(model)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Return the outputs as float32. Raises ModelError when nothing here can run the model."""
        feeds = {
            name: np.ascontiguousarray(value, np.float32) for name, value in zip(self._inputs, inputs, strict=True)
        }
        try:
            results = self._run(feeds)
        except Exception as error:
            raise ModelError(f"the source does not run: {' '.join(str(error).split())[:300]}") from error
        if any(isinstance(result, list | dict) or result is None for result in results):
            raise ModelError("the source gives sequences or maps; export it with plain tensors as outputs")
        return [np.asarray(result, np.float32) for result in results]


def _onnxruntime(model: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        content = model.SerializeToString()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 - it has no common type for "not implemented"
        return None
    return lambda feeds: session.run(None, feeds)


def _evaluator(model: Any) -> Any:
    from onnx.reference import ReferenceEvaluator

    try:
        evaluator = ReferenceEvaluator(model)
    except Exception as error:
        raise ModelError(f"neither onnxruntime nor ONNX's evaluator can run it: {error}") from error
    return lambda feeds: evaluator.run(None, feeds)


def trial_inputs(shapes: Mapping[str, Shape]) -> list[Array]:
    """Return one sample of every input, for finding out how the converter turned things."""
    generator = np.random.default_rng(7)
    return [generator.uniform(0.05, 0.95, shape).astype(np.float32) for shape in shapes.values()]
