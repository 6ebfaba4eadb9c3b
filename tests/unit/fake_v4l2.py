"""A kernel with cameras of a test's own making: stands in where the V4L2 module calls the system."""

import errno
import mmap
import os
import select
from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar

from edge_runtime.sources.v4l2 import _abi

JPEG = b"\xff\xd8\xff\xe0 a picture \xff\xd9"
CAMERA = _abi.CAP_VIDEO_CAPTURE | _abi.CAP_STREAMING
USUAL = {(640, 480): (30, 15), (1280, 720): (30,)}


def fails(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@dataclass
class Shot:
    """One frame as the driver hands it out; ``stamp_ns`` None is a time stamp of no known clock."""

    data: bytes = JPEG
    flags: int = 0
    stamp_ns: int | None = None


@dataclass
class FakeCamera:
    """A device. ``formats``: four-character code to {size: rates}; a size may also be ("range", low, high, step)."""

    card: str = "Webcam"
    driver: str = "uvcvideo"
    bus: str = "usb-1"
    capabilities: int = CAMERA
    formats: dict = field(default_factory=lambda: {"MJPG": USUAL, "YUYV": USUAL})
    padding: int = 0
    """Bytes after each row of an uncompressed picture."""
    sizes_snap_to: tuple | None = None
    """What the driver makes of every size asked for."""
    takes_rate: bool = True
    shots: deque = field(default_factory=deque)
    failing: dict = field(default_factory=dict)
    """ioctl number, or "open", to the OSError it ends with."""
    gone: bool = False
    streaming: bool = False
    opened: int = 0
    asked: list = field(default_factory=list)


class FakeKernel:
    """``poll`` does not wait: with nothing to hand out it answers as after the whole time-out."""

    def __init__(self, **cameras: FakeCamera) -> None:
        self.cameras = {f"/dev/{name}": camera for name, camera in cameras.items()}
        self._open = {}
        self._maps = {}
        self._mode = {}

    def nodes(self):
        return [path for path, camera in self.cameras.items() if not camera.gone]

    def open(self, path):
        camera = self.cameras.get(path)
        if camera is None or camera.gone:
            raise fails(errno.ENOENT)
        if "open" in camera.failing:
            raise camera.failing["open"]
        descriptor = 100 + len(self._open)
        self._open[descriptor] = camera
        camera.opened += 1
        return descriptor

    def close(self, descriptor):
        self._open[descriptor].opened -= 1

    def map(self, descriptor, *, length, offset):
        self._maps[descriptor, offset] = mmap.mmap(-1, length)
        return self._maps[descriptor, offset]

    def poll(self, descriptor, timeout_s):
        camera = self._open[descriptor]
        if camera.gone:
            return select.POLLERR
        return select.POLLIN if camera.shots else 0

    def ioctl(self, descriptor, request, argument):
        camera = self._open[descriptor]
        if camera.gone:
            raise fails(errno.ENODEV)
        if request in camera.failing:
            raise camera.failing[request]
        camera.asked.append(request)
        self._answers[request](self, camera, descriptor, argument)

    def _capability(self, camera, descriptor, answer):
        answer.driver, answer.card, answer.bus_info = (
            camera.driver.encode(),
            camera.card.encode(),
            camera.bus.encode(),
        )
        # As real drivers do: all that the hardware can, and apart from it what this node can.
        answer.capabilities = camera.capabilities | _abi.CAP_DEVICE_CAPS | _abi.CAP_VIDEO_CAPTURE
        answer.device_caps = camera.capabilities

    def _format(self, camera, descriptor, answer):
        answer.pixelformat = _abi.fourcc(self._nth(list(camera.formats), answer.index))

    def _size(self, camera, descriptor, answer):
        size = self._nth(list(self._sizes(camera, answer.pixel_format)), answer.index)
        if size[0] == "range":
            answer.type, span = 3, answer.stepwise
            (span.min_width, span.min_height), (span.max_width, span.max_height) = size[1], size[2]
            span.step_width, span.step_height = size[3]
        else:
            answer.type = _abi.FRMSIZE_TYPE_DISCRETE
            answer.discrete.width, answer.discrete.height = size

    def _interval(self, camera, descriptor, answer):
        rates = self._sizes(camera, answer.pixel_format).get((answer.width, answer.height), ())
        answer.type = _abi.FRMIVAL_TYPE_DISCRETE
        answer.discrete.numerator, answer.discrete.denominator = 1, self._nth(rates, answer.index)

    def _set_format(self, camera, descriptor, answer):
        pix = answer.fmt.pix
        if camera.sizes_snap_to:
            pix.width, pix.height = camera.sizes_snap_to
        per_pixel = {_abi.PIX_FMT_YUYV: 2, _abi.PIX_FMT_UYVY: 2, _abi.PIX_FMT_RGB24: 3}.get(pix.pixelformat, 1)
        compressed = pix.pixelformat in {_abi.PIX_FMT_MJPEG, _abi.PIX_FMT_JPEG}
        pix.bytesperline = 0 if compressed else pix.width * per_pixel + camera.padding
        pix.sizeimage = max(4096, pix.bytesperline * pix.height * 3 // 2)
        self._mode[descriptor] = pix.sizeimage

    def _set_parm(self, camera, descriptor, answer):
        if not camera.takes_rate:
            raise fails(errno.ENOTTY)
        answer.parm.capture.capability = _abi.CAP_TIMEPERFRAME

    def _request_buffers(self, camera, descriptor, answer):
        if camera.streaming:
            raise fails(errno.EBUSY)

    def _query_buffer(self, camera, descriptor, answer):
        answer.length, answer.m.offset = self._mode[descriptor], answer.index * 1_000_000

    def _dequeue(self, camera, descriptor, answer):
        if not camera.shots:
            raise fails(errno.EAGAIN)
        shot = camera.shots.popleft()
        answer.index, answer.bytesused, answer.flags = 0, len(shot.data), shot.flags
        if shot.stamp_ns is not None:
            answer.flags |= _abi.BUF_FLAG_TIMESTAMP_MONOTONIC
            answer.timestamp.tv_sec, rest = divmod(shot.stamp_ns, 10**9)
            answer.timestamp.tv_usec = rest // 1000
        self._maps[descriptor, 0][: len(shot.data)] = shot.data

    def _stream_on(self, camera, descriptor, answer):
        camera.streaming = True

    def _stream_off(self, camera, descriptor, answer):
        camera.streaming = False

    def _accept(self, camera, descriptor, answer):
        pass

    def _sizes(self, camera, pixel_format):
        return camera.formats[pixel_format.to_bytes(4, "little").decode()]

    @staticmethod
    def _nth(things, index):
        if index >= len(things):
            raise fails(errno.EINVAL)
        return things[index]

    _answers: ClassVar = {
        _abi.VIDIOC_QUERYCAP: _capability,
        _abi.VIDIOC_ENUM_FMT: _format,
        _abi.VIDIOC_ENUM_FRAMESIZES: _size,
        _abi.VIDIOC_ENUM_FRAMEINTERVALS: _interval,
        _abi.VIDIOC_S_FMT: _set_format,
        _abi.VIDIOC_S_PARM: _set_parm,
        _abi.VIDIOC_REQBUFS: _request_buffers,
        _abi.VIDIOC_QUERYBUF: _query_buffer,
        _abi.VIDIOC_QBUF: _accept,
        _abi.VIDIOC_DQBUF: _dequeue,
        _abi.VIDIOC_STREAMON: _stream_on,
        _abi.VIDIOC_STREAMOFF: _stream_off,
    }
