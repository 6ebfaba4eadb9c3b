"""The part of the kernel's V4L2 interface that a capture device needs: structures, constants, ioctl numbers.

Names and layouts are those of ``<linux/videodev2.h>``; ``tests/unit/test_v4l2_abi.py`` compiles a program against the
kernel's header and compares every size, offset and number. Sizes are the native ones, so that the same text is right on
64-bit and on 32-bit.

``timestamp`` in ``v4l2_buffer`` is two C longs. On 64-bit that is the only layout there is. On 32-bit it is the classic
one with 32-bit seconds, whatever the C library's ``time_t``: an ioctl number contains the structure's size, and kernels
know both layouts by it (``VIDIOC_DQBUF_TIME32`` since Linux 5.6, the only one before). The stamps count from boot, so
32 bits do not run out.

``_IOC`` is the layout of ``asm-generic/ioctl.h``: x86, Arm and RISC-V.
"""

import ctypes
from ctypes import Structure, Union, c_char, c_int, c_int32, c_long, c_uint8, c_uint32, c_ulong, c_void_p

CAP_VIDEO_CAPTURE = 0x00000001
CAP_VIDEO_CAPTURE_MPLANE = 0x00001000
CAP_VIDEO_M2M_MPLANE = 0x00004000
CAP_VIDEO_M2M = 0x00008000
CAP_STREAMING = 0x04000000
CAP_IO_MC = 0x20000000
CAP_DEVICE_CAPS = 0x80000000

BUF_TYPE_VIDEO_CAPTURE = 1
MEMORY_MMAP = 1
FIELD_NONE = 1

BUF_FLAG_ERROR = 0x00000040
BUF_FLAG_TIMESTAMP_MASK = 0x0000E000
BUF_FLAG_TIMESTAMP_MONOTONIC = 0x00002000

CAP_TIMEPERFRAME = 0x1000

FRMSIZE_TYPE_DISCRETE = 1
FRMIVAL_TYPE_DISCRETE = 1


def fourcc(code: str) -> int:
    """Return the number of a four-character pixel format code."""
    return int.from_bytes(code.encode("ascii"), "little")


PIX_FMT_MJPEG = fourcc("MJPG")
PIX_FMT_JPEG = fourcc("JPEG")
PIX_FMT_YUYV = fourcc("YUYV")
PIX_FMT_UYVY = fourcc("UYVY")
PIX_FMT_YUV420 = fourcc("YU12")
PIX_FMT_RGB24 = fourcc("RGB3")
PIX_FMT_BGR24 = fourcc("BGR3")
PIX_FMT_GREY = fourcc("GREY")


