"""Give a converted model the inputs and outputs of its source: same names, same order, same layout."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

_TRANSPOSE: Final = 39
_RESHAPE: Final = 22
_SQUEEZE: Final = 43


class Ends:
    """The inputs and outputs of one flatbuffer, as they are being changed."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema = schema
        self._model: Any = schema.ModelT.InitFromPackedBuf(content, 0)
        self._graph: Any = self._model.subgraphs[0]
        self._graph.outputs = np.array(self._graph.outputs, np.int32)  # what was read cannot be written to
        self._model.signatureDefs = []  # they name the old ends

    def packed(self) -> bytes:
        """Return the changed model."""
        import flatbuffers

        builder = flatbuffers.Builder(1024)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def name_inputs(self, names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> bool:
        """Put the inputs in the source's order; one that nothing reads gets a tensor. Return whether all fit."""
        found = {self._name(index): index for index in self._graph.inputs}
        if set(found) - set(names):
            return False
        order = []
        for name, shape in zip(names, shapes, strict=True):
            index = found.get(name)
            has = () if index is None else self._shape(index)
            if index is None:
                order.append(self._tensor(name, shape))
            elif has == tuple(shape):
                order.append(index)
            elif sorted(side for side in has if side != 1) == sorted(side for side in shape if side != 1) == []:
                order.append(self._reshaped_input(index, name, shape))  # a single number
            elif sorted(has) == sorted(shape):
                order.append(self._turned_input(index, name, shape))
            else:
                return False
        self._graph.inputs = np.asarray(order, np.int32)
        return True

    def _reshaped_input(self, index: int, name: str, shape: Sequence[int]) -> int:
        """Put a RESHAPE behind a new input of another shape."""
        self._graph.tensors[index].name = f"{name}/shaped".encode()
        entry = self._tensor(name, shape)
        self._graph.operators.insert(0, self._reshape(entry, index, self._shape(index), name))
        return entry

    def _turned_input(self, index: int, name: str, shape: Sequence[int]) -> int:
        """Put a TRANSPOSE behind a new input: the converter took one of the source's into the input itself."""
        has = self._shape(index)
        fitting = [
            axes for axes in itertools.permutations(range(len(has))) if [shape[axis] for axis in axes] == list(has)
        ]
        self._graph.tensors[index].name = f"{name}/turned".encode()
        entry = self._tensor(name, shape)
        self._graph.operators.insert(0, self._transpose(entry, index, fitting[0], name))
        return entry

    def turn_output(self, position: int, axes: Sequence[int], name: str) -> None:
        """Add a TRANSPOSE behind an output, so that the source's axes come in the source's order."""
        source = int(self._graph.outputs[position])
        shape = [int(self._graph.tensors[source].shape[axis]) for axis in axes]
        result = self._tensor(name, shape)
        self._graph.operators.append(self._transpose(source, result, axes, name))
        self._graph.outputs[position] = result

    def shape_output(self, position: int, shape: Sequence[int], name: str) -> None:
        """Add a RESHAPE behind an output."""
        source, result = int(self._graph.outputs[position]), self._tensor(name, shape)
        work = self._reshape(source, result, shape, name) if shape else self._squeeze(source, result)
        self._graph.operators.append(work)
        self._graph.outputs[position] = result

    def order_outputs(self, order: Sequence[int], shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Put the outputs in the source's order, under its names, and write down the shapes that they really have."""
        outputs = [int(self._graph.outputs[position]) for position in order]
        for index, (name, shape) in zip(outputs, shapes.items(), strict=True):
            self._graph.tensors[index].name = name.encode()
            self._graph.tensors[index].shape = np.asarray(shape, np.int32)
        self._rename_inner({name.encode() for name in shapes}, keep={*outputs, *map(int, self._graph.inputs)})
        self._graph.outputs = np.asarray(outputs, np.int32)

    def _rename_inner(self, taken: set[bytes], *, keep: set[int]) -> None:
        """Give way to the outputs' names: the quantiser refuses a network with two tensors of one name."""
        for index, tensor in enumerate(self._graph.tensors):
            if index not in keep and tensor.name in taken:
                tensor.name += f"/inner{index}".encode()

    def _transpose(self, source: int, result: int, axes: Sequence[int], name: str) -> Any:
        order = self._tensor(f"{name}/order", (len(axes),), np.asarray(axes, np.int32))
        options = (self._schema.BuiltinOptions.TransposeOptions, self._schema.TransposeOptionsT())
        return self._operator(_TRANSPOSE, [source, order], result, options)

    def _reshape(self, source: int, result: int, shape: Sequence[int], name: str) -> Any:
        entry = self._schema.ReshapeOptionsT()
        entry.newShape = np.asarray(shape, np.int32)
        sides = self._tensor(f"{name}/sides", (len(shape),), np.asarray(shape, np.int32))
        return self._operator(_RESHAPE, [source, sides], result, (self._schema.BuiltinOptions.ReshapeOptions, entry))

    def _squeeze(self, source: int, result: int) -> Any:
        """Return what makes a single number of an array that holds one: a RESHAPE would need an empty constant."""
        entry = self._schema.SqueezeOptionsT()
        entry.squeezeDims = np.arange(len(self._shape(source)), dtype=np.int32)
        return self._operator(_SQUEEZE, [source], result, (self._schema.BuiltinOptions.SqueezeOptions, entry))

    def _operator(self, code: int, inputs: Sequence[int], result: int, options: Any) -> Any:
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._code(code)
        operator.inputs = np.asarray(inputs, np.int32)
        operator.outputs = np.asarray([result], np.int32)
        operator.builtinOptionsType, operator.builtinOptions = options
        return operator

    def _shape(self, index: int) -> tuple[int, ...]:
        shape: Any = self._graph.tensors[index].shape
        return () if shape is None else tuple(int(side) for side in shape)

    def _tensor(self, name: str, shape: Sequence[int], values: Any = None) -> int:
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape = name.encode(), np.asarray(shape, np.int32)
        tensor.type = self._schema.TensorType.FLOAT32 if values is None else self._schema.TensorType.INT32
        tensor.buffer = 0
        if values is not None:
            buffer = self._schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            self._model.buffers.append(buffer)
            tensor.buffer = len(self._model.buffers) - 1
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _code(self, builtin: int) -> int:
        for index, known in enumerate(self._model.operatorCodes):
            if max(known.builtinCode, known.deprecatedBuiltinCode) == builtin:
                return index
        code = self._schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = 1
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1

    def _name(self, index: int) -> str:
        name: Any = self._graph.tensors[index].name
        return name.decode() if isinstance(name, bytes) else str(name)
