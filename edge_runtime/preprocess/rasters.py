"""What frames hold, behind one face: the size first, pixels near a wanted size next, colours last of all."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_runtime.errors import BadFrameError, InputMismatchError
from edge_runtime.preprocess.average import halve
from edge_runtime.preprocess.color import Color, from_ycbcr, recolor, without_fill
from edge_runtime.preprocess.geometry import UPRIGHT, Orientation
from edge_runtime.preprocess.jpeg import decode_jpeg, jpeg_size
from edge_runtime.preprocess.scratch import Scratch
from edge_runtime.types import FrameFormat, Size

FAST_RATIO: Final = 0.8
"""How small a side may decode, in model pixels, where antialiasing is not asked for.

720p at 1/4 is 320x180, for a 224x224 model a little too low: that costs less, and is nearer to the careful path (top-1
of MobileNetV2 on 144 crops: 132 agree, mean score difference 0.065), than 1/2 and plain bilinear (126, 0.082).
"""
EXACT_RATIO: Final = 1.0
BLACK_YUYV: Final = (16, 128, 16, 128)


class Plane(NamedTuple):
    """Some or all channels of a picture, over the whole of it."""

    pixels: NDArray[np.uint8] | Image.Image
    """(height, width) or (height, width, channels), or a Pillow picture of mode L or RGB."""
    black: tuple[int, ...] = (0,)
    """What hides a pixel; one value for all channels or one for each."""
    owned: bool = True
    """Whether it may be painted on."""


class Raster(Protocol):
    """A frame whose pixels are still to be read."""

    size: Size
    """Stored (width, height), before any orientation."""
    orientation: Orientation
    """What the file itself says puts it upright."""
    exact: bool
    """Whether the resize must be filtered."""
    ratio: float
    """How many stored pixels per model pixel are wanted at least."""

    def planes(self, least: Size) -> Sequence[Plane]:
        """Return the picture at any size from ``least`` up. Raises BadFrameError."""
        ...

    def colors(self, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return the planes, resized to one size, as (height, width, 3) pixels or (height, width) grey ones."""
        ...


