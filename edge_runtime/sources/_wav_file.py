"""Reads RIFF/WAVE files: PCM of 8, 16, 24 and 32 bits and 32- or 64-bit float, plain or WAVE_FORMAT_EXTENSIBLE.

The format is Microsoft's "Multimedia Programming Interface and Data Specifications 1.0" and "Multiple channel audio
data and WAVE files". Python's ``wave`` reads no float.
"""

import struct
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import UsageError

MAX_RATE_HZ: Final = 768_000
MAX_CHANNELS: Final = 64
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_UNKNOWN_SIZE: Final = 0xFFFFFFFF
"""What a writer leaves in a header that it could not go back to."""
_KINDS: Final = {
    (_PCM, 8): "u1",
    (_PCM, 16): "<i2",
    (_PCM, 24): "",
    (_PCM, 32): "<i4",
    (_FLOAT, 32): "<f4",
    (_FLOAT, 64): "<f8",
}


class WavFile:
    """An open WAV file. Raises UsageError, without the file's name, for what is none or cannot be read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.rate_hz = self.channels = self.bits = 0
        self._format = 0
        self._data_at, data_bytes, self.truncated = self._scan()
        self._frame_bytes = self.channels * self.bits // 8
        self.length = data_bytes // self._frame_bytes
        """Samples per channel that are really there."""
        if self.length == 0:
            raise UsageError("there are no samples in it")

    def read(self, start: int, count: int) -> NDArray[np.float32]:
        """Return samples as (count, channels) in -1..1; silence before the first and after the last. Raises OSError."""
        samples = np.zeros((count, self.channels), np.float32)
        begin, end = max(start, 0), min(start + count, self.length)
        if begin < end:
            self._file.seek(self._data_at + begin * self._frame_bytes)
            data = self._file.read((end - begin) * self._frame_bytes)
            found = len(data) // self._frame_bytes  # fewer when the file has shrunk since
            values = self._decode(data[: found * self._frame_bytes]).reshape(found, self.channels)
            samples[begin - start : begin - start + found] = values
        return samples

    def _scan(self) -> tuple[int, int, bool]:
        """Walk over the chunks; return where the samples begin, their size in bytes and whether some are missing."""
        size = self._file.seek(0, 2)
        self._file.seek(0)
        head = self._file.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            raise UsageError("not a WAV file")
        at = 12
        while at + 8 <= size:
            self._file.seek(at)
            name, length = struct.unpack("<4sI", self._file.read(8))
            at += 8
            if name == b"fmt ":
                self._read_format(self._file.read(min(length, 40)))
            if name == b"data":
                if not self.channels:
                    raise UsageError("the WAV header is damaged: no format before the samples")
                return at, min(length, size - at), size - at < length != _UNKNOWN_SIZE
            at += length + length % 2
        raise UsageError("the WAV file ends before its samples")

    def _read_format(self, chunk: bytes) -> None:
        if len(chunk) < 16:
            raise UsageError("the WAV header is damaged: the format is cut off")
        kind, self.channels, self.rate_hz, _, frame_bytes, self.bits = struct.unpack_from("<HHIIHH", chunk)
        if kind == _EXTENSIBLE and len(chunk) >= 26:
            kind = struct.unpack_from("<H", chunk, 24)[0]
        self._format = kind
        if (kind, self.bits) not in _KINDS:
            raise UsageError(f"WAV format {kind:#06x} with {self.bits} bits is not supported: convert it to 16-bit PCM")
        if not 1 <= self.channels <= MAX_CHANNELS or not 1 <= self.rate_hz <= MAX_RATE_HZ:
            raise UsageError(f"the WAV header is damaged: {self.channels} channels at {self.rate_hz} Hz")
        if frame_bytes != self.channels * self.bits // 8:
            raise UsageError(f"the WAV header is damaged: {frame_bytes} bytes per sample of {self.channels} channels")

    def _decode(self, data: bytes) -> NDArray[np.float32]:
        if self.bits == 24:
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            return wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2.0**31)
        values = np.frombuffer(data, _KINDS[self._format, self.bits]).astype(np.float32)
        if self._format == _FLOAT:
            return values
        if self.bits == 8:  # the only one without a sign
            return (values - np.float32(128)) / np.float32(128)
        return values / np.float32(2.0 ** (self.bits - 1))
