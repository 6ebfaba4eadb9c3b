"""One open V4L2 device: asks what it is, sets a mode, takes buffers. Raises OSError; sentences are made elsewhere."""

import contextlib
import errno
import os
from collections.abc import Iterator
from ctypes import Structure, c_int
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edge_runtime.errors import BadFrameError
from edge_runtime.sources._planes import i420, packed
from edge_runtime.sources.v4l2 import _abi
from edge_runtime.sources.v4l2._kernel import POLL_LOST, Kernel, Mapping
from edge_runtime.sources.v4l2._modes import (
    DEFAULT_SIZE,
    PIXEL_FORMATS,
    CameraFormat,
    FrameSize,
    Mode,
    interval,
    rate_hz,
    sizes_in_range,
)
from edge_runtime.types import Size

USUAL_SIZES: tuple[Size, ...] = ((640, 480), DEFAULT_SIZE, (1920, 1080))
CHANNELS = {"yuyv": 2, "rgb": 3, "bgr": 3, "gray": 1}


@dataclass(frozen=True, slots=True)
class Identity:
    """What QUERYCAP says. ``bus`` stays the same for a USB port, ``card`` for a make of camera."""

    driver: str
    card: str
    bus: str
    capabilities: int


@dataclass(frozen=True, slots=True)
class Granted:
    """What the driver made of the mode that was asked for. ``fps`` is None where the driver does not say."""

    fourcc: int
    size: Size
    stride: int
    fps: float | None


@dataclass(frozen=True, slots=True)
class Taken:
    """One buffer, copied. ``stamp_ns`` is CLOCK_MONOTONIC, or None where the driver stamps otherwise.

    ``problem`` says what is wrong with a frame that cannot be used.
    """

    data: NDArray[Any] | bytes
    problem: str
    stamp_ns: int | None


