"""From one order of colours to another, done on pictures that are already small."""

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Color = Literal["RGB", "BGR", "GRAY"]


def _full_range() -> list[int]:
    """Return the table that stretches BT.601 limited range (Y 16..235, Cb and Cr 16..240) to JPEG's 0..255.

    ITU-R BT.601-7 section 2.5.1 and 2.5.3; ITU-T T.871 section 7 for the full range.
    """
    code = np.arange(256)
    luma = np.clip(np.rint((code - 16) * 255 / 219), 0, 255)
    chroma = np.clip(np.rint((code - 128) * 255 / 224 + 128), 0, 255)
    return [int(value) for value in np.concatenate([luma, chroma, chroma])]


_FULL_RANGE: Final = _full_range()


def recolor(pixels: NDArray[Any], *, have: Color, want: Color) -> NDArray[Any]:
    """Return ``pixels``, (height, width, 3) or for GRAY (height, width), in another order; a view where that does.

    Grey is Y of BT.601, as in JPEG files and in Pillow's ``convert("L")``.
    """
    if have == want:
        return pixels
    if have == "GRAY":
        return np.broadcast_to(pixels[..., None], (*pixels.shape, 3))
    if want == "GRAY":
        rgb = recolor(pixels, have=have, want="RGB")
        return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).convert("L"))
    return pixels[..., ::-1]


def without_fill(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the first three of four channels, contiguous; Pillow packs six times as fast as numpy copies."""
    height, width, _ = pixels.shape
    packed = Image.frombuffer("RGBX", (width, height), np.ascontiguousarray(pixels), "raw", "RGBX", 0, 1)
    return np.frombuffer(packed.tobytes("raw", "RGB"), np.uint8).reshape(height, width, 3)


def from_ycbcr(luma: NDArray[Any], blue: NDArray[Any], red: NDArray[Any], *, want: Color) -> NDArray[Any]:
    """Return limited-range BT.601 planes, each (height, width) uint8, as full-range pixels."""
    packed = np.stack((luma, blue, red), axis=-1)
    size = (packed.shape[1], packed.shape[0])
    full = Image.frombuffer("YCbCr", size, packed, "raw", "YCbCr", 0, 1).point(_FULL_RANGE)
    if want == "GRAY":
        return np.asarray(full.getchannel("Y"))
    return recolor(np.asarray(full.convert("RGB")), have="RGB", want=want)
