"""Operators that LiteRT computes in int8 and the quantiser leaves in float: put in int8 before and after it.

The quantiser surrounds such an operator by DEQUANTIZE and QUANTIZE. Here it gets an int8 input and an int8 output of
its own, and what has become useless around it goes away. Each kernel was tried with such scales: at most one step off.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np

from converters.steps.repairs import packed

_DEQUANTIZE, _QUANTIZE, _MUL, _NEG, _PRELU, _PADV2 = 6, 114, 18, 59, 54, 60
_INT8, _FLOAT = 9, 0
_OWN_SCALE: Final = {21: 2, 98: 2, _PRELU: 1, 111: 1, 47: 2, 101: 2, 152: 1}
"""RELU6, LEAKY_RELU, PRELU, ELU, EXP, ABS, RELU_0_TO_1: the version that has int8 with an output scale of its own."""
_SAME_SCALE: Final = {5: 2, 37: 2, 38: 2, 69: 2, 70: 1, 43: 1, 82: 2, _PADV2: 2}
"""DEPTH_TO_SPACE, BATCH_TO_SPACE_ND, SPACE_TO_BATCH_ND, TILE, EXPAND_DIMS, SQUEEZE, REDUCE_MAX, PADV2: values stay."""


def with_products(content: bytes) -> bytes:
    """Write NEG, which has no int8 kernel, as a multiplication by -1, which has."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    negations = [one for one in graph.operators if _code(model, one) == _NEG and graph.tensors[one.inputs[0]].type == 0]
    if not negations:
        return content
    buffer, factor = schema.BufferT(), schema.TensorT()
    buffer.data = np.array([-1.0], np.float32).view(np.uint8)
    model.buffers.append(buffer)
    factor.name, factor.shape, factor.type, factor.buffer = b"minus_one", [1], _FLOAT, len(model.buffers) - 1
    graph.tensors.append(factor)
    for operator in negations:
        operator.opcodeIndex = _opcode(schema, model, _MUL, 1)
        operator.inputs = [int(operator.inputs[0]), len(graph.tensors) - 1]
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.MulOptions, schema.MulOptionsT()
    return packed(model)


