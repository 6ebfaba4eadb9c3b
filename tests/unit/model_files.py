"""Small ``.tflite`` files for tests, written with the public schema's own generated code; metadata by hand."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="the schema's own code comes with LiteRT")
import flatbuffers  # noqa: E402 - comes with LiteRT

TYPES = {"float32": 0, "int32": 2, "uint8": 3, "int64": 4, "string": 5, "int16": 7, "int8": 9}
SOFTMAX, FULLY_CONNECTED, ARG_MAX, CUSTOM = 25, 9, 56, 32


@dataclass(frozen=True)
class T:
    """A tensor to write."""

    shape: Sequence[int]
    type: str = "float32"
    scale: float = 0.0
    zero_point: int = 0
    name: str = "tensor"
    signature: Sequence[int] | None = None


@dataclass(frozen=True)
class Op:
    """An operator to write: a builtin code or a custom name, and indices into inputs + outputs + inner."""

    code: int | str
    inputs: Sequence[int]
    outputs: Sequence[int]


def _tensor(spec: T, buffer: int) -> "schema.TensorT":
    tensor = schema.TensorT()
    tensor.name = spec.name.encode()
    tensor.shape = list(spec.shape)
    tensor.shapeSignature = list(spec.signature) if spec.signature is not None else None
    tensor.type = TYPES[spec.type]
    tensor.buffer = buffer
    if spec.scale:
        quantization = schema.QuantizationParametersT()
        quantization.scale, quantization.zeroPoint = [spec.scale], [spec.zero_point]
        tensor.quantization = quantization
    return tensor


def build_model(
    inputs: Sequence[T],
    outputs: Sequence[T],
    *,
    inner: Sequence[T] = (),
    ops: Sequence[Op] = (),
    metadata: Mapping[str, bytes] | None = None,
    files: Mapping[str, bytes] | None = None,
    constants: Mapping[int, bytes] | None = None,
) -> bytes:
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.description = 3, b"made for a test"
    model.buffers = [schema.BufferT()]
    tensors = [*inputs, *outputs, *inner]
    graph.tensors = []
    for index, spec in enumerate(tensors):
        buffer = 0
        if constants and index in constants:
            buffer = _add_buffer(model, constants[index])
        graph.tensors.append(_tensor(spec, buffer))
    graph.inputs = list(range(len(inputs)))
    graph.outputs = list(range(len(inputs), len(inputs) + len(outputs)))
    graph.operators, model.operatorCodes, model.metadata = [], [], []
    for number, op in enumerate(ops):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        builtin = CUSTOM if isinstance(op.code, str) else op.code
        code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), 1
        code.customCode = op.code.encode() if isinstance(op.code, str) else None
        operator.opcodeIndex, operator.inputs, operator.outputs = number, list(op.inputs), list(op.outputs)
        model.operatorCodes.append(code)
        graph.operators.append(operator)
    for name, content in (metadata or {}).items():
        entry = schema.MetadataT()
        entry.name, entry.buffer = name.encode(), _add_buffer(model, content)
        model.metadata.append(entry)
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output()) + (zip_of(files) if files else b"")


def _add_buffer(model: "schema.ModelT", content: bytes) -> int:
    buffer = schema.BufferT()
    buffer.data = list(content)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def zip_of(files: Mapping[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def write_model(path: Path, inputs: Sequence[T], outputs: Sequence[T], **parts: object) -> Path:
    path.write_bytes(build_model(inputs, outputs, **parts))  # type: ignore[arg-type]
    return path


class U32(int):
    """A number that its schema stores in four bytes; plain ints are stored in one."""


class _Flat:
    """Writes tables of a schema from values by field number; nested tables are dicts, unions are pairs."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(256)

    def table(self, fields: Mapping[int, object]) -> int:
        offsets = {number: self._offset(value) for number, value in fields.items() if not isinstance(value, int)}
        self.builder.StartObject(max(fields, default=-1) + 1)
        for number, value in fields.items():
            if isinstance(value, int):
                size = self.builder.PrependInt32Slot if isinstance(value, U32) else self.builder.PrependInt8Slot
                size(number, value, 0)
            else:
                self.builder.PrependUOffsetTRelativeSlot(number, offsets[number], 0)
        return self.builder.EndObject()

    def _offset(self, value: object) -> int:
        if isinstance(value, str):
            return self.builder.CreateString(value)
        if isinstance(value, dict):
            return self.table(value)
        assert isinstance(value, list)
        if value and isinstance(value[0], dict):
            offsets = [self.table(item) for item in value]
            self.builder.StartVector(4, len(offsets), 4)
            for offset in reversed(offsets):
                self.builder.PrependUOffsetTRelative(offset)
            return self.builder.EndVector()
        self.builder.StartVector(4, len(value), 4)
        for number in reversed(value):
            (self.builder.PrependFloat32 if isinstance(number, float) else self.builder.PrependUint32)(number)
        return self.builder.EndVector()


def normalization(mean: list[float], std: list[float]) -> dict[int, object]:
    return {4: [{0: 1, 1: {0: mean, 1: std}}]}


def image_content(color: int = 1) -> dict[int, object]:
    return {3: {0: 2, 1: {0: color}}}


def audio_content(sample_rate_hz: int, channels: int) -> dict[int, object]:
    return {3: {0: 4, 1: {0: U32(sample_rate_hz), 1: U32(channels)}}}


def box_content(index: list[int], kind: int) -> dict[int, object]:
    return {3: {0: 3, 1: {0: index, 1: kind}}}


def label_files(*names: str | tuple[str, int, str]) -> dict[int, object]:
    entries = [(name, 2, "") if isinstance(name, str) else name for name in names]
    return {6: [{0: name, 2: kind} | ({3: locale} if locale else {}) for name, kind, locale in entries]}


def metadata_buffer(
    *,
    name: str | None = None,
    version: str | None = None,
    inputs: Sequence[dict[int, object]] = (),
    outputs: Sequence[dict[int, object]] = (),
) -> bytes:
    flat = _Flat()
    subgraph: dict[int, object] = {0: "main"}
    if inputs:
        subgraph[2] = list(inputs)
    if outputs:
        subgraph[3] = list(outputs)
    fields: dict[int, object] = {3: [subgraph]}
    fields |= {0: name} if name else {}
    fields |= {2: version} if version else {}
    flat.builder.Finish(flat.table(fields), b"M001")
    return bytes(flat.builder.Output())
