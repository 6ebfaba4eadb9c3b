"""Pictures out of raw camera buffers: rows may be longer than the picture is wide; one copy takes the padding off."""

import mmap
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import BadFrameError
from edge_runtime.types import Size

Pixels: TypeAlias = NDArray[np.uint8]
RawBytes: TypeAlias = bytes | memoryview | mmap.mmap | Pixels


def packed(data: RawBytes, size: Size, *, stride: int, channels: int) -> Pixels:
    """Copy interleaved pixels out of a buffer.

    Args:
        data: at least ``stride * height`` bytes; the last row may lack its padding.
        size: width and height in pixels.
        stride: bytes from one row to the next, at least ``width * channels``.
        channels: bytes per pixel.

    Returns:
        An array of its own, (height, width, channels), or (height, width) for one channel.

    Raises:
        BadFrameError: when the buffer is too short.
    """
    width, height = size
    rows = _rows(data, offset=0, count=height, stride=stride, length=width * channels)
    return rows.reshape((height, width) if channels == 1 else (height, width, channels))


def i420(data: RawBytes, size: Size, *, stride: int) -> Pixels:
    """Copy planar YUV 4:2:0 out of a buffer: Y with ``stride``, then U and V with half of it.

    Returns:
        An array of its own, (height * 3 / 2, width): the planes one after the other, without padding.

    Raises:
        BadFrameError: when the buffer is too short, or a side of the picture is odd.
    """
    width, height = size
    if width % 2 or height % 2:
        raise BadFrameError(f"YUV 4:2:0 needs even sides, got {width}x{height}; choose another size")
    picture = np.empty((height * 3 // 2, width), np.uint8)
    picture[:height] = _rows(data, offset=0, count=height, stride=stride, length=width)
    chroma = picture[height:].reshape(2, height // 2, width // 2)
    for plane in range(2):
        offset = stride * height + plane * (stride // 2) * (height // 2)
        chroma[plane] = _rows(data, offset=offset, count=height // 2, stride=stride // 2, length=width // 2)
    return picture


def _rows(data: RawBytes, *, offset: int, count: int, stride: int, length: int) -> Pixels:
    needed = offset + stride * (count - 1) + length
    if len(data) < needed:
        raise BadFrameError(f"short frame: {len(data)} bytes of {needed}")
    flat = np.frombuffer(data, np.uint8, count=needed - offset, offset=offset)
    view = np.lib.stride_tricks.as_strided(flat, shape=(count, length), strides=(stride, 1), writeable=False)
    return view.copy()
