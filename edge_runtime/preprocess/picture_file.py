"""Picture files of every kind that Pillow reads without starting another program."""

import contextlib
import io
import logging
import threading
import warnings
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from edge_runtime.errors import BadFrameError
from edge_runtime.preprocess.color import Color, recolor
from edge_runtime.preprocess.geometry import EXIF, UPRIGHT, Orientation
from edge_runtime.preprocess.jpeg import MAX_SCANS, PILLOW_ERRORS, check_size, decode_jpeg
from edge_runtime.preprocess.rasters import Plane
from edge_runtime.types import Size

log = logging.getLogger(__name__)

FORMATS: Final = (
    *("JPEG", "PNG", "BMP", "DIB", "GIF", "PPM"),
    *("WEBP", "TIFF", "AVIF", "JPEG2000", "TGA", "ICO", "PCX", "QOI", "SGI", "XBM"),
)
"""Not EPS and WMF, which run other programs. First those that Pillow knows without importing all its plugins."""

RATIO: Final = 1.5
"""Files are decoded to at least 1.5 times the model's size: scores stay within 0.08 of a full decode (95 of 100)."""

_ORIENTATION_TAG: Final = 0x0112
_quiet = threading.Lock()


class PictureRaster:
    """A picture file. The first picture of an animation; transparency is ignored."""

    exact = True
    ratio = RATIO

    def __init__(self, data: bytes | memoryview, *, want: Color) -> None:
        self._data, self._want = data, want
        # Pillow warns of odd EXIF data and of half-large bombs; here the first does not matter, the second is refused.
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self._picture = _opened(data)
                check_size(self._picture.size)
                if self._picture.format == "TIFF":
                    self._picture.load()  # newer Pillow turns TIFF files by itself, and then the tag is gone
                self.size = self._picture.size
                self.orientation = _orientation(self._picture)
            except PILLOW_ERRORS as error:
                raise _unreadable(error) from error
        if self._picture.info.get("progressive") and bytes(data).count(b"\xff\xda") > MAX_SCANS:
            raise BadFrameError(f"a progressive JPEG has more than {MAX_SCANS} scans; save it anew")

    def planes(self, least: Size) -> Sequence[Plane]:
        """Decode; a JPEG near ``least``, everything else in full."""
        picture = self._picture
        mode: Color = "GRAY" if self._want == "GRAY" else "RGB"
        if picture.format in ("JPEG", "MPO") and picture.mode in ("L", "RGB"):
            try:
                return (Plane(decode_jpeg(self._data, size=self.size, least=least, color=mode, exact=True)),)
            except BadFrameError:
                log.debug("simplejpeg refuses a file; Pillow, which forgives a missing end marker, tries it")
        try:
            return (Plane(_eight_bit(picture, "L" if mode == "GRAY" else "RGB")),)
        except PILLOW_ERRORS as error:
            raise _unreadable(error) from error

    def colors(self, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return the pixels in the order wanted."""
        return recolor(parts[0], have="GRAY" if self._want == "GRAY" else "RGB", want=self._want)


def _opened(data: bytes | memoryview) -> Image.Image:
    """Open a picture; a JPEG without the readers of other formats, whose import takes as long as a picture."""
    if bytes(data[:3]) == b"\xff\xd8\xff":
        from PIL import JpegImagePlugin

        with contextlib.suppress(*PILLOW_ERRORS):  # what is wrong with it is told in the usual way
            return JpegImagePlugin.jpeg_factory(io.BytesIO(data))
    return Image.open(io.BytesIO(data), formats=FORMATS)


def _orientation(picture: Image.Image) -> Orientation:
    if picture.format == "JPEG" and not picture.info.keys() & {"exif", "xmp"}:
        return UPRIGHT  # without the import of Pillow's TIFF reader
    return EXIF.get(picture.getexif().get(_ORIENTATION_TAG, 1), UPRIGHT)


def _eight_bit(picture: Image.Image, mode: str) -> Image.Image:
    """Decode to L or RGB; 16-bit grey keeps its upper byte, where Pillow alone would clip it to white."""
    if picture.mode.startswith("I"):
        high = np.clip(np.asarray(picture).astype(np.int64) >> 8, 0, 255)
        return Image.fromarray(high.astype(np.uint8)).convert(mode)
    # Bytes of palette transparency, which is ignored here, would make Pillow warn.
    picture.load()
    picture.info.pop("transparency", None)
    return picture.convert(mode)


def _unreadable(error: BaseException) -> BadFrameError:
    reason = "of no known kind" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
    return BadFrameError(f"a picture cannot be read ({reason or type(error).__name__}); save it as JPEG or PNG")
