"""Run an ONNX model as it came: in onnxruntime, or in ONNX's own evaluator where that lacks an operator."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from converters.arrays import Array
from converters.rounding import disturbed
from edge_runtime.errors import ModelError


class Source:
    """The model as it came, in onnxruntime; in ONNX's own evaluator where that cannot run it."""

    def __init__(self, model: Any) -> None:
        constants = {tensor.name for tensor in model.graph.initializer}
        self._inputs = [value.name for value in model.graph.input if value.name not in constants]
        self.names = [value.name for value in model.graph.output]
        self._model = model
        session = _onnxruntime(model)
        self._by_runtime = session is not None
        self._run = session or _evaluator(model)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Return the outputs as float32. Raises ModelError when nothing here can run the model."""
        feeds = {
            name: np.asarray(value, np.float32, order="C") for name, value in zip(self._inputs, inputs, strict=True)
        }
        try:
            results = self._results(feeds)
        except Exception as error:
            raise ModelError(f"the source does not run: {' '.join(str(error).split())[:300]}") from error
        if any(isinstance(result, list | dict) or result is None for result in results):
            raise ModelError("the source gives sequences or maps; export it with plain tensors as outputs")
        return [np.asarray(result, np.float32) for result in results]

    def _results(self, feeds: dict[str, Array]) -> Any:
        try:
            return self._run(feeds)
        except Exception:
            if not self._by_runtime:
                raise
        # onnxruntime took the model and stumbles over its values: it has a stricter idea of some operators.
        self._by_runtime, self._run = False, _evaluator(self._model)
        return self._run(feeds)

    def named(self, inputs: Sequence[Array]) -> dict[str, Array]:
        """Return the outputs by name."""
        return dict(zip(self.names, self.run(inputs), strict=True))


def with_other_last_bits(model: Any, seed: int) -> Any:
    """Return a model whose float32 constants differ in their last bits."""
    import onnx

    other = onnx.ModelProto()
    other.CopyFrom(model)
    generator = np.random.default_rng(seed)
    constants = [entry.t for node in other.graph.node if node.op_type == "Constant" for entry in node.attribute]
    for tensor in [*other.graph.initializer, *constants]:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = disturbed(onnx.numpy_helper.to_array(tensor), generator)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return other


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
        raise ModelError(f"neither onnxruntime nor ONNX's evaluator can run it: {_foreign(model) or error}") from error
    return lambda feeds: evaluator.run(None, feeds)


def _foreign(model: Any) -> str:
    """Return which operators are not ONNX's own, and where; empty where all are."""
    from onnx import defs

    own = {(function.name, function.domain) for function in model.functions}
    found = {
        node.op_type: f"operator {node.op_type} of domain {node.domain!r} (node {node.name or node.output[0]!r})"
        for node in model.graph.node
        if not defs.has(node.op_type, node.domain) and (node.op_type, node.domain) not in own
    }
    return f"{', '.join(found.values())} is not ONNX's own; export it in standard operators" if found else ""
