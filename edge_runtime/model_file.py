"""Read a ``.tflite`` file into typed values without running it and without trusting it.

Field numbers are those of TensorFlow Lite's ``schema.fbs`` (version 3). The file is read into memory once; buffers are
views of it. Values are immutable and may be used from any thread.
"""

import hashlib
import stat
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

from edge_runtime.archive import read_archive
from edge_runtime.errors import ModelError, UsageError
from edge_runtime.file_kind import describe_file
from edge_runtime.flatbuffer import I8, I32, U8, U32, U64, FlatBuffer, Table
from edge_runtime.tensor_types import TENSOR_TYPES, TensorType

if TYPE_CHECKING:  # reading a model's graph takes half the time without it
    import numpy as np
    from numpy.typing import NDArray

MAX_MODEL_BYTES: Final = 2**31
MAX_TENSORS: Final = 100_000
MAX_OPERATORS: Final = 100_000
MAX_RANK: Final = 16
MAX_METADATA_BYTES: Final = 64 * 1024 * 1024
CUSTOM: Final = 32
"""``BuiltinOperator.CUSTOM``: the operator is named by ``OperatorCode.custom_code``."""
EDGETPU_OPERATOR: Final = "edgetpu-custom-op"


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor of the graph. ``shape_signature`` has -1 where a size is only known at run time."""

    index: int
    name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    type: TensorType
    buffer: int
    """Index of its constant data; the buffer is empty for what is computed."""
    is_variable: bool
    scale_values: "memoryview[Any]"
    """float32: one for the tensor, one per channel, or none when it is not quantised."""
    zero_point_values: "memoryview[Any]"
    """int64."""
    quantized_dimension: int

    @property
    def scales(self) -> "NDArray[np.float32]":
        """Return ``scale_values`` as an array (n,), not copied."""
        import numpy as np

        return np.asarray(self.scale_values, np.float32)

    @property
    def zero_points(self) -> "NDArray[np.int64]":
        """Return ``zero_point_values`` as an array (n,), not copied."""
        import numpy as np

        return np.asarray(self.zero_point_values, np.int64)

    @property
    def elements(self) -> int:
        """Return the number of elements; a size that is not known counts as 1."""
        count = 1
        for size in self.shape:
            count *= max(size, 1) if size < 0 else size
        return count

    @property
    def size_bytes(self) -> int:
        """Return the memory its elements take, in whole bytes."""
        return (self.elements * self.type.bits + 7) // 8


@dataclass(frozen=True, slots=True)
class OperatorCode:
    """A kind of operator: the number of ``BuiltinOperator`` and, for CUSTOM (32), its name."""

    builtin: int
    custom: str | None
    version: int


@dataclass(frozen=True, slots=True)
class Operator:
    """One node of the graph, in execution order. Inputs may be -1 (left out)."""

    index: int
    code: OperatorCode
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    table: Table = field(repr=False, compare=False)

    @property
    def options(self) -> Table | None:
        """Return the table of builtin options; its fields depend on ``options_type``. Raises ModelError."""
        return self.table.table(4)

    @property
    def options_type(self) -> int:
        """Return the member of the schema's ``BuiltinOptions`` union that ``options`` is; 0 for none."""
        return int(self.table.scalar(3, U8))

    @property
    def custom_options(self) -> memoryview:
        """Return a custom operator's options (mostly a flexbuffer), not copied. Raises ModelError."""
        return self.table.raw(5)


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A model's main subgraph and everything that came with it in the file."""

    path: str
    sha256: str
    size_bytes: int
    schema_version: int
    description: str
    subgraph_count: int
    operator_codes: tuple[OperatorCode, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    """Indices into ``tensors``."""
    outputs: tuple[int, ...]
    operators: tuple[Operator, ...]
    root: Table = field(repr=False)
    data: bytes = field(repr=False)

    @property
    def edgetpu(self) -> bool:
        """Whether it was compiled for the Edge TPU and needs one."""
        return any(code.custom == EDGETPU_OPERATOR for code in self.operator_codes)

    @property
    def buffer_count(self) -> int:
        """Return the number of buffers."""
        return self.root.count(4)

    def buffer(self, index: int) -> memoryview:
        """Return a buffer's bytes, not copied; empty for what is computed. Raises ModelError."""
        if not 0 <= index < self.buffer_count:
            raise self.root.flat.damaged(f"there is no buffer {index}")
        table = self.root.item(4, index)
        offset, size = table.scalar(1, U64), table.scalar(2, U64)
        # Models beyond 2 GB keep buffers after the flatbuffer; 0 and 1 are the converter's placeholders.
        if offset <= 1:
            return table.raw(0)
        if offset + size > self.size_bytes:
            raise self.root.flat.damaged("a buffer lies outside the file")
        return self.root.flat.data[offset : offset + size]

    def subgraph(self, index: int, *, most_tensors: int = MAX_TENSORS) -> "ModelFile":
        """Return the same file with another of its graphs in the place of the main one. Raises ModelError."""
        if not 0 <= index < self.subgraph_count:
            raise self.root.flat.damaged(f"there is no graph {index}")
        graph = self.root.item(2, index)
        tensors = _read_tensors(graph, buffer_count=self.buffer_count, most=most_tensors)
        count = len(tensors)
        return replace(
            self,
            tensors=tensors,
            inputs=_indices(graph, 1, count=count),
            outputs=_indices(graph, 2, count=count),
            operators=_read_operators(graph, self.operator_codes, tensor_count=count),
        )

    @cached_property
    def signatures(self) -> dict[int, str]:
        """The names that a file with several entries gives its graphs, by the graph's number. Raises ModelError."""
        return {int(table.scalar(4, U32)): table.text(2) or "" for table in self.root.tables(7, 1000)}

    @cached_property
    def metadata(self) -> dict[str, bytes]:
        """The named metadata buffers, ``TFLITE_METADATA`` for one. Raises ModelError."""
        found: dict[str, bytes] = {}
        left = MAX_METADATA_BYTES
        for table in self.root.tables(6, 1000):
            content = self.buffer(table.scalar(1, U32))
            left -= len(content)
            if left < 0:
                raise ModelError(f"{self.path}: more than {MAX_METADATA_BYTES // 2**20} MB of metadata are not read")
            found[table.text(0) or ""] = bytes(content)
        return found

    @cached_property
    def associated_files(self) -> dict[str, bytes]:
        """The files packed into the model (a zip archive at its end), by name. Raises ModelError."""
        return read_archive(self.data, self.path)


def read_model(path: Path) -> ModelFile:
    """Read a model file.

    Raises UsageError when there is no such file or it may not be read, ModelError when it is not a sound ``.tflite``.
    """
    return parse_model(_read_file(path), str(path))


def parse_model(data: bytes, path: str) -> ModelFile:
    """Read a model that is in memory; ``path`` is its name in errors. Raises ModelError."""
    if data[4:8] != b"TFL3":
        raise ModelError(f"{path} is {describe_file(data[:512], quote(path))}")
    root = FlatBuffer(data, path).root()
    subgraph_count = root.count(2)
    if not subgraph_count:
        raise root.flat.damaged("it has no graph")
    graph = root.item(2, 0)
    codes = tuple(_read_code(table) for table in root.tables(1, MAX_OPERATORS))
    tensors = _read_tensors(graph, buffer_count=root.count(4))
    count = len(tensors)
    return ModelFile(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        schema_version=root.scalar(0, U32),
        description=root.text(3) or "",
        subgraph_count=subgraph_count,
        operator_codes=codes,
        tensors=tensors,
        inputs=_indices(graph, 1, count=count),
        outputs=_indices(graph, 2, count=count),
        operators=_read_operators(graph, codes, tensor_count=count),
        root=root,
        data=data,
    )


def _read_file(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise UsageError(f"{path} is no regular file; give a .tflite file")
        if status.st_size > MAX_MODEL_BYTES:
            raise ModelError(f"{path} has {status.st_size / 1e9:.1f} GB; models up to 2 GB are read")
        return path.read_bytes()
    except IsADirectoryError as error:
        if (path / "saved_model.pb").is_file():
            raise ModelError(
                f"{path} is a TensorFlow SavedModel; convert it first: edge-convert {quote(str(path))} -o model.tflite"
            ) from error
        raise UsageError(f"{path} is a folder; give a .tflite file") from error
    except FileNotFoundError as error:
        raise UsageError(f"{path}: there is no such model file") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error


def _read_code(table: Table) -> OperatorCode:
    # Codes up to 127 were stored in a byte first; newer files fill both, and the larger one counts.
    builtin = max(table.scalar(0, I8), table.scalar(3, I32))
    return OperatorCode(builtin, table.text(1), table.scalar(2, I32, 1))


def _read_tensors(graph: Table, *, buffer_count: int, most: int = MAX_TENSORS) -> tuple[Tensor, ...]:
    return tuple(
        _read_tensor(table, index, buffer_count=buffer_count) for index, table in enumerate(graph.tables(0, most))
    )


_NO_SCALES: Final = memoryview(b"").cast("f")
_NO_ZERO_POINTS: Final = memoryview(b"").cast("q")


def _read_tensor(table: Table, index: int, *, buffer_count: int) -> Tensor:
    code = table.scalar(1, I8)
    element = TENSOR_TYPES.get(code)
    if element is None:
        raise ModelError(f"{table.flat.name}: tensor {index} has the unknown type {code}; convert it again")
    shape = table.integers(0, MAX_RANK)
    if any(size < -1 for size in shape):
        raise table.flat.damaged(f"tensor {index} has the shape {list(shape)}")
    buffer = table.scalar(2, U32)
    if buffer >= max(buffer_count, 1):
        raise table.flat.damaged(f"there is no buffer {buffer}")
    quantization = table.table(4)
    return Tensor(
        index=index,
        name=table.text(3) or "",
        shape=shape,
        shape_signature=table.integers(7, MAX_RANK) or shape,
        type=element,
        buffer=buffer,
        is_variable=bool(table.scalar(5, U8)),
        scale_values=quantization.numbers(2, "f") if quantization else _NO_SCALES,
        zero_point_values=quantization.numbers(3, "q") if quantization else _NO_ZERO_POINTS,
        quantized_dimension=quantization.scalar(6, I32) if quantization else 0,
    )


def _indices(table: Table, number: int, *, count: int, lowest: int = 0) -> tuple[int, ...]:
    indices = table.integers(number, MAX_TENSORS)
    if any(not lowest <= index < count for index in indices):
        raise table.flat.damaged("an index points at no tensor")
    return indices


def _read_operators(graph: Table, codes: tuple[OperatorCode, ...], *, tensor_count: int) -> tuple[Operator, ...]:
    operators = []
    for index, table in enumerate(graph.tables(3, MAX_OPERATORS)):
        code = table.scalar(0, U32)
        if code >= len(codes):
            raise table.flat.damaged(f"operator {index} is of no kind")
        inputs = _indices(table, 1, count=tensor_count, lowest=-1)
        outputs = _indices(table, 2, count=tensor_count)
        operators.append(Operator(index, codes[code], inputs, outputs, table))
    return tuple(operators)
