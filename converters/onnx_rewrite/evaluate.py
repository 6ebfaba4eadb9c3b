"""What ONNX itself knows of one operator: its result for constants, its outputs' types, its body as a function."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import defs, helper, numpy_helper, shape_inference

Array = NDArray[Any]
_IR_VERSION: Final = 10


def run(
    node: onnx.NodeProto, given: Mapping[str, Array], version: int, opsets: Sequence[onnx.OperatorSetIdProto]
) -> list[Array] | None:
    """Return a node's outputs for constant inputs, or None where nothing here can compute it."""
    if node.op_type == "Constant" and not node.domain:
        return _constant(node)
    model = _model(node, given, version, opsets)
    feeds = dict(given)
    found = _by_runtime(model, feeds)
    if found is None:
        found = _by_reference(model, feeds)
    if found is None:
        return None
    results = iter(found)
    return [np.asarray(next(results)) if name else np.zeros(0, np.float32) for name in node.output]


def by_evaluator(
    node: onnx.NodeProto, given: Mapping[str, Array], version: int, opsets: Sequence[onnx.OperatorSetIdProto]
) -> Array | None:
    """Return a node's first output as ONNX's own evaluator computes it, or None."""
    found = _by_reference(_model(node, given, version, opsets), dict(given))
    return None if found is None else np.asarray(found[0])


def _model(
    node: onnx.NodeProto, given: Mapping[str, Array], version: int, opsets: Sequence[onnx.OperatorSetIdProto]
) -> onnx.ModelProto:
    imports = list(opsets) or [helper.make_opsetid("", version)]
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in given.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = helper.make_graph([node], "constant", inputs, outputs)
    return helper.make_model(graph, opset_imports=imports, ir_version=_IR_VERSION)


def _constant(node: onnx.NodeProto) -> list[Array] | None:
    for entry in node.attribute:
        if entry.name == "value":
            return [numpy_helper.to_array(entry.t)]
        if entry.name in {"value_float", "value_floats"}:
            return [np.asarray(helper.get_attribute_value(entry), np.float32)]
        if entry.name in {"value_int", "value_ints"}:
            return [np.asarray(helper.get_attribute_value(entry), np.int64)]
    return None


def _by_runtime(model: onnx.ModelProto, feeds: dict[str, Array]) -> list[Any] | None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return list(session.run(None, feeds))
    except Exception:  # noqa: BLE001 - the runtime has no common type for "not implemented"; the node is kept then
        return None


def _by_reference(model: onnx.ModelProto, feeds: dict[str, Array]) -> list[Any] | None:
    from onnx.reference import ReferenceEvaluator

    try:
        with np.errstate(all="ignore"):
            found: list[Any] = ReferenceEvaluator(model).run(None, feeds)
    except Exception:  # noqa: BLE001 - as above
        return None
    return found if all(isinstance(value, np.ndarray | np.generic) for value in found) else None


def output_types(
    node: onnx.NodeProto,
    types: Mapping[str, onnx.TypeProto],
    constants: Mapping[str, Array],
    version: int,
    opsets: Sequence[onnx.OperatorSetIdProto],
) -> dict[str, onnx.TypeProto]:
    """Return the types of a node's outputs as far as ONNX infers them."""
    try:
        schema = defs.get_schema(node.op_type, version, node.domain)
    except defs.SchemaError:
        return {}
    known = {name: types[name] for name in node.input if name in types}
    data = {}
    for name in node.input:
        if name in constants:
            value = constants[name]
            known[name] = helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            data[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
    try:
        imports = list(opsets) or [helper.make_opsetid("", version)]
        found = shape_inference.infer_node_outputs(
            schema, node, known, data, opset_imports=imports, ir_version=_IR_VERSION
        )
    except Exception:  # noqa: BLE001 - an inference that fails says nothing; the shape stays unknown
        return {}
    return dict(found)


def function_body(node: onnx.NodeProto, types: Sequence[onnx.TypeProto], version: int) -> onnx.FunctionProto | None:
    """Return the function by which ONNX defines an operator, or None."""
    try:
        schema = defs.get_schema(node.op_type, version, "")
    except defs.SchemaError:
        return None
    function = onnx.FunctionProto()
    if schema.has_context_dependent_function:
        versions = [entry for entry in schema.context_dependent_function_opset_versions if entry <= version]
        if not versions:
            return None
        try:
            content = schema.get_context_dependent_function_with_opset_version(
                max(versions), node.SerializeToString(), [entry.SerializeToString() for entry in types]
            )
        except Exception:  # noqa: BLE001 - no body for these types
            return None
        function.ParseFromString(content)
        return function if function.node else None
    if schema.has_function:
        versions = [entry for entry in schema.function_opset_versions if entry <= version]
        if not versions:
            return None
        function.ParseFromString(schema.get_function_with_opset_version(max(versions)))
        # What the caller leaves out has the schema's default.
        for name, attribute in schema.attributes.items():
            if attribute.default_value.name and not any(entry.name == name for entry in node.attribute):
                node.attribute.append(attribute.default_value)
        return function
    return None


def with_attributes(node: onnx.NodeProto, given: Mapping[str, onnx.AttributeProto]) -> onnx.NodeProto:
    """Return a function's node with the attributes that refer to the caller's filled in."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del copy.attribute[:]
    for entry in node.attribute:
        if not entry.ref_attr_name:
            copy.attribute.append(entry)
        elif entry.ref_attr_name in given:
            filled = onnx.AttributeProto()
            filled.CopyFrom(given[entry.ref_attr_name])
            filled.name = entry.name
            copy.attribute.append(filled)
    return copy
