"""Read tables of a flatbuffer that nobody vouches for: every offset is checked, every count has a limit.

The format (https://flatbuffers.dev/internals/): all little endian; a table begins with a signed 32-bit distance back to
its vtable; the vtable is uint16 {its size, the table's size, the offset of each field or 0}; strings, vectors and
tables are reached by an unsigned 32-bit distance forward.
"""

import struct
from collections.abc import Iterator
from typing import Any, Literal

from edge_runtime.errors import ModelError

_MAX_FIELDS = 64
"""Fields of a table that are looked at; the largest table of the TFLite schemas has 15."""

U8 = struct.Struct("<B")
I8 = struct.Struct("<b")
U16 = struct.Struct("<H")
I32 = struct.Struct("<i")
U32 = struct.Struct("<I")
U64 = struct.Struct("<Q")
F32 = struct.Struct("<f")


class FlatBuffer:
    """The bytes of one flatbuffer and how much may still be copied out of them.

    Offsets may point at the same string again and again, so that a small file asks for a large memory: what is copied
    out is charged to a budget of a few times the file's size, which honest files stay far below.
    """

    __slots__ = ("budget", "data", "name", "size")

    def __init__(self, data: bytes | memoryview, name: str) -> None:
        self.data = memoryview(data)
        self.name = name
        self.size = len(data)
        self.budget = 8 * self.size + 65_536

    def damaged(self, what: str) -> ModelError:
        """Return the error to raise for a structure that cannot be right."""
        return ModelError(f"{self.name} is damaged ({what}); fetch or convert it again")

    def charge(self, size_bytes: int) -> None:
        """Count bytes that are copied out. Raises ModelError when there have been too many."""
        self.budget -= size_bytes
        if self.budget < 0:
            raise self.damaged("its parts claim more than the whole")

    def root(self) -> "Table":
        """Return the root table. Raises ModelError."""
        if self.size < 8:
            raise self.damaged("it is too short")
        return Table(self, U32.unpack_from(self.data, 0)[0])


class Table:
    """One table. Fields are numbered from 0 in the order of the schema; an absent field reads as its default."""

    __slots__ = ("_fields", "_position", "flat")

    def __init__(self, flat: FlatBuffer, position: int) -> None:
        data, size = flat.data, flat.size
        if position + 4 > size:
            raise flat.damaged("a table lies outside the file")
        vtable = position - I32.unpack_from(data, position)[0]
        if not 0 <= vtable <= size - 4:
            raise flat.damaged("a table's description lies outside the file")
        vtable_size = U16.unpack_from(data, vtable)[0]
        if vtable_size < 4 or vtable + vtable_size > size:
            raise flat.damaged("a table's description has an impossible size")
        count = min((vtable_size - 4) // 2, _MAX_FIELDS)
        self._fields: tuple[int, ...] = struct.unpack_from(f"<{count}H", data, vtable + 4)
        self._position = position
        self.flat = flat

    def _at(self, field: int) -> int:
        offset = self._fields[field] if field < len(self._fields) else 0
        return self._position + offset if offset else 0

    def has(self, field: int) -> bool:
        """Return whether the field is stored."""
        return self._at(field) != 0

    def scalar(self, field: int, kind: struct.Struct, default: Any = 0) -> Any:
        """Return a number stored in the table itself. Raises ModelError."""
        position = self._at(field)
        if not position:
            return default
        if position + kind.size > self.flat.size:
            raise self.flat.damaged("a value lies outside the file")
        return kind.unpack_from(self.flat.data, position)[0]

    def _target(self, field: int) -> int:
        position = self._at(field)
        if not position:
            return 0
        if position + 4 > self.flat.size:
            raise self.flat.damaged("an offset lies outside the file")
        return position + int(U32.unpack_from(self.flat.data, position)[0])

    def table(self, field: int) -> "Table | None":
        """Return the table that the field points at, or None. Raises ModelError."""
        target = self._target(field)
        return Table(self.flat, target) if target else None

    def _vector(self, field: int, item_size: int) -> tuple[int, int]:
        """Return where a vector's items begin and how many there are; (0, 0) for an absent one."""
        start = self._target(field)
        if not start:
            return 0, 0
        if start + 4 > self.flat.size:
            raise self.flat.damaged("a vector lies outside the file")
        count = U32.unpack_from(self.flat.data, start)[0]
        if start + 4 + count * item_size > self.flat.size:
            raise self.flat.damaged(f"a vector claims {count} items, more than there are bytes")
        return start + 4, count

    def raw(self, field: int) -> memoryview:
        """Return a vector of bytes, not copied; empty where absent. Raises ModelError."""
        start, count = self._vector(field, 1)
        return self.flat.data[start : start + count]

    def numbers(self, field: int, kind: Literal["f", "q", "I"]) -> "memoryview[Any]":
        """Return a vector of float32 (f), int64 (q) or uint32 (I), not copied; empty where absent. Raises ModelError.

        Every machine this runs on is little endian, as the format is.
        """
        size = struct.calcsize(f"<{kind}")
        start, count = self._vector(field, size)
        return self.flat.data[start : start + size * count].cast(kind)

    def integers(self, field: int, limit: int) -> tuple[int, ...]:
        """Return a vector of int32 as a tuple. Raises ModelError, also for more than ``limit`` of them."""
        start, count = self._vector(field, 4)
        if count > limit:
            raise self.flat.damaged(f"{count} numbers where at most {limit} make sense")
        self.flat.charge(4 * count)
        numbers: tuple[int, ...] = struct.unpack_from(f"<{count}i", self.flat.data, start)
        return numbers

    def text(self, field: int) -> str | None:
        """Return a string, or None where absent; bytes that are not UTF-8 are replaced. Raises ModelError."""
        start, count = self._vector(field, 1)
        if not start:
            return None
        self.flat.charge(count)
        return str(self.flat.data[start : start + count], "utf-8", "replace")

    def count(self, field: int) -> int:
        """Return how many tables a vector of tables has. Raises ModelError."""
        return self._vector(field, 4)[1]

    def item(self, field: int, index: int) -> "Table":
        """Return one table of a vector of tables. Raises ModelError, IndexError when there is no such item."""
        start, count = self._vector(field, 4)
        if not 0 <= index < count:
            raise IndexError(index)
        position = start + 4 * index
        return Table(self.flat, position + U32.unpack_from(self.flat.data, position)[0])

    def tables(self, field: int, limit: int) -> Iterator["Table"]:
        """Iterate over a vector of tables. Raises ModelError, also for more than ``limit`` of them."""
        start, count = self._vector(field, 4)
        if count > limit:
            raise self.flat.damaged(f"{count} entries where at most {limit} make sense")
        for position in range(start, start + 4 * count, 4):
            yield Table(self.flat, position + U32.unpack_from(self.flat.data, position)[0])
