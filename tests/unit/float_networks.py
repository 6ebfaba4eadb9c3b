"""Small float networks as ``.tflite``, with weights to rewrite, and a way to run them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="the schema's own code comes with LiteRT")
import flatbuffers  # noqa: E402 - comes with LiteRT
from ai_edge_litert.interpreter import Interpreter  # noqa: E402

NONE, RELU, RELU6 = 0, 1, 3
_CODES = {
    "ADD": 0,
    "EXP": 47,
    "LOG": 73,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 4,
    "FULLY_CONNECTED": 9,
    "LOGISTIC": 14,
    "MAX_POOL_2D": 17,
    "BATCH_MATMUL": 126,
}


@dataclass(frozen=True)
class Part:
    """One operator of a chain; a pool has no weights."""

    kind: str
    weights: np.ndarray | None = None
    bias: np.ndarray | None = None
    activation: int = NONE
    padding: int = 1
    """0 SAME, 1 VALID."""


def chain(shape: Sequence[int], parts: Sequence[Part], shapes: Sequence[Sequence[int]]) -> bytes:
    """Return a model whose parts follow each other; ``shapes`` are those of their outputs, named out0, out1 ..."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], []
    graph.tensors, graph.operators = [], []
    entry = _tensor(model, graph, "in", shape)
    graph.inputs = [entry]
    for number, (part, output) in enumerate(zip(parts, shapes, strict=True)):
        operator, code = schema.OperatorT(), schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = _CODES[part.kind]
        code.version = 1
        model.operatorCodes.append(code)
        operator.opcodeIndex = number
        operator.inputs = [entry]
        for values in (part.weights, part.bias):
            if values is not None:
                operator.inputs.append(_tensor(model, graph, f"c{len(graph.tensors)}", values.shape, values))
        entry = _tensor(model, graph, f"out{number}", output)
        operator.outputs = [entry]
        operator.builtinOptionsType, operator.builtinOptions = _options(part)
        graph.operators.append(operator)
    graph.outputs = [entry]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def answer(content: bytes, value: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], value.astype(np.float32))
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def _tensor(model: object, graph: object, name: str, shape: Sequence[int], values: np.ndarray | None = None) -> int:
    tensor, buffer = schema.TensorT(), schema.BufferT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), list(shape), 0, 0
    if values is not None:
        buffer.data = np.ascontiguousarray(values, np.float32).view(np.uint8).reshape(-1)
        tensor.buffer = len(model.buffers)  # type: ignore[attr-defined]
        model.buffers.append(buffer)  # type: ignore[attr-defined]
    graph.tensors.append(tensor)  # type: ignore[attr-defined]
    return len(graph.tensors) - 1  # type: ignore[attr-defined]


def _options(part: Part) -> tuple[int, object]:
    union = schema.BuiltinOptions
    if part.kind == "FULLY_CONNECTED":
        dense = schema.FullyConnectedOptionsT()
        dense.fusedActivationFunction = part.activation
        return union.FullyConnectedOptions, dense
    if part.kind == "ADD":
        return union.AddOptions, schema.AddOptionsT()
    if part.kind in {"LOGISTIC", "EXP", "LOG"}:
        return union.NONE, None
    if part.kind == "BATCH_MATMUL":
        return union.BatchMatMulOptions, schema.BatchMatMulOptionsT()
    if part.kind == "MAX_POOL_2D":
        pool = schema.Pool2DOptionsT()
        pool.strideH = pool.strideW = pool.filterHeight = pool.filterWidth = 1
        pool.padding = part.padding
        return union.Pool2DOptions, pool
    depthwise = part.kind == "DEPTHWISE_CONV_2D"
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    options.padding, options.fusedActivationFunction = part.padding, part.activation
    if depthwise:
        options.depthMultiplier = 1
    return (union.DepthwiseConv2DOptions if depthwise else union.Conv2DOptions), options
