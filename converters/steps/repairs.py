"""Models rewritten before and after the quantiser, where it or the interpreter would stumble."""

from collections.abc import Callable
from typing import Any, Final

_SPLITTING: Final = frozenset({49, 88, 102})
"""SPLIT, UNPACK, SPLIT_V: their outputs are parts of one input and have its scale."""
_DEQUANTIZE: Final = 6
_QUANTIZE: Final = 114
_FIXED: Final = {14: (1 / 256, -128), 25: (1 / 256, -128)}
"""LOGISTIC and SOFTMAX: scale and zero point of int8 outputs (TensorFlow Lite's quantization specification)."""
_INT8, _INT16, _FLOAT = 9, 7, 0

Change = Callable[[Any, Any], bool]
"""Of the schema's module and a ``ModelT``; returns whether anything was changed."""


def with_signature(content: bytes) -> bytes:
    """Return the model with names for its inputs and outputs, by which the quantiser feeds it."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    if model.signatureDefs:
        return content
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs, signature.outputs = (
        [_named(schema, b"%s_%d" % (kind, number), index) for number, index in enumerate(tensors)]
        for kind, tensors in ((b"input", graph.inputs), (b"output", graph.outputs))
    )
    model.signatureDefs = [signature]
    return packed(model)


def rewritten(content: bytes, *changes: Change) -> bytes:
    """Return the model with all changes made, or itself where there was nothing to change: read and written once."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    changed = [change(schema, model) for change in changes]
    return packed(model) if any(changed) else content


def alike_parts(_: Any, model: Any) -> bool:
    """Give the parts of a split tensor that nobody reads the type of the others.

    The quantiser leaves them in float, and the interpreter then refuses the operator. A recurrence that is written
    out has one: the first step's forget gate.
    """
    graph, codes = model.subgraphs[0], _codes(model)
    read = {int(index) for operator in graph.operators for index in operator.inputs} | set(map(int, graph.outputs))
    strays = [
        (graph.tensors[index], graph.tensors[whole])
        for operator in graph.operators
        if codes[operator.opcodeIndex] in _SPLITTING
        for whole in operator.inputs
        if _quantized(graph.tensors[whole])
        for index in operator.outputs
        if index not in read and not _quantized(graph.tensors[index])
    ]
    for stray, whole in strays:
        stray.type, stray.quantization = whole.type, whole.quantization
    return bool(strays)


def wide_steps(schema: Any, model: Any) -> bool:
    """Write the step from int8 to int16 as one to float and one to int16: LiteRT's QUANTIZE has no kernel for it."""
    graph, codes = model.subgraphs[0], _codes(model)
    steps = [operator for operator in graph.operators if codes[operator.opcodeIndex] == _QUANTIZE]
    steps = [step for step in steps if _types(graph, step) == (_INT8, _INT16)]
    if not steps:
        return False
    if _DEQUANTIZE not in codes:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = _DEQUANTIZE
        code.version = 2
        model.operatorCodes.append(code)
        codes.append(_DEQUANTIZE)
    for step in steps:
        source = graph.tensors[step.inputs[0]]
        between = schema.TensorT()
        between.name, between.shape, between.type = source.name + b"_between", source.shape, _FLOAT
        between.shapeSignature, between.buffer = source.shapeSignature, 0
        graph.tensors.append(between)
        first = schema.OperatorT()
        first.opcodeIndex = codes.index(_DEQUANTIZE)
        first.inputs, first.outputs = [step.inputs[0]], [len(graph.tensors) - 1]
        graph.operators.insert(graph.operators.index(step), first)
        step.inputs = [len(graph.tensors) - 1]
    return True


def fixed_scales(schema: Any, model: Any) -> bool:
    """Give LOGISTIC and SOFTMAX the output scale that their plain kernels insist on, and requantise behind it.

    The quantiser gives them that of a CONCATENATION that reads them. XNNPACK takes it; the plain kernels, and so
    tflite-runtime and any delegate that leaves the operator out, do not.
    """
    graph, codes = model.subgraphs[0], _codes(model)
    others = [one for one in graph.operators if _of_other_scale(graph, one, codes[one.opcodeIndex])]
    if not others:
        return False
    if _QUANTIZE not in codes:
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = _QUANTIZE, _QUANTIZE, 2
        model.operatorCodes.append(code)
        codes.append(_QUANTIZE)
    for operator in others:
        target = graph.tensors[operator.outputs[0]]
        own = schema.TensorT()
        own.name, own.shape, own.shapeSignature = target.name + b"_own", target.shape, target.shapeSignature
        own.type, own.buffer, own.quantization = _INT8, 0, schema.QuantizationParametersT()
        scale, zero_point = _FIXED[codes[operator.opcodeIndex]]
        own.quantization.scale, own.quantization.zeroPoint = [scale], [zero_point]
        graph.tensors.append(own)
        behind = schema.OperatorT()
        behind.opcodeIndex = codes.index(_QUANTIZE)
        behind.inputs, behind.outputs = [len(graph.tensors) - 1], [int(operator.outputs[0])]
        operator.outputs = [len(graph.tensors) - 1]
        graph.operators.insert(graph.operators.index(operator) + 1, behind)
    return True


def _of_other_scale(graph: Any, operator: Any, code: int) -> bool:
    """Whether an int8 operator's output has another scale than the one its kernel takes."""
    if code not in _FIXED:
        return False
    target = graph.tensors[operator.outputs[0]]
    wanted = _FIXED[code]
    if target.type != _INT8 or target.quantization is None:
        return False
    return bool((float(target.quantization.scale[0]), int(target.quantization.zeroPoint[0])) != wanted)


def packed(model: Any) -> bytes:
    """Return a ``ModelT`` as a file."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _codes(model: Any) -> list[int]:
    return [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]


def _quantized(tensor: Any) -> bool:
    parameters = tensor.quantization
    return parameters is not None and parameters.scale is not None and len(parameters.scale) > 0


def _types(graph: Any, operator: Any) -> tuple[int, int]:
    return graph.tensors[operator.inputs[0]].type, graph.tensors[operator.outputs[0]].type


def _named(schema: Any, name: bytes, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(index)
    return entry
