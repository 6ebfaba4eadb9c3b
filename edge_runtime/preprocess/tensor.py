"""From 8-bit pixels to the numbers of an input tensor: one table per channel holds normalisation and quantisation."""

from collections import deque
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputMismatchError
from edge_runtime.types import ImageInput, TensorSpec

PADDING: Final = 114
"""The grey around a letterboxed picture, as YOLO models were trained with; near the mean of photographs."""

MOST_FREE: Final = 4
"""Buffers kept for use again: one in the engine, one ready, one per prepare thread."""


class FreeList:
    """Input buffers used again and again. May be called from several threads."""

    def __init__(self, tensor: TensorSpec) -> None:
        self._shape, self._dtype = tensor.shape, tensor.dtype
        self._free: deque[NDArray[Any]] = deque(maxlen=MOST_FREE)

    def take(self) -> NDArray[Any]:
        """Return a buffer of the tensor's shape and type, its contents undefined."""
        try:
            return self._free.pop()
        except IndexError:
            return np.empty(self._shape, self._dtype)

    def put(self, buffer: NDArray[Any]) -> None:
        """Give a buffer back; one that is already back is ignored, so that it is never handed out twice."""
        if not any(buffer is free for free in tuple(self._free)):
            self._free.append(buffer)


def quantize(values: NDArray[np.floating[Any]], tensor: TensorSpec) -> NDArray[Any]:
    """Return ``values`` as a tensor holds them: ``round(value / scale) + zero_point``, saturated.

    Halves are rounded away from zero, as in TFLite's QUANTIZE kernel (TfLiteRound is std::round). An integer tensor
    without a scale holds the rounded values themselves, a float tensor the values.
    """
    if tensor.dtype.kind == "f":
        return values.astype(tensor.dtype)
    steps = values / tensor.scale if tensor.quantized else values
    rounded = np.trunc(steps + np.copysign(0.5, steps)) + (tensor.zero_point if tensor.quantized else 0)
    limits = np.iinfo(tensor.dtype)
    clipped: NDArray[Any] = np.clip(rounded, limits.min, limits.max).astype(tensor.dtype)
    return clipped


def pixel_tables(target: ImageInput, tensor: TensorSpec) -> NDArray[Any]:
    """Return what the pixel values 0..255 become: (channels, 256) of the tensor's type, in the model's channel order.

    A tensor that takes raw bytes gets them as they are; an int8 one gets them less 128.
    """
    channels = 1 if target.color == "GRAY" else 3
    pixels = np.arange(256, dtype=np.float64)
    if target.raw or (tensor.dtype.kind in "iu" and not tensor.quantized):
        raw = pixels - 128 if tensor.dtype == np.int8 else pixels
        return np.tile(raw.astype(tensor.dtype), (channels, 1))
    mean, std = (np.broadcast_to(np.asarray(v, np.float64), channels)[:, None] for v in (target.mean, target.std))
    return quantize((pixels - mean) / std, tensor)


class TensorWriter:
    """Writes small pictures into input tensors. May be called from several threads.

    Raises InputMismatchError when the tensor cannot hold the picture.
    """

    def __init__(self, target: ImageInput, tensor: TensorSpec) -> None:
        channels = 1 if target.color == "GRAY" else 3
        width, height = target.size
        if int(np.prod(tensor.shape)) != width * height * channels:
            raise InputMismatchError(
                f"the model's input {tensor.name} has the shape {list(tensor.shape)}, "
                f"which no {target.color} picture of {width}x{height} fills"
            )
        self._planar = target.layout == "NCHW"
        self._shape = (channels, height, width) if self._planar else (height, width, channels)
        self._tables = pixel_tables(target, tensor)
        self._same = bool((self._tables == self._tables[0]).all())
        identity = np.arange(256) if tensor.dtype == np.uint8 else np.arange(256) - 128
        self._shifted = tensor.dtype == np.int8
        self._bytes = tensor.dtype.itemsize == 1 and bool((self._tables == identity).all())
        self._flat = self._tables.reshape(-1)
        self._rows = np.arange(channels, dtype=np.uint16) * 256
        self.buffers = FreeList(tensor)

    def write(self, content: NDArray[np.uint8], corner: tuple[int, int]) -> NDArray[Any]:
        """Return a buffer with ``content``, (height, width, channels) or (height, width), at ``corner`` x, y."""
        buffer = self.buffers.take()
        whole = buffer.reshape(self._shape)
        pixels = content[..., None] if content.ndim == 2 else content
        if self._planar:
            pixels = pixels.transpose(2, 0, 1)
        x, y = corner
        height, width = content.shape[:2]
        if pixels.shape == whole.shape:
            self._convert(pixels, whole)
            return buffer
        padding = self._tables[:, PADDING]
        whole[...] = padding[:, None, None] if self._planar else padding
        rows, columns = slice(y, y + height), slice(x, x + width)
        part = np.empty(pixels.shape, buffer.dtype)
        self._convert(pixels, part)
        whole[(slice(None), rows, columns) if self._planar else (rows, columns)] = part
        return buffer

    def _convert(self, pixels: NDArray[np.uint8], out: NDArray[Any]) -> None:
        """Fill ``out``, which is contiguous, from ``pixels`` of the same shape."""
        if self._bytes and self._shifted:
            np.bitwise_xor(pixels, 0x80, out=out.view(np.uint8))
        elif self._bytes:
            np.copyto(out, pixels)
        elif self._same:
            np.take(self._tables[0], pixels, out=out, mode="clip")
        elif self._planar:
            for table, plane, target in zip(self._tables, pixels, out, strict=True):
                np.take(table, plane, out=target, mode="clip")
        else:
            # One look-up in the tables laid end to end; the offsets as a whole row, for a long inner loop.
            height, width, channels = pixels.shape
            row = np.tile(self._rows, width)
            index = np.add(np.ascontiguousarray(pixels).reshape(height, width * channels), row)
            np.take(self._flat, index, out=out.reshape(index.shape), mode="clip")
