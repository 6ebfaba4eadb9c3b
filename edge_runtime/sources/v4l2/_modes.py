"""What a camera offers, and which of it to take. Pure: nothing here touches a device."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from edge_runtime.sources.v4l2 import _abi
from edge_runtime.types import FrameFormat, Size

DEFAULT_SIZE: Size = (1280, 720)
DEFAULT_FPS = 30.0


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """A pixel format that can be taken: its name in configuration and lists, and the frame it becomes."""

    name: str
    frame: FrameFormat


PIXEL_FORMATS: dict[int, PixelFormat] = {
    _abi.PIX_FMT_MJPEG: PixelFormat("mjpeg", "jpeg"),
    _abi.PIX_FMT_JPEG: PixelFormat("mjpeg", "jpeg"),
    _abi.PIX_FMT_YUYV: PixelFormat("yuyv", "yuyv"),
    _abi.PIX_FMT_UYVY: PixelFormat("uyvy", "yuyv"),
    _abi.PIX_FMT_YUV420: PixelFormat("i420", "i420"),
    _abi.PIX_FMT_RGB24: PixelFormat("rgb", "rgb"),
    _abi.PIX_FMT_BGR24: PixelFormat("bgr", "bgr"),
    _abi.PIX_FMT_GREY: PixelFormat("gray", "gray"),
}
"""By preference. MJPEG first: it is how a USB 2 camera delivers 720p at full rate."""


@dataclass(frozen=True, slots=True)
class FrameSize:
    """A size and the frame rates offered at it, highest first; empty where the driver does not say."""

    size: Size
    rates_hz: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CameraFormat:
    """A pixel format of a camera with its sizes."""

    fourcc: int
    sizes: tuple[FrameSize, ...]

    @property
    def name(self) -> str:
        """Its name in configuration and lists, such as ``mjpeg``."""
        return PIXEL_FORMATS[self.fourcc].name


@dataclass(frozen=True, slots=True)
class Mode:
    """What is asked of a camera."""

    fourcc: int
    size: Size
    fps: float


def choose(formats: Iterable[CameraFormat], *, size: Size | None, fps: float | None, name: str | None) -> Mode | None:
    """Return the mode to ask for; None when the camera has nothing of the format that is wanted.

    The best format of those offered (or the one named), in it the offered size nearest to the one wanted, by default
    1280x720. A size nobody asked for must also reach half of the rate wanted: an uncompressed 720p at 10 frames/s is a
    worse default than 640x480 at 30.
    """
    rank = {fourcc: position for position, fourcc in enumerate(PIXEL_FORMATS)}
    offered = [each for each in formats if name is None or each.name == name]
    if not offered:
        return None
    best = min(offered, key=lambda each: rank[each.fourcc])
    wanted_size, wanted_fps = size or DEFAULT_SIZE, fps or DEFAULT_FPS

    def cost(each: FrameSize) -> tuple[bool, int, int]:
        slow = size is None and bool(each.rates_hz) and each.rates_hz[0] < wanted_fps / 2
        width, height = each.size
        return slow, abs(width - wanted_size[0]) + abs(height - wanted_size[1]), -width * height

    nearest = min(best.sizes, key=cost, default=FrameSize(wanted_size, ()))
    return Mode(best.fourcc, nearest.size, _nearest_rate(nearest.rates_hz, wanted_fps))


def _nearest_rate(rates_hz: tuple[float, ...], wanted: float) -> float:
    return min(rates_hz, key=lambda rate: abs(rate - wanted), default=wanted)


def sizes_in_range(low: Size, high: Size, step: Size, *, wanted: Iterable[Size]) -> tuple[Size, ...]:
    """Return sizes that stand for a continuous range: its ends and, of those wanted, the nearest that it allows."""
    inside = {(_snap(each[0], low[0], high[0], step[0]), _snap(each[1], low[1], high[1], step[1])) for each in wanted}
    return tuple(sorted({low, high} | inside))


def _snap(value: int, low: int, high: int, step: int) -> int:
    step = max(1, step)
    return min(high, low + max(0, round((min(value, high) - low) / step)) * step)


def rate_hz(numerator: int, denominator: int) -> float:
    """Return frames per second of a frame interval in seconds; 0 for one that means nothing."""
    return round(denominator / numerator, 3) if numerator and denominator else 0.0


def interval(fps: float) -> tuple[int, int]:
    """Return a frame interval in seconds, numerator and denominator, whole rates exactly."""
    return (1, round(fps)) if math.isclose(fps, round(fps)) else (1000, round(fps * 1000))