class PackedRaster:
    """An array of whole pixels: rgb, bgr, gray."""

    orientation = UPRIGHT

    def __init__(self, pixels: NDArray[np.uint8], *, have: Color, want: Color, exact: bool) -> None:
        self._pixels = pixels
        self._have, self._want = have, want
        self.exact, self.ratio = exact, EXACT_RATIO
        self.size = (pixels.shape[1], pixels.shape[0])

    def planes(self, least: Size) -> Sequence[Plane]:  # noqa: ARG002 - there is one size
        """Return the array as it is; in grey where that is wanted, as one channel resizes faster than three."""
        if self._want == "GRAY" and self._have != "GRAY":
            return (Plane(recolor(self._pixels, have=self._have, want="GRAY"), owned=False),)
        return (Plane(self._pixels, owned=False),)

    def colors(self, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return the pixels in the order wanted."""
        return parts[0] if self._want == "GRAY" else recolor(parts[0], have=self._have, want=self._want)


class JpegRaster:
    """A camera's JPEG, decoded into ``scratch`` where there is one."""

    orientation = UPRIGHT

    def __init__(self, data: bytes | memoryview, *, want: Color, exact: bool, scratch: Scratch | None) -> None:
        self._data, self._want, self._scratch = data, want, scratch
        self.exact, self.ratio = exact, EXACT_RATIO if exact else FAST_RATIO
        self.size = jpeg_size(data)

    def planes(self, least: Size) -> Sequence[Plane]:
        """Decode, in the wanted order of colours, which costs nothing here."""
        color = self._want if self.exact or self._want == "GRAY" else self._want + "X"
        pixels = decode_jpeg(
            self._data, size=self.size, least=least, color=color, exact=self.exact, scratch=self._scratch
        )
        return (Plane(pixels),)

    def colors(self, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return the pixels as decoded, without the byte that fills a word."""
        pixels = parts[0]
        return without_fill(pixels) if pixels.ndim == 3 and pixels.shape[2] == 4 else pixels


class YuyvRaster:
    """YUV 4:2:2, packed, of a camera that does not compress."""

    orientation = UPRIGHT

    def __init__(self, data: NDArray[np.uint8], *, want: Color, exact: bool) -> None:
        self._data, self._want = data, want
        self.exact, self.ratio = exact, EXACT_RATIO if exact else FAST_RATIO
        self.size = (data.shape[1], data.shape[0])

    def planes(self, least: Size) -> Sequence[Plane]:
        """Return pairs of pixels as one pixel of four channels where half the width is enough, else Y, U and V.

        Where no filter is asked for, pairs are halved on, as a JPEG decodes at 1/2 or 1/4.
        """
        height, width, _ = self._data.shape
        pairs = np.ascontiguousarray(self._data).reshape(height, width // 2, 4)
        if width // 2 >= least[0]:
            small = pairs if self.exact else halve(pairs, least=least)
            return (Plane(small, BLACK_YUYV, owned=False),)
        luma = np.ascontiguousarray(self._data[..., 0])
        blue, red = np.ascontiguousarray(pairs[..., 1]), np.ascontiguousarray(pairs[..., 3])
        return (Plane(luma, (16,)), Plane(blue, (128,)), Plane(red, (128,)))

    def colors(self, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return full-range pixels."""
        if len(parts) == 3:
            return from_ycbcr(*parts, want=self._want)
        pairs = parts[0]
        luma = (pairs[..., 0].astype(np.uint16) + pairs[..., 2] + 1) >> 1
        return from_ycbcr(luma.astype(np.uint8), pairs[..., 1], pairs[..., 3], want=self._want)


class I420Raster:
    """YUV 4:2:0 in three planes, as the Raspberry Pi camera gives its small picture."""

    orientation = UPRIGHT

    def __init__(self, data: NDArray[np.uint8], *, want: Color, exact: bool) -> None:
        self._data, self._want = np.ascontiguousarray(data), want
        self.exact, self.ratio = exact, EXACT_RATIO
        self.size = (data.shape[1], data.shape[0] * 2 // 3)

    def planes(self, least: Size) -> Sequence[Plane]:  # noqa: ARG002 - there is one size
        """Return Y, U and V, the latter two at half the size."""
        width, height = self.size
        luma = self._data[:height]
        blue, red = self._data[height:].reshape(2, height // 2, width // 2)
        return (Plane(luma, (16,), owned=False), Plane(blue, (128,), owned=False), Plane(red, (128,), owned=False))

    def colors(self, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return full-range pixels."""
        return from_ycbcr(parts[0], parts[1], parts[2], want=self._want)


def open_raster(
    data: NDArray[Any] | bytes | memoryview,
    kind: FrameFormat,
    *,
    want: Color,
    exact: bool,
    scratch: Scratch | None = None,
) -> Raster:
    """Return what reads a frame's ``data``; pixels may lie in ``scratch``.

    Raises BadFrameError, and InputMismatchError for a window of samples.
    """
    if kind == "window":
        raise InputMismatchError("this model takes pictures and was given samples; choose another model or source")
    if isinstance(data, np.ndarray):
        return _open_array(data, kind, want=want, exact=exact)
    if kind == "jpeg":
        return JpegRaster(data, want=want, exact=exact, scratch=scratch)
    if kind == "picture":
        # Pictures are files: most of Pillow's readers are not needed for a camera.
        from edge_runtime.preprocess.picture_file import PictureRaster

        return PictureRaster(data, want=want)
    raise BadFrameError(f"a frame of format {kind} must be an array, not bytes")


def _open_array(data: NDArray[Any], kind: FrameFormat, *, want: Color, exact: bool) -> Raster:
    shapes = {"rgb": (3, 3), "bgr": (3, 3), "gray": (2, 0), "yuyv": (3, 2), "i420": (2, 0)}
    if kind not in shapes:
        raise BadFrameError(f"a frame of format {kind} must be bytes, not an array")
    ndim, channels = shapes[kind]
    if data.dtype != np.uint8 or data.ndim != ndim or not data.size or (channels and data.shape[2] != channels):
        raise BadFrameError(f"a frame of format {kind} cannot be an array of shape {data.shape} and type {data.dtype}")
    if kind == "yuyv":
        if data.shape[1] % 2:
            raise BadFrameError(f"a YUYV frame of odd width {data.shape[1]} is cut off; choose another camera size")
        return YuyvRaster(data, want=want, exact=exact)
    if kind == "i420":
        if data.shape[0] % 3 or data.shape[1] % 2:
            raise BadFrameError(f"an I420 frame cannot have the shape {data.shape}; choose an even camera size")
        return I420Raster(data, want=want, exact=exact)
    have: Color = "BGR" if kind == "bgr" else "GRAY" if kind == "gray" else "RGB"
    return PackedRaster(data, have=have, want=want, exact=exact)