class Device:
    """A video device between ``open`` and ``close``. Not thread-safe."""

    def __init__(self, path: str, *, kernel: Kernel) -> None:
        self.path = path
        self._kernel = kernel
        self._descriptor = -1
        self._mappings: list[Mapping] = []
        self._granted = Granted(0, (0, 0), 0, None)

    def open(self) -> None:
        """Open the device file. Raises OSError."""
        self._descriptor = self._kernel.open(self.path)

    def close(self) -> None:
        """Stop, unmap and close; may be called twice. A device that is gone is closed without complaint."""
        if self._descriptor < 0:
            return
        # Only what this one started: with some drivers anybody may stop anybody's stream.
        with contextlib.suppress(OSError):
            if self._mappings:
                self._ioctl(_abi.VIDIOC_STREAMOFF, c_int(_abi.BUF_TYPE_VIDEO_CAPTURE))
        for mapping in self._mappings:
            mapping.close()
        self._mappings.clear()
        self._kernel.close(self._descriptor)
        self._descriptor = -1

    def identify(self) -> Identity:
        """Return driver, card, bus and capabilities of the node. Raises OSError: ENOTTY for what is no video device."""
        answer = _abi.Capability()
        self._ioctl(_abi.VIDIOC_QUERYCAP, answer)
        own = answer.device_caps if answer.capabilities & _abi.CAP_DEVICE_CAPS else answer.capabilities
        return Identity(_text(answer.driver), _text(answer.card), _text(answer.bus_info), own)

    def formats(self, *, wanted: Size | None = None) -> tuple[CameraFormat, ...]:
        """Return the formats that can be taken, with their sizes; ``wanted`` is looked for in ranges of sizes."""
        found: list[CameraFormat] = []
        for each in self._enumerate(_abi.VIDIOC_ENUM_FMT, lambda: _abi.FmtDesc(type=_abi.BUF_TYPE_VIDEO_CAPTURE)):
            if each.pixelformat in PIXEL_FORMATS and each.pixelformat not in (known.fourcc for known in found):
                found.append(CameraFormat(each.pixelformat, self._sizes(each.pixelformat, wanted)))
        return tuple(found)

    def start(self, mode: Mode, *, buffers: int) -> Granted:
        """Set the mode, map buffers, stream; return what the driver granted. Raises OSError (EBUSY, ENOSPC)."""
        self._granted = self._set_format(mode)
        request = _abi.RequestBuffers(count=buffers, type=_abi.BUF_TYPE_VIDEO_CAPTURE, memory=_abi.MEMORY_MMAP)
        self._ioctl(_abi.VIDIOC_REQBUFS, request)
        for index in range(request.count):
            buffer = self._buffer(index)
            self._ioctl(_abi.VIDIOC_QUERYBUF, buffer)
            mapping = self._kernel.map(self._descriptor, length=buffer.length, offset=buffer.m.offset)
            self._mappings.append(mapping)
            self._ioctl(_abi.VIDIOC_QBUF, buffer)
        self._ioctl(_abi.VIDIOC_STREAMON, c_int(_abi.BUF_TYPE_VIDEO_CAPTURE))
        return self._granted

    def wait(self, timeout_s: float) -> bool:
        """Wait until a buffer is ready. Raises OSError (ENODEV) when the device is gone."""
        events = self._kernel.poll(self._descriptor, timeout_s)
        if events & POLL_LOST:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return bool(events)

    def take(self) -> Taken | None:
        """Copy one buffer out and give it back at once; None when none was ready. Raises OSError."""
        buffer = self._buffer(0)
        try:
            self._ioctl(_abi.VIDIOC_DQBUF, buffer)
        except BlockingIOError:
            return None
        try:
            if buffer.flags & _abi.BUF_FLAG_ERROR or not buffer.bytesused:
                return Taken(b"", "the driver marked a frame as broken", None)
            return Taken(self._copy(buffer), "", _stamp_ns(buffer))
        except BadFrameError as error:
            return Taken(b"", str(error), None)
        finally:
            self._ioctl(_abi.VIDIOC_QBUF, buffer)

    def _copy(self, buffer: _abi.Buffer) -> NDArray[Any] | bytes:
        granted = self._granted
        mapping = self._mappings[buffer.index]
        layout = PIXEL_FORMATS[granted.fourcc].frame
        if layout == "jpeg":
            return bytes(mapping[: buffer.bytesused])
        with memoryview(mapping) as whole, whole[: buffer.bytesused] as used:
            if layout == "i420":
                return i420(used, granted.size, stride=granted.stride)
            pixels = packed(used, granted.size, stride=granted.stride, channels=CHANNELS[layout])
        return pixels[..., ::-1].copy() if granted.fourcc == _abi.PIX_FMT_UYVY else pixels

    def _set_format(self, mode: Mode) -> Granted:
        form = _abi.Format(type=_abi.BUF_TYPE_VIDEO_CAPTURE)
        pix = form.fmt.pix
        pix.width, pix.height = mode.size
        pix.pixelformat, pix.field = mode.fourcc, _abi.FIELD_NONE
        self._ioctl(_abi.VIDIOC_S_FMT, form)
        if pix.pixelformat not in PIXEL_FORMATS:
            raise OSError(errno.EINVAL, "the driver insists on another pixel format")
        row = pix.width * CHANNELS.get(PIXEL_FORMATS[pix.pixelformat].frame, 1)
        return Granted(pix.pixelformat, (pix.width, pix.height), max(pix.bytesperline, row), self._set_rate(mode.fps))

    def _set_rate(self, fps: float) -> float | None:
        parm = _abi.StreamParm(type=_abi.BUF_TYPE_VIDEO_CAPTURE)
        frame_time = parm.parm.capture.timeperframe
        frame_time.numerator, frame_time.denominator = interval(fps)
        try:
            self._ioctl(_abi.VIDIOC_S_PARM, parm)
        except OSError as error:
            if error.errno not in {errno.ENOTTY, errno.EINVAL}:
                raise
            return None
        settable = parm.parm.capture.capability & _abi.CAP_TIMEPERFRAME
        return rate_hz(frame_time.numerator, frame_time.denominator) or None if settable else None

    def _sizes(self, fourcc: int, wanted: Size | None) -> tuple[FrameSize, ...]:
        sizes: list[Size] = []
        for each in self._enumerate(_abi.VIDIOC_ENUM_FRAMESIZES, lambda: _abi.FrmSizeEnum(pixel_format=fourcc)):
            if each.type != _abi.FRMSIZE_TYPE_DISCRETE:
                span = each.stepwise
                low, high = (span.min_width, span.min_height), (span.max_width, span.max_height)
                looked_for = (*USUAL_SIZES, wanted) if wanted else USUAL_SIZES
                sizes.extend(sizes_in_range(low, high, (span.step_width, span.step_height), wanted=looked_for))
                break
            sizes.append((each.discrete.width, each.discrete.height))
        return tuple(FrameSize(size, self._rates(fourcc, size)) for size in dict.fromkeys(sizes))

    def _rates(self, fourcc: int, size: Size) -> tuple[float, ...]:
        rates: set[float] = set()

        def blank() -> _abi.FrmIvalEnum:
            return _abi.FrmIvalEnum(pixel_format=fourcc, width=size[0], height=size[1])

        for each in self._enumerate(_abi.VIDIOC_ENUM_FRAMEINTERVALS, blank):
            if each.type != _abi.FRMIVAL_TYPE_DISCRETE:
                span = each.stepwise
                rates |= {rate_hz(end.numerator, end.denominator) for end in (span.min, span.max)}
                break
            rates.add(rate_hz(each.discrete.numerator, each.discrete.denominator))
        return tuple(sorted(rates - {0.0}, reverse=True))

    def _enumerate(self, request: int, blank: Any) -> Iterator[Any]:
        # EINVAL is how V4L2 says "no more"; ENOTTY, that the driver does not know the question.
        for index in range(256):
            answer = blank()
            answer.index = index
            try:
                self._ioctl(request, answer)
            except OSError as error:
                if error.errno in {errno.EINVAL, errno.ENOTTY, errno.ENODATA}:
                    return
                raise
            yield answer

    def _buffer(self, index: int) -> _abi.Buffer:
        return _abi.Buffer(index=index, type=_abi.BUF_TYPE_VIDEO_CAPTURE, memory=_abi.MEMORY_MMAP)

    def _ioctl(self, request: int, argument: Structure | c_int) -> None:
        self._kernel.ioctl(self._descriptor, request, argument)


def _stamp_ns(buffer: _abi.Buffer) -> int | None:
    if buffer.flags & _abi.BUF_FLAG_TIMESTAMP_MASK != _abi.BUF_FLAG_TIMESTAMP_MONOTONIC:
        return None
    return int(buffer.timestamp.tv_sec) * 1_000_000_000 + int(buffer.timestamp.tv_usec) * 1000


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