class Capability(Structure):
    """``struct v4l2_capability``."""

    _fields_ = (
        ("driver", c_char * 16),
        ("card", c_char * 32),
        ("bus_info", c_char * 32),
        ("version", c_uint32),
        ("capabilities", c_uint32),
        ("device_caps", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class FmtDesc(Structure):
    """``struct v4l2_fmtdesc``."""

    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("flags", c_uint32),
        ("description", c_char * 32),
        ("pixelformat", c_uint32),
        ("mbus_code", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class Fract(Structure):
    """``struct v4l2_fract``: numerator / denominator, here seconds per frame."""

    _fields_ = (("numerator", c_uint32), ("denominator", c_uint32))


class _SizeDiscrete(Structure):
    _fields_ = (("width", c_uint32), ("height", c_uint32))


class _SizeStepwise(Structure):
    _fields_ = (
        ("min_width", c_uint32),
        ("max_width", c_uint32),
        ("step_width", c_uint32),
        ("min_height", c_uint32),
        ("max_height", c_uint32),
        ("step_height", c_uint32),
    )


class _SizeUnion(Union):
    _fields_ = (("discrete", _SizeDiscrete), ("stepwise", _SizeStepwise))


class FrmSizeEnum(Structure):
    """``struct v4l2_frmsizeenum``."""

    _anonymous_ = ("size",)
    _fields_ = (
        ("index", c_uint32),
        ("pixel_format", c_uint32),
        ("type", c_uint32),
        ("size", _SizeUnion),
        ("reserved", c_uint32 * 2),
    )


class _IntervalStepwise(Structure):
    _fields_ = (("min", Fract), ("max", Fract), ("step", Fract))


class _IntervalUnion(Union):
    _fields_ = (("discrete", Fract), ("stepwise", _IntervalStepwise))


class FrmIvalEnum(Structure):
    """``struct v4l2_frmivalenum``."""

    _anonymous_ = ("interval",)
    _fields_ = (
        ("index", c_uint32),
        ("pixel_format", c_uint32),
        ("width", c_uint32),
        ("height", c_uint32),
        ("type", c_uint32),
        ("interval", _IntervalUnion),
        ("reserved", c_uint32 * 2),
    )


class PixFormat(Structure):
    """``struct v4l2_pix_format``."""

    _fields_ = (
        ("width", c_uint32),
        ("height", c_uint32),
        ("pixelformat", c_uint32),
        ("field", c_uint32),
        ("bytesperline", c_uint32),
        ("sizeimage", c_uint32),
        ("colorspace", c_uint32),
        ("priv", c_uint32),
        ("flags", c_uint32),
        ("ycbcr_enc", c_uint32),
        ("quantization", c_uint32),
        ("xfer_func", c_uint32),
    )


class _FormatUnion(Union):
    # The pointer stands for v4l2_window's: it gives the union the header's alignment.
    _fields_ = (("pix", PixFormat), ("raw_data", c_uint8 * 200), ("_window", c_void_p))


class Format(Structure):
    """``struct v4l2_format``."""

    _fields_ = (("type", c_uint32), ("fmt", _FormatUnion))


class CaptureParm(Structure):
    """``struct v4l2_captureparm``."""

    _fields_ = (
        ("capability", c_uint32),
        ("capturemode", c_uint32),
        ("timeperframe", Fract),
        ("extendedmode", c_uint32),
        ("readbuffers", c_uint32),
        ("reserved", c_uint32 * 4),
    )


class _ParmUnion(Union):
    _fields_ = (("capture", CaptureParm), ("raw_data", c_uint8 * 200))


class StreamParm(Structure):
    """``struct v4l2_streamparm``."""

    _fields_ = (("type", c_uint32), ("parm", _ParmUnion))


class RequestBuffers(Structure):
    """``struct v4l2_requestbuffers``."""

    _fields_ = (
        ("count", c_uint32),
        ("type", c_uint32),
        ("memory", c_uint32),
        ("capabilities", c_uint32),
        ("flags", c_uint8),
        ("reserved", c_uint8 * 3),
    )


class Timeval(Structure):
    """``struct timeval`` as two C longs; see the module's words on 32-bit."""

    _fields_ = (("tv_sec", c_long), ("tv_usec", c_long))


class Timecode(Structure):
    """``struct v4l2_timecode``."""

    _fields_ = (
        ("type", c_uint32),
        ("flags", c_uint32),
        ("frames", c_uint8),
        ("seconds", c_uint8),
        ("minutes", c_uint8),
        ("hours", c_uint8),
        ("userbits", c_uint8 * 4),
    )


class _BufferMemory(Union):
    _fields_ = (("offset", c_uint32), ("userptr", c_ulong), ("planes", c_void_p), ("fd", c_int32))


class Buffer(Structure):
    """``struct v4l2_buffer``."""

    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("bytesused", c_uint32),
        ("flags", c_uint32),
        ("field", c_uint32),
        ("timestamp", Timeval),
        ("timecode", Timecode),
        ("sequence", c_uint32),
        ("memory", c_uint32),
        ("m", _BufferMemory),
        ("length", c_uint32),
        ("reserved2", c_uint32),
        ("request_fd", c_int32),
    )


_WRITE, _READ = 1, 2


def _ioc(direction: int, number: int, argument: type[c_int] | type[Structure]) -> int:
    return direction << 30 | ctypes.sizeof(argument) << 16 | ord("V") << 8 | number


VIDIOC_QUERYCAP = _ioc(_READ, 0, Capability)
VIDIOC_ENUM_FMT = _ioc(_READ | _WRITE, 2, FmtDesc)
VIDIOC_G_FMT = _ioc(_READ | _WRITE, 4, Format)
VIDIOC_S_FMT = _ioc(_READ | _WRITE, 5, Format)
VIDIOC_REQBUFS = _ioc(_READ | _WRITE, 8, RequestBuffers)
VIDIOC_QUERYBUF = _ioc(_READ | _WRITE, 9, Buffer)
VIDIOC_QBUF = _ioc(_READ | _WRITE, 15, Buffer)
VIDIOC_DQBUF = _ioc(_READ | _WRITE, 17, Buffer)
VIDIOC_STREAMON = _ioc(_WRITE, 18, c_int)
VIDIOC_STREAMOFF = _ioc(_WRITE, 19, c_int)
VIDIOC_S_PARM = _ioc(_READ | _WRITE, 22, StreamParm)
VIDIOC_ENUM_FRAMESIZES = _ioc(_READ | _WRITE, 74, FrmSizeEnum)
VIDIOC_ENUM_FRAMEINTERVALS = _ioc(_READ | _WRITE, 75, FrmIvalEnum)
