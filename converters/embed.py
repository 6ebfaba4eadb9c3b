"""Put metadata into a ``.tflite`` without touching the network in it.

A flatbuffer's offsets point forward only, so everything that is there stays byte for byte as it was: a new root table,
with longer lists of buffers and of metadata, is put in front of the old file, and points into it. The old root stays
behind as a few dead bytes. Field numbers are those of TensorFlow Lite's ``schema.fbs``, version 3.
"""

import io
import struct
import zipfile
from collections.abc import Mapping
from typing import Final

from edge_runtime.errors import ModelError
from edge_runtime.flatbuffer import U32, U64
from edge_runtime.model_file import ModelFile, parse_model

_VERSION, _DESCRIPTION, _BUFFERS, _METADATA = 0, 3, 4, 6
_ROOT_FIELDS: Final = 8
_ALIGNMENT: Final = 64
"""The old file moves by a multiple of this; buffers of constants want 16."""
_LARGEST_BYTES: Final = 2**31 - 1
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The oldest time a zip entry can carry: the same input gives the same file."""


def embed_metadata(model: bytes, buffers: Mapping[str, bytes]) -> bytes:
    """Return ``model`` with named metadata buffers; one of the same name is replaced.

    Raises ModelError for what is no sound model, or grows beyond 2 GB.
    """
    source = parse_model(model, "the model")
    if any(source.root.item(_BUFFERS, index).scalar(1, U64) > 1 for index in range(source.buffer_count)):
        raise ModelError("the model keeps its constants behind the flatbuffer (beyond 2 GB); metadata cannot be added")
    front = _Front(source, model, buffers).build()
    if len(front) + len(model) > _LARGEST_BYTES:
        raise ModelError("the model with its metadata is larger than 2 GB, which a .tflite cannot be")
    return front + model


def append_files(model: bytes, files: Mapping[str, bytes]) -> bytes:
    """Return ``model`` with files packed behind it as a zip archive, as TFLite Metadata does."""
    stream = io.BytesIO(model)
    stream.seek(0, io.SEEK_END)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return stream.getvalue()


class _Front:
    """The bytes that go in front of the old file: root table, lists, and the new buffers."""

    def __init__(self, source: ModelFile, old: bytes, buffers: Mapping[str, bytes]) -> None:
        self._old = old
        self._source = source
        self._buffers = buffers
        self._bytes = bytearray(8)
        self._into_old: list[tuple[int, int]] = []
        """(where an offset is written, which position of the old file it points at)."""

    def build(self) -> bytes:
        root = U32.unpack_from(self._old, 0)[0]
        vtable = root - struct.unpack_from("<i", self._old, root)[0]
        fields = self._write_root(root, vtable)
        kept = self._kept_metadata(root, vtable)
        old_buffers = self._old_vector(root, vtable, _BUFFERS)
        first_new = len(old_buffers)
        places = self._vector(fields[_BUFFERS], old_buffers, count_new=len(self._buffers))
        entries = self._vector(fields[_METADATA], kept, count_new=len(self._buffers))
        for number, (name, content) in enumerate(self._buffers.items()):
            self._write_buffer(places[number], content)
            self._write_entry(entries[number], name, buffer=first_new + number)
        self._align(_ALIGNMENT)
        for at, position in self._into_old:
            U32.pack_into(self._bytes, at, len(self._bytes) + position - at)
        return bytes(self._bytes)

    def _write_root(self, root: int, vtable: int) -> dict[int, int]:
        """Write the root table; fields that stay point into the old file. Return where each new offset belongs."""
        old_fields = {number: self._field(root, vtable, number) for number in range(_ROOT_FIELDS)}
        wanted = [number for number, at in old_fields.items() if at or number in (_BUFFERS, _METADATA)]
        offsets = {number: 4 + 4 * place for place, number in enumerate(wanted)}
        start = len(self._bytes)
        self._bytes += struct.pack("<2H", 4 + 2 * _ROOT_FIELDS, 4 + 4 * len(wanted))
        self._bytes += struct.pack(f"<{_ROOT_FIELDS}H", *(offsets.get(number, 0) for number in range(_ROOT_FIELDS)))
        table = len(self._bytes)
        struct.pack_into("<I4s", self._bytes, 0, table, b"TFL3")
        self._bytes += struct.pack("<i", table - start) + bytes(4 * len(wanted))
        for number, offset in offsets.items():
            at = table + offset
            if number == _VERSION:
                self._bytes[at : at + 4] = self._old[old_fields[number] : old_fields[number] + 4]
            elif number not in (_BUFFERS, _METADATA):
                self._into_old.append((at, old_fields[number] + U32.unpack_from(self._old, old_fields[number])[0]))
        return {number: table + offset for number, offset in offsets.items()}

    def _field(self, table: int, vtable: int, number: int) -> int:
        """Return where a field of an old table is stored, or 0. The model was checked when it was parsed."""
        size = struct.unpack_from("<H", self._old, vtable)[0]
        if 4 + 2 * number >= size:
            return 0
        offset = struct.unpack_from("<H", self._old, vtable + 4 + 2 * number)[0]
        return table + offset if offset else 0

    def _old_vector(self, root: int, vtable: int, number: int) -> list[int]:
        """Return the positions of the tables that an old vector of tables points at."""
        at = self._field(root, vtable, number)
        if not at:
            return []
        start = at + U32.unpack_from(self._old, at)[0]
        items = range(start + 4, start + 4 + 4 * U32.unpack_from(self._old, start)[0], 4)
        return [item + U32.unpack_from(self._old, item)[0] for item in items]

    def _kept_metadata(self, root: int, vtable: int) -> list[int]:
        names = [table.text(0) for table in self._source.root.tables(_METADATA, 1000)]
        positions = self._old_vector(root, vtable, _METADATA)
        return [at for name, at in zip(names, positions, strict=True) if name not in self._buffers]

    def _align(self, size: int) -> None:
        self._bytes += bytes(-len(self._bytes) % size)

    def _point(self, at: int) -> None:
        """Make the offset at ``at`` point at what is written next."""
        U32.pack_into(self._bytes, at, len(self._bytes) - at)

    def _vector(self, at: int, old: list[int], *, count_new: int) -> list[int]:
        """Write a vector of old tables and room for new ones; return where the offsets of the new ones belong."""
        self._align(4)
        self._point(at)
        self._bytes += U32.pack(len(old) + count_new)
        for position in old:
            self._into_old.append((len(self._bytes), position))
            self._bytes += bytes(4)
        first = len(self._bytes)
        self._bytes += bytes(4 * count_new)
        return [first + 4 * number for number in range(count_new)]

    def _table(self, at: int, count: int) -> int:
        """Write a table of ``count`` four-byte fields, point ``at`` at it, and return where its first field is."""
        self._align(4)
        vtable = len(self._bytes)
        self._bytes += struct.pack(f"<{2 + count}H", 4 + 2 * count, 4 + 4 * count, *(4 + 4 * n for n in range(count)))
        self._align(4)
        self._point(at)
        table = len(self._bytes)
        self._bytes += struct.pack("<i", table - vtable) + bytes(4 * count)
        return table + 4

    def _write_buffer(self, at: int, content: bytes) -> None:
        data = self._table(at, 1)
        self._bytes += bytes((12 - len(self._bytes)) % 16)  # the bytes themselves begin at a multiple of 16
        self._point(data)
        self._bytes += U32.pack(len(content)) + content

    def _write_entry(self, at: int, name: str, *, buffer: int) -> None:
        fields = self._table(at, 2)
        U32.pack_into(self._bytes, fields + 4, buffer)
        self._point(fields)
        encoded = name.encode()
        self._bytes += U32.pack(len(encoded)) + encoded + b"\0"
