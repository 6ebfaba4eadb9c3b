"""Models of real operators, options and constants for the tests of the analysis, written with the schema's own code."""

from collections.abc import Sequence
from typing import Any

import pytest

schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="the schema's own code comes with LiteRT")
import flatbuffers  # noqa: E402 - comes with LiteRT
import numpy as np  # noqa: E402

from edge_runtime.analysis.graph import Graph, build_graph  # noqa: E402
from edge_runtime.model_file import parse_model  # noqa: E402

TYPES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9}


class ModelBuilder:
    """Adds tensors and operators one after another; every tensor is known by the number it got."""

    def __init__(self, type_name: str = "int8") -> None:
        self.type = type_name
        self.model = schema.ModelT()
        self.model.version, self.model.buffers = 3, [schema.BufferT()]
        self.model.operatorCodes, self.model.subgraphs = [], []
        self.graph = self._graph()

    def _graph(self) -> Any:
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = [], []
        self.model.subgraphs.append(graph)
        return graph

    def another(self) -> "ModelBuilder":
        """Return a builder of one more graph of the same file."""
        other = ModelBuilder(self.type)
        other.model = self.model
        other.graph = other._graph()
        return other

    def ends(self, inputs: Sequence[int], outputs: Sequence[int]) -> int:
        """Say what goes into this graph and comes out; return its number in the file."""
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)
        return next(number for number, graph in enumerate(self.model.subgraphs) if graph is self.graph)

    def number(self, value: int) -> int:
        """Add a constant of one int32."""
        made = self.weights([], "int32")
        self.model.buffers[self.graph.tensors[made].buffer].data = np.frombuffer(np.int32(value).tobytes(), np.uint8)
        return made

    def control(self, name: str, inputs: Sequence[int], graphs: tuple[int, int], outputs: Sequence[int]) -> list[int]:
        """Add a WHILE or IF that runs two graphs; ``outputs`` are tensors that its own are like."""
        options = getattr(schema, f"{name.capitalize()}OptionsT")()
        names = (
            ("condSubgraphIndex", "bodySubgraphIndex")
            if name == "WHILE"
            else ("thenSubgraphIndex", "elseSubgraphIndex")
        )
        for field, graph in zip(names, graphs, strict=True):
            setattr(options, field, graph)
        like = [self.graph.tensors[index] for index in outputs]
        types = {code: name for name, code in TYPES.items()}
        first = self.op(name, inputs, list(like[0].shape), options, types[like[0].type])
        rest = [self.tensor(list(tensor.shape), types[tensor.type]) for tensor in like[1:]]
        self.graph.operators[-1].outputs = [first, *rest]
        return [first, *rest]

    def tensor(self, shape: Sequence[int], type_name: str | None = None, *, constant: bool = False) -> int:
        name = type_name or self.type
        tensor = schema.TensorT()
        tensor.name, tensor.shape = f"tensor{len(self.graph.tensors)}".encode(), list(shape)
        tensor.type, tensor.buffer = TYPES[name], 0
        if name in {"int8", "uint8", "int16"} or (name == "int32" and constant):
            quantization = schema.QuantizationParametersT()
            quantization.scale, quantization.zeroPoint = [0.5], [0]
            tensor.quantization = quantization
        if constant:
            buffer = schema.BufferT()
            buffer.data = np.zeros(int(np.prod(shape)) * np.dtype(name).itemsize, np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def weights(self, shape: Sequence[int], type_name: str | None = None) -> int:
        return self.tensor(shape, type_name, constant=True)

    def op(
        self,
        name: str,
        inputs: Sequence[int],
        output: Sequence[int],
        options: object = None,
        out_type: str | None = None,
    ) -> int:
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        self.model.operatorCodes.append(code)
        made = self.tensor(output, out_type)
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = list(inputs), [made]
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__[:-1])
        self.graph.operators.append(operator)
        return made

    def conv(self, fed: int, channels: int, *, kernel: int = 1, stride: int = 1, dilation: int = 1) -> int:
        _, height, width, depth = self.graph.tensors[fed].shape
        options = schema.Conv2DOptionsT()
        options.strideH = options.strideW = stride
        options.dilationHFactor = options.dilationWFactor = dilation
        inputs = [fed, self.weights([channels, kernel, kernel, depth]), self._bias(channels)]
        return self.op("CONV_2D", inputs, [1, -(-height // stride), -(-width // stride), channels], options)

    def depthwise(self, fed: int, *, kernel: int = 3, stride: int = 1, multiplier: int = 1) -> int:
        _, height, width, depth = self.graph.tensors[fed].shape
        options = schema.DepthwiseConv2DOptionsT()
        options.strideH = options.strideW = stride
        options.depthMultiplier = multiplier
        channels = depth * multiplier
        inputs = [fed, self.weights([1, kernel, kernel, channels]), self._bias(channels)]
        return self.op("DEPTHWISE_CONV_2D", inputs, [1, -(-height // stride), -(-width // stride), channels], options)

    def transpose_conv(self, fed: int, channels: int, *, weights: str | None = None) -> int:
        """Add a window of 3 by 3 that makes a picture twice as high and wide."""
        _, height, width, depth = self.graph.tensors[fed].shape
        options = schema.TransposeConvOptionsT()
        options.strideH = options.strideW = 2
        inputs = [self.weights([4], "int32"), self.weights([channels, 3, 3, depth], weights), fed]
        return self.op("TRANSPOSE_CONV", inputs, [1, 2 * height, 2 * width, channels], options)

    def fully_connected(self, fed: int, units: int) -> int:
        depth = int(np.prod(self.graph.tensors[fed].shape[1:]))
        inputs = [fed, self.weights([units, depth]), self._bias(units)]
        return self.op("FULLY_CONNECTED", inputs, [1, units], schema.FullyConnectedOptionsT())

    def lstm(self, fed: int, cells: int, *, weights: str = "float32", coupled: bool = False) -> int:
        """Add a fused LSTM over (1, steps, depth), all of whose outputs are kept; ``coupled`` has no input gate."""
        _, steps, depth = self.graph.tensors[fed].shape
        missing = [0] if coupled else []
        inputs = [fed]
        for sides in (depth, cells):
            inputs += [-1 if gate in missing else self.weights([cells, sides], weights) for gate in range(4)]
        inputs += [-1] * 3
        inputs += [-1 if gate in missing else self.weights([cells], "float32") for gate in range(4)]
        inputs += [-1] * 2
        for _ in range(2):
            inputs.append(self.tensor([1, cells], "float32"))
            self.graph.tensors[inputs[-1]].isVariable = True
        inputs += [-1] * 4
        options = schema.UnidirectionalSequenceLSTMOptionsT()
        options.fusedActivationFunction = schema.ActivationFunctionType.TANH
        return self.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [1, steps, cells], options)

    def _bias(self, channels: int) -> int:
        return self.weights([channels], "float32" if self.type == "float32" else "int32")

    def bytes(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        self.ends(inputs, outputs)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def build(self, inputs: Sequence[int], outputs: Sequence[int]) -> Graph:
        return build_graph(parse_model(self.bytes(inputs, outputs), "built.tflite"))


def mobilenet_v1(type_name: str = "int8", *, size: int = 224, classes: int = 1001, width: float = 1.0) -> ModelBuilder:
    """MobileNetV1 as its paper has it; the input is tensor 0, the output the last one."""
    model = ModelBuilder(type_name)
    now = model.conv(model.tensor([1, size, size, 3]), int(32 * width), kernel=3, stride=2)
    layers = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for channels, stride in layers:
        now = model.conv(model.depthwise(now, stride=stride), int(channels * width))
    side = model.graph.tensors[now].shape[1]
    pool = schema.Pool2DOptionsT()
    pool.strideH = pool.strideW = pool.filterHeight = pool.filterWidth = side
    now = model.op("AVERAGE_POOL_2D", [now], [1, 1, 1, int(1024 * width)], pool)
    model.conv(now, classes)
    return model
