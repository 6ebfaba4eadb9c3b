"""JPEG decoding close to the size that is wanted: libjpeg leaves out most of the inverse DCT and of the colour work."""

import io
import struct
import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_runtime.errors import BadFrameError
from edge_runtime.preprocess.scratch import Scratch
from edge_runtime.types import Size

try:
    import simplejpeg
except ImportError:  # 32-bit Arm has no wheel of it; Pillow's draft mode does the same with one copy more
    simplejpeg = None

MAX_PIXELS: Final = 64_000_000
"""Larger pictures are refused by their header; the largest phone cameras in common use write 50 million."""

MAX_SCANS: Final = 100
"""A progressive JPEG of thousands of scans decodes for hours (libjpeg-turbo's report LJT-01-004); 10 are usual."""

DENOMINATORS: Final = (8, 4, 2)
"""Only these shrink in libjpeg-turbo's SIMD code; 3/8 costs more than 1/2."""

PILLOW_ERRORS: Final = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, AttributeError, ArithmeticError),
    *(AssertionError, MemoryError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError, Warning),
)
"""What Pillow's file readers are known to raise for damaged and hostile files."""


def check_size(size: Size) -> None:
    """Raise BadFrameError for a picture of more than ``MAX_PIXELS``, or of none."""
    width, height = size
    if not 0 < width * height <= MAX_PIXELS:
        raise BadFrameError(
            f"a picture claims {width}x{height} pixels; at most {MAX_PIXELS // 1_000_000} million are read, shrink it"
        )


def jpeg_size(data: bytes | memoryview) -> Size:
    """Return (width, height) from the header. Raises BadFrameError for what is no JPEG or too large."""
    size: Size
    if simplejpeg is None:
        with _opened(data) as picture:
            size = picture.size
    else:
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        except (ValueError, RuntimeError, MemoryError) as error:
            raise _damaged(error) from error
        size = (width, height)
    check_size(size)
    if _is_progressive(data) and bytes(data).count(b"\xff\xda") > MAX_SCANS:
        raise BadFrameError(f"a progressive JPEG has more than {MAX_SCANS} scans; save it anew")
    return size


def _is_progressive(data: bytes | memoryview) -> bool:
    """Walk the segments up to the frame header (ITU-T T.81, B.1.1): a few steps, whatever the picture's size."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return marker in (0xC2, 0xC6, 0xCA, 0xCE)
        if marker == 0xDA:
            return False
        # A marker may be preceded by any number of fill bytes.
        place += 1 if marker == 0xFF else 2 + (data[place + 2] << 8 | data[place + 3])
    return True  # odd enough to be counted


def shrink_factor(size: Size, least: Size) -> int:
    """Return the largest denominator at which a JPEG of ``size`` still decodes to at least ``least``, or 1."""
    for denominator in DENOMINATORS:
        if -(-size[0] // denominator) >= least[0] and -(-size[1] // denominator) >= least[1]:
            return denominator
    return 1


def decode_jpeg(
    data: bytes | memoryview, *, size: Size, least: Size, color: str, exact: bool, scratch: Scratch | None = None
) -> NDArray[np.uint8]:
    """Decode a JPEG of ``size`` to not less than ``least``: (height, width, channels), or (height, width) for GRAY.

    ``color`` is RGB, BGR, GRAY, or RGBX or BGRX with a fourth byte to fill the word (Pillow leaves that out, so there
    may be 3 channels for those). ``exact`` uses the accurate DCT and chroma filter, with which an unshrunk picture
    equals Pillow's. With a ``scratch`` the pixels lie in it. Raises BadFrameError for a damaged or truncated file.
    """
    denominator = shrink_factor(size, least)
    wanted = (-(-size[0] // denominator), -(-size[1] // denominator))
    if simplejpeg is None:
        return _decode_draft(data, wanted, color)
    length = wanted[0] * wanted[1] * (1 if color == "GRAY" else len(color))
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data,
            color,
            fastdct=not exact,
            fastupsample=not exact,
            min_width=wanted[0],
            min_height=wanted[1],
            buffer=scratch.take(length) if scratch else None,
        )
    except (ValueError, RuntimeError, MemoryError) as error:
        raise _damaged(error) from error
    return pixels[..., 0] if color == "GRAY" else pixels


def _decode_draft(data: bytes | memoryview, wanted: Size, color: str) -> NDArray[np.uint8]:
    mode = "L" if color == "GRAY" else "RGB"
    with _opened(data) as picture:
        try:
            picture.draft(mode, wanted)
            pixels = np.array(picture.convert(mode))
        except PILLOW_ERRORS as error:
            raise _damaged(error) from error
    return np.ascontiguousarray(pixels[..., ::-1]) if color.startswith("BGR") else pixels


def _opened(data: bytes | memoryview) -> Any:
    try:
        return Image.open(io.BytesIO(data), formats=("JPEG",))
    except PILLOW_ERRORS as error:
        raise _damaged(error) from error


def _damaged(error: BaseException) -> BadFrameError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return BadFrameError(f"a JPEG frame is damaged ({reason}); look at the camera's cable, power and format")
