"""Read the small zip archive that TFLite Metadata appends to a model (label files and the like).

Made for files nobody vouches for: the standard library's reader builds its whole directory before it can be asked how
large that is. Format: PKWARE APPNOTE 6.3, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.16 (its end).
"""

import struct
import zlib

from edge_runtime.errors import ModelError

MAX_FILES = 256
MAX_TOTAL_BYTES = 32 * 1024 * 1024
"""Of all files together, unpacked. A label file of 20,000 classes has 400 kB."""

_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_ENCRYPTED = 0x1
_STORED, _DEFLATED = 0, 8


def read_archive(data: bytes, name: str) -> dict[str, bytes]:
    """Return the files of an archive at the end of ``data`` by name; empty when there is none.

    ``name`` is the model's, for the error. Raises ModelError for what is broken, encrypted or unpacks to too much.
    """
    try:
        return _read(data)
    except (struct.error, zlib.error, _BrokenError) as error:
        raise ModelError(
            f"{name}: the files packed into the model cannot be read ({error}); fetch or convert it again"
        ) from error


class _BrokenError(Exception):
    pass


def _read(data: bytes) -> dict[str, bytes]:
    end = _find_end(data)
    if end < 0:
        return {}
    _, _, _, _, count, directory_size, directory_offset, _ = _END.unpack_from(data, end)
    # Offsets count from the archive's own first byte or from the model's, depending on the tool that appended it.
    shift = end - directory_size - directory_offset
    position = end - directory_size
    if shift < 0 or position < 0:
        raise _BrokenError("its directory lies outside the file")
    if count > MAX_FILES:
        raise _BrokenError(f"{count} files, at most {MAX_FILES} are read")
    files: dict[str, bytes] = {}
    left = MAX_TOTAL_BYTES
    for _ in range(count):
        entry = _ENTRY.unpack_from(data, position)
        signature, flags, method, crc, packed_size, size = entry[0], entry[3], entry[4], *entry[7:10]
        name_size, extra_size, comment_size, offset = entry[10], entry[11], entry[12], entry[16]
        if signature != b"PK\x01\x02":
            raise _BrokenError("an entry of its directory is not where it should be")
        if flags & _ENCRYPTED:
            raise _BrokenError("it is encrypted")
        start = position + _ENTRY.size
        name = data[start : start + name_size].decode("utf-8", "replace")
        position = start + name_size + extra_size + comment_size
        if size > left:
            raise _BrokenError(f"more than {MAX_TOTAL_BYTES // 2**20} MB unpacked")
        content = _unpack(data, offset + shift, method=method, packed_size=packed_size, size=size)
        if zlib.crc32(content) != crc:
            raise _BrokenError(f"the checksum of {name!r} is wrong")
        left -= size
        files[name] = content
    return files


def _find_end(data: bytes) -> int:
    """Return where the end record begins, or -1. Its comment must fill the rest of the file exactly."""
    floor = max(0, len(data) - _END.size - 0xFFFF)
    position = data.rfind(b"PK\x05\x06", floor)
    while position >= 0:
        if position + _END.size <= len(data):
            comment_size = _END.unpack_from(data, position)[-1]
            if position + _END.size + comment_size == len(data):
                return position
        position = data.rfind(b"PK\x05\x06", floor, position)
    return -1


def _unpack(data: bytes, offset: int, *, method: int, packed_size: int, size: int) -> bytes:
    header = _LOCAL.unpack_from(data, offset)
    if header[0] != b"PK\x03\x04":
        raise _BrokenError("a file is not where its directory says")
    start = offset + _LOCAL.size + header[9] + header[10]
    packed = memoryview(data)[start : start + packed_size]
    if method == _STORED:
        content = bytes(packed)
    elif method == _DEFLATED:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
    else:
        raise _BrokenError(f"compression method {method} is not read")
    if len(content) != size:
        raise _BrokenError("a file has not the size that its directory says")
    return content
