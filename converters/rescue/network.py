"""A float ``.tflite`` whose weights can be rewritten: layers, and the pairs of them that equalisation works on."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_CONV, _DEPTHWISE, _DENSE = "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"
_OUTPUT_AXIS: Final = {_CONV: 0, _DEPTHWISE: 3, _DENSE: 0}
_INPUT_AXIS: Final = {_CONV: 3, _DEPTHWISE: 3, _DENSE: 1}
_SCALED_THROUGH: Final = frozenset({"RELU", "PAD", "MAX_POOL_2D", "AVERAGE_POOL_2D"})
"""Operators for which f(s x) = s f(x), channel by channel, s positive."""
_SAME_PADDING: Final = 0
_NONE, _RELU, _RELU6 = 0, 1, 3
_CEILING: Final = {_NONE: np.inf, _RELU: np.inf, _RELU6: 6.0}


@dataclass(frozen=True, slots=True)
class Layer:
    """An operator with constant weights and bias."""

    name: str
    """Of its output tensor."""
    kind: str
    operator: int
    weights: int
    """Index of the tensor."""
    bias: int
    ceiling: float
    """Of its activation: infinite for none and ReLU, 6 for ReLU6."""
    rectified: bool
    """Whether its output is never negative."""
    padded: bool
    """Whether zeros are put around its input."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two layers with nothing between them that a scale per channel does not pass through, and no other reader."""

    first: Layer
    second: Layer
    through: tuple[str, ...]
    """Operators between them."""


class FloatNetwork:
    """A model with constant weights that can be read and replaced. Not thread-safe."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
        self._model = schema.ModelT.InitFromPackedBuf(content, 0)
        self._graph = self._model.subgraphs[0]
        self._uses = Counter(tensor.buffer for tensor in self._graph.tensors)
        self._readers: dict[int, list[int]] = {}
        for index, operator in enumerate(self._graph.operators):
            for tensor in operator.inputs:
                self._readers.setdefault(int(tensor), []).append(index)
        self.layers: tuple[Layer, ...] = tuple(self._layers())

    def content(self) -> bytes:
        """Return the model as a file."""
        import flatbuffers

        builder = flatbuffers.Builder(1024)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def values(self, tensor: int) -> Array:
        """Return a copy of a constant's values, float32 of the tensor's shape."""
        entry = self._graph.tensors[tensor]
        data = np.asarray(self._model.buffers[entry.buffer].data, np.uint8)
        return data.view(np.float32).reshape(entry.shape).copy()

    def replace(self, tensor: int, values: Array) -> None:
        """Replace a constant's values by others of the same shape."""
        data = np.ascontiguousarray(values, np.float32)
        self._model.buffers[self._graph.tensors[tensor].buffer].data = data.view(np.uint8).reshape(-1)

    def input_name(self, layer: Layer) -> str:
        """Return the name of the tensor that a layer reads."""
        return self._name(int(self._graph.operators[layer.operator].inputs[0]))

    def scale_outputs(self, layer: Layer, factors: Array) -> None:
        """Multiply a layer's output channels by ``factors``, (channels,): its weights and its bias."""
        weights = self.values(layer.weights)
        self.replace(layer.weights, weights * _along(factors, weights.ndim, _OUTPUT_AXIS[layer.kind]))
        self.replace(layer.bias, self.values(layer.bias) * factors)

    def scale_inputs(self, layer: Layer, factors: Array) -> None:
        """Multiply what a layer makes of its input channels by ``factors``, (channels,)."""
        weights = self.values(layer.weights)
        self.replace(layer.weights, weights * _along(factors, weights.ndim, _INPUT_AXIS[layer.kind]))

    def pairs(self) -> list[Pair]:
        """Return the pairs of layers that scales can be moved between, in the order of the network."""
        by_operator = {layer.operator: layer for layer in self.layers}
        found = []
        for first in self.layers:
            reader, through = self._next(first.operator)
            second = by_operator.get(reader)
            if second is not None and self._channels(first, _OUTPUT_AXIS) == self._channels(second, _INPUT_AXIS):
                found.append(Pair(first, second, through))
        return found

    def _next(self, operator: int) -> tuple[int, tuple[str, ...]]:
        """Return the only reader of an operator's output, past what scales pass through; -1 where there is none."""
        through: list[str] = []
        while True:
            tensor = int(self._graph.operators[operator].outputs[0])
            readers = self._readers.get(tensor, [])
            if len(readers) != 1 or tensor in self._graph.outputs:
                return -1, ()
            operator = readers[0]
            kind = self._kind(operator)
            plain = getattr(self._graph.operators[operator].builtinOptions, "fusedActivationFunction", _NONE) == _NONE
            if kind not in _SCALED_THROUGH or not plain:
                return operator, tuple(through)
            through.append(kind)

    def _layers(self) -> Iterator[Layer]:
        for index, operator in enumerate(self._graph.operators):
            kind = self._kind(index)
            if kind not in _OUTPUT_AXIS or len(operator.inputs) < 3 or operator.inputs[2] < 0:
                continue
            weights, bias = int(operator.inputs[1]), int(operator.inputs[2])
            activation = operator.builtinOptions.fusedActivationFunction
            if activation in _CEILING and self._own(weights) and self._own(bias):
                yield Layer(
                    name=self._name(int(operator.outputs[0])),
                    kind=kind,
                    operator=index,
                    weights=weights,
                    bias=bias,
                    ceiling=_CEILING[activation],
                    rectified=activation in {_RELU, _RELU6},
                    padded=getattr(operator.builtinOptions, "padding", None) == _SAME_PADDING,
                )

    def _own(self, tensor: int) -> bool:
        """Return whether a tensor is a float constant that one operator alone reads."""
        entry = self._graph.tensors[tensor]
        data = self._model.buffers[entry.buffer].data
        constant = entry.type == 0 and data is not None and len(data) > 0
        return bool(constant and self._uses[entry.buffer] == 1 and len(self._readers[tensor]) == 1)

    def _channels(self, layer: Layer, axis: dict[str, int]) -> int:
        return int(self._graph.tensors[layer.weights].shape[axis[layer.kind]])

    def _kind(self, operator: int) -> str:
        code = self._model.operatorCodes[self._graph.operators[operator].opcodeIndex]
        return str(self._names.get(max(code.builtinCode, code.deprecatedBuiltinCode), ""))

    def _name(self, tensor: int) -> str:
        name: bytes = self._graph.tensors[tensor].name
        return name.decode()


def _along(factors: Array, rank: int, axis: int) -> Array:
    return factors.reshape([-1 if place == axis else 1 for place in range(rank)])
