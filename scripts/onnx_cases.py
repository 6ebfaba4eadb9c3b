"""ONNX's own node tests as models that an edge device could run: float32 in and out, static shapes, inference.

The tests come in the ``onnx`` package. As in a trained model, what is no data is a constant: every input that is not
float32, and the weights, scales and limits of an operator. ``folded=False`` leaves every float32 input an input.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Array = NDArray[Any]
_FLOAT: Final = onnx.TensorProto.FLOAT
_ALL: Final = 99
_DATA_INPUTS: Final[Mapping[str, int]] = {
    "Add": _ALL,
    "ArrayFeatureExtractor": 1,
    "Attention": 3,
    "BitwiseAnd": _ALL,
    "Concat": _ALL,
    "Div": _ALL,
    "Gemm": 2,
    "GridSample": 2,
    "MatMul": _ALL,
    "Max": _ALL,
    "Mean": _ALL,
    "Min": _ALL,
    "Mod": _ALL,
    "Mul": _ALL,
    "Pow": _ALL,
    "Sub": _ALL,
    "Sum": _ALL,
    "Where": _ALL,
}
"""How many of an operator's inputs are data; of any other only the first float32 one."""
_RANDOM: Final = frozenset({"Bernoulli", "RandomUniformLike"})
_NO_INFERENCE: Final = ("_training", "training_", "test_adagrad", "test_adam", "test_momentum", "test_nesterov")


@dataclass(frozen=True, slots=True)
class Case:
    """One test: a model, its inputs and what must come out."""

    name: str
    operator: str
    """The operator under test; of an expanded function the function's."""
    expanded: bool
    model: onnx.ModelProto
    inputs: dict[str, Array]
    """Of the inputs that are left."""
    outputs: tuple[Array, ...]
    rtol: float
    atol: float


def cases(*, folded: bool = True) -> Iterator[Case]:
    """Yield every case that fits, by name."""
    from onnx.backend.test.case.node import collect_testcases

    operators: dict[str, str] = {}
    found = sorted(collect_testcases(None), key=lambda case: case.name)
    for case in found:
        if "_expanded" not in case.name and len(case.model.graph.node):
            operators[case.name] = case.model.graph.node[-1].op_type
    for case in found:
        if fits(case.model) and not any(part in case.name for part in _NO_INFERENCE):
            base = case.name.partition("_expanded")[0]
            operator = operators.get(base, case.model.graph.node[-1].op_type)
            prepared = _prepared(case, operator, folded=folded)
            if prepared is not None:
                yield prepared


def fits(model: onnx.ModelProto) -> bool:
    """Whether a model has float32 in and out and static shapes, and always gives the same answer."""
    graph = model.graph
    ends = [*graph.input, *graph.output]
    if any(value.type.WhichOneof("value") != "tensor_type" for value in ends):
        return False
    if any(not side.HasField("dim_value") for value in ends for side in value.type.tensor_type.shape.dim):
        return False
    if any(entry.domain.startswith("ai.onnx.preview") for entry in model.opset_import):
        return False
    if any(node.op_type in _RANDOM for node in graph.node):
        return False
    kinds = [value.type.tensor_type.elem_type for value in graph.input]
    return _FLOAT in kinds and all(value.type.tensor_type.elem_type == _FLOAT for value in graph.output)


def _prepared(case: Any, operator: str, *, folded: bool) -> Case | None:
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    model.ir_version = max(model.ir_version, 8)  # older ones list their constants among the inputs
    values = {
        value.name: given if isinstance(given, onnx.TensorProto) else np.asarray(given)
        for value, given in zip(model.graph.input, case.data_sets[0][0], strict=False)
    }
    floats = [value for value in model.graph.input if value.type.tensor_type.elem_type == _FLOAT]
    data = floats[: _DATA_INPUTS.get(operator, 1)] if folded else floats
    if operator == "OneHot" and folded:
        data = floats[-1:]  # the two values: indices and depth are constants
    kept = {value.name for value in data}
    for value in list(model.graph.input):
        if value.name in kept:
            continue
        model.graph.initializer.append(_constant(values[value.name], value.name))
        model.graph.input.remove(value)
    if any(_array(values[name]).size == 0 for name in kept):
        return None  # an empty input: nothing that a device could feed
    return Case(
        name=case.name,
        operator=operator,
        expanded="_expanded" in case.name,
        model=model,
        inputs={value.name: _array(values[value.name]).astype(np.float32) for value in data},
        outputs=tuple(_array(output) for output in case.data_sets[0][1]),
        rtol=case.rtol,
        atol=case.atol,
    )


def _constant(value: Any, name: str) -> onnx.TensorProto:
    tensor = onnx.TensorProto()
    if isinstance(value, onnx.TensorProto):  # of a type that numpy does not have
        tensor.CopyFrom(value)
        tensor.name = name
        return tensor
    return numpy_helper.from_array(np.asarray(value), name)


def _array(value: Any) -> Array:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
