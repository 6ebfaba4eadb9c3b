"""Write a flatbuffer front to back: what the interpreter on the device reads, without the schema's generated code.

The format (https://flatbuffers.dev/internals/): see ``edge_runtime.flatbuffer``, which reads it. tflite-runtime comes
without a writer, and LiteRT's takes 30 ms to import.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_ALIGNMENT = 16
"""Of a vector's first item; the runtime wants 16 for constants."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number stored in the table itself; ``kind`` is its struct format, such as ``i``."""

    kind: str
    value: float | bool


@dataclass(frozen=True, slots=True)
class Numbers:
    """A vector of numbers of one struct format."""

    kind: str
    values: Sequence[float]


Field = Any
"""Scalar, Numbers, str, bytes (a vector of them), a table's fields, or a list of such tables."""
Fields = Mapping[int, Field]
"""A table: field number to its value."""


def write(root: Fields, identifier: bytes) -> bytes:
    """Return the buffer of a root table with a file identifier of four bytes."""
    out = bytearray(8)
    out[4:8] = identifier
    struct.pack_into("<I", out, 0, _table(out, root))
    return bytes(out)


def _align(out: bytearray, size: int, ahead: int = 0) -> None:
    out.extend(b"\0" * (-(len(out) + ahead) % size))


def _table(out: bytearray, fields: Fields) -> int:
    count = max(fields, default=-1) + 1
    offsets, size = [0] * count, 4
    for number, value in sorted(fields.items()):
        width = struct.calcsize(value.kind) if isinstance(value, Scalar) else 4
        size += -size % width
        offsets[number] = size
        size += width
    _align(out, 8, ahead=4 + 2 * count)
    vtable = len(out)
    out += struct.pack(f"<{count + 2}H", 4 + 2 * count, size, *offsets)
    start = len(out)
    out += struct.pack("<i", start - vtable) + b"\0" * (size - 4)
    for number, value in fields.items():
        place = start + offsets[number]
        if isinstance(value, Scalar):
            struct.pack_into(f"<{value.kind}", out, place, value.value)
        else:
            # A child lies behind its parent, so that its distance is above zero as the format wants it.
            struct.pack_into("<I", out, place, _child(out, value) - place)
    return start


def _child(out: bytearray, value: Field) -> int:
    if isinstance(value, Mapping):
        return _table(out, value)
    if isinstance(value, Numbers):
        content = struct.pack(f"<{len(value.values)}{value.kind}", *value.values)
        return _vector(out, len(value.values), content)
    if isinstance(value, str):
        return _vector(out, len(value.encode()), value.encode() + b"\0")
    if isinstance(value, bytes | bytearray | memoryview):
        return _vector(out, len(value), value)
    start = _vector(out, len(value), bytes(4 * len(value)))
    for number, fields in enumerate(value):
        place = start + 4 + 4 * number
        struct.pack_into("<I", out, place, _child(out, fields) - place)
    return start


def _vector(out: bytearray, count: int, content: bytes | bytearray | memoryview) -> int:
    _align(out, _ALIGNMENT, ahead=4)
    start = len(out)
    out += struct.pack("<I", count)
    out += content
    return start