def with_integer_kernels(
    content: bytes, limits: Mapping[str, tuple[float, float]], *, without: Collection[str] = ()
) -> bytes:
    """Return a quantised model with these operators in int8, those left out whose output is in ``without``.

    ``limits`` are the ranges of the float network's tensors.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    changed = False
    back = _int8_sources(model)
    for operator in list(graph.operators):
        name = graph.tensors[operator.outputs[0]].name.decode() if len(operator.outputs) == 1 else ""
        if name in limits and name not in without:
            changed |= _in_int8(schema, model, operator, limits[name], back)
    if not changed:
        return content
    _join(model)
    _drop_unread(model)
    return packed(model)


def _in_int8(schema: Any, model: Any, operator: Any, limits: tuple[float, float], sources: dict[int, int]) -> bool:
    """Let one operator read the int8 tensor behind its input and write one that is dequantised for its readers.

    ``sources`` are those of ``_int8_sources``, to which its own output is added.
    """
    graph, code = model.subgraphs[0], _code(model, operator)
    version = _OWN_SCALE.get(code) or _SAME_SCALE.get(code)
    source = sources.get(int(operator.inputs[0]))
    target = graph.tensors[operator.outputs[0]]
    if version is None or source is None or target.type != _FLOAT:
        return False
    if code == _PRELU and not _quantized_slope(schema, model, operator):
        return False
    if code == _PADV2 and not _quantized_padding(schema, model, operator, graph.tensors[source].quantization):
        return False
    result = schema.TensorT()
    result.name, result.type, result.buffer = target.name + b"_int8", _INT8, 0
    result.shape, result.shapeSignature = target.shape, target.shapeSignature
    result.quantization = graph.tensors[source].quantization if code in _SAME_SCALE else _scale(schema, *limits)
    wanted = [one for one in graph.operators if _code(model, one) == _QUANTIZE and operator.outputs[0] in one.inputs]
    if code in _OWN_SCALE and wanted and graph.tensors[wanted[0].outputs[0]].type == _INT8:
        result.quantization = graph.tensors[wanted[0].outputs[0]].quantization
    graph.tensors.append(result)
    back = schema.OperatorT()
    back.opcodeIndex = _opcode(schema, model, _DEQUANTIZE, 2)
    back.inputs, back.outputs = [len(graph.tensors) - 1], [int(operator.outputs[0])]
    operator.inputs = [source, *(int(index) for index in operator.inputs[1:])]
    operator.outputs = [len(graph.tensors) - 1]
    operator.opcodeIndex = _opcode(schema, model, code, version)
    graph.operators.insert(graph.operators.index(operator) + 1, back)
    sources[int(back.outputs[0])] = int(back.inputs[0])
    return True


def _int8_sources(model: Any) -> dict[int, int]:
    """Return the int8 tensor that each dequantised one came from."""
    graph = model.subgraphs[0]
    pairs = (
        (int(operator.outputs[0]), int(operator.inputs[0]))
        for operator in graph.operators
        if _code(model, operator) == _DEQUANTIZE
    )
    return {target: source for target, source in pairs if graph.tensors[source].type == _INT8}


def _quantized_slope(schema: Any, model: Any, operator: Any) -> bool:
    """Give PRELU its slopes as int8; false where they are no constant."""
    graph = model.subgraphs[0]
    old = graph.tensors[operator.inputs[1]]
    data = model.buffers[old.buffer].data
    if old.type != _FLOAT or data is None or not len(data):
        return False
    values = np.asarray(data, np.uint8).view(np.float32)
    scale = float(np.abs(values).max()) / 127.0 or 1.0
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = [scale], [0]
    _add_constant(schema, model, operator, 1, np.rint(values / scale).astype(np.int8), quantization)
    return True


def _add_constant(schema: Any, model: Any, operator: Any, place: int, values: Any, quantization: Any) -> None:
    """Let an operator read an int8 constant instead of the float one at ``place`` of its inputs."""
    graph = model.subgraphs[0]
    old = graph.tensors[operator.inputs[place]]
    buffer, constant = schema.BufferT(), schema.TensorT()
    buffer.data = values.view(np.uint8)
    model.buffers.append(buffer)
    constant.name, constant.shape, constant.type, constant.buffer = old.name, old.shape, _INT8, len(model.buffers) - 1
    constant.quantization = quantization
    graph.tensors.append(constant)
    inputs = [int(index) for index in operator.inputs]
    operator.inputs = [*inputs[:place], len(graph.tensors) - 1, *inputs[place + 1 :]]


def _quantized_padding(schema: Any, model: Any, operator: Any, like: Any) -> bool:
    """Give PADV2 its value in the scale of its input; false where that scale does not reach so far."""
    graph = model.subgraphs[0]
    old = graph.tensors[operator.inputs[2]]
    data = model.buffers[old.buffer].data
    if old.type != _FLOAT or data is None or not len(data):
        return False
    step = np.rint(np.asarray(data, np.uint8).view(np.float32) / like.scale[0]) + like.zeroPoint[0]
    if (np.abs(step) > 128).any():
        return False
    _add_constant(schema, model, operator, 2, np.minimum(step, 127).astype(np.int8), like)
    return True


def _scale(schema: Any, low: float, high: float) -> Any:
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255.0 or 1.0
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = [scale], [round(-128.0 - low / scale)]
    return quantization


def _join(model: Any) -> None:
    """Let what quantises a dequantised tensor read the int8 one, or take its place where the scales are the same."""
    graph = model.subgraphs[0]
    same: dict[int, int] = {}
    sources = _int8_sources(model)
    for operator in list(graph.operators):
        if _code(model, operator) != _QUANTIZE:
            continue
        source, target = sources.get(int(operator.inputs[0])), int(operator.outputs[0])
        if source is None or graph.tensors[target].type != _INT8:
            continue
        operator.inputs = [source]
        if _alike(graph.tensors[source], graph.tensors[target]) and target not in graph.outputs:
            same[target] = source
            graph.operators.remove(operator)
    for operator in graph.operators:
        operator.inputs = [same.get(int(index), int(index)) for index in operator.inputs]


def _drop_unread(model: Any) -> None:
    """Remove conversions that nobody reads."""
    graph = model.subgraphs[0]
    while True:
        read = {int(index) for operator in graph.operators for index in operator.inputs} | set(map(int, graph.outputs))
        kept = [one for one in graph.operators if _code(model, one) != _DEQUANTIZE or int(one.outputs[0]) in read]
        if len(kept) == len(graph.operators):
            return
        graph.operators = kept


def _alike(one: Any, other: Any) -> bool:
    first, second = one.quantization, other.quantization
    return bool(np.array_equal(first.scale, second.scale) and np.array_equal(first.zeroPoint, second.zeroPoint))


def _code(model: Any, operator: Any) -> int:
    code = model.operatorCodes[operator.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _opcode(schema: Any, model: Any, builtin: int, version: int) -> int:
    """Return the index of an operator's code, at least of that version; it is added where it is missing."""
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin:
            code.version = max(code.version, version)
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
