"""The source ``v4l2``: USB cameras, capture sticks, and everything else the kernel shows as a capture device."""

import contextlib
import logging
from typing import Any, ClassVar, Literal

import msgspec

from edge_runtime.clock import monotonic_ns
from edge_runtime.errors import (
    BadFrameError,
    InputMismatchError,
    SourceError,
    SourceTimeoutError,
    SourceUnavailableError,
    UsageError,
)
from edge_runtime.protocols import WantedInput
from edge_runtime.sources.v4l2._device import Device, Granted, Identity, Taken
from edge_runtime.sources.v4l2._kernel import LINUX, Kernel
from edge_runtime.sources.v4l2._modes import PIXEL_FORMATS, CameraFormat, Mode, choose
from edge_runtime.sources.v4l2._sentences import NO_CAMERA, lost, unavailable
from edge_runtime.sources.v4l2.cameras import FIRST_FRAME_S, CameraInfo, list_cameras, no_picture, why_not
from edge_runtime.types import Frame, WindowInput

log = logging.getLogger(__name__)

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
OLDEST_STAMP_NS = 10_000_000_000
"""A kernel time stamp further back than this is of another clock (uvcvideo's ``clock`` parameter), and not believed."""


class V4L2Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be said of a camera; everything may be left out."""

    device: str | None = None
    """Path (``/dev/video0``, ``/dev/v4l/by-id/...``) or number; by default the first camera that really captures."""
    size: tuple[int, int] | None = None
    """Width and height, taken or the nearest offered; by default 1280x720."""
    fps: float | None = None
    """Frames per second, taken or the nearest offered; by default 30."""
    format: Literal["mjpeg", "yuyv", "uyvy", "i420", "rgb", "bgr", "gray"] | None = None
    """By default the first of these that the camera offers."""
    buffers: int = 4
    """How many frames the kernel may hold ready."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant. Raises ValueError."""
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"size must be at least 1x1, got {self.size[0]}x{self.size[1]}")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ValueError(f"fps must be above 0 and at most 1000, got {self.fps:g}")
        if not 2 <= self.buffers <= 32:
            raise ValueError(f"buffers must be 2 to 32, got {self.buffers}")


class V4L2Source:
    """A camera. Frames are ``jpeg`` (the camera's bytes, undecoded), ``yuyv``, ``i420``, ``rgb``, ``bgr`` or ``gray``.

    Opened without a device it takes the first camera that delivers a frame, and remembers which one it was: opened
    again after that one was unplugged, it looks for the same camera, under whatever number it has come back.
    """

    Config = V4L2Config
    live: ClassVar[bool] = True
    stall_after_s: ClassVar[float | None] = 5.0

    def __init__(self, config: V4L2Config, *, stream: str, wants: WantedInput, kernel: Kernel = LINUX) -> None:
        self._config = config
        self._stream = stream
        self._wants = wants
        self._kernel = kernel
        self._device: Device | None = None
        self._identity: Identity | None = None
        self._granted: Granted | None = None
        self._other_buses: frozenset[str] = frozenset()
        self._sequence = 0
        self._ends_marked = False

    def open(self) -> None:
        """Open the camera and start it.

        Raises:
            SourceUnavailableError: no camera, none that captures, not permitted, in use, gone.
            UsageError: the device given is no video device, or does not have the format asked for.
            InputMismatchError: the model does not take pictures.
        """
        if isinstance(self._wants, WindowInput):
            raise InputMismatchError(
                "this model takes windows of samples, not pictures: give it a sensor with --sensor"
            )
        self.close()
        given = self._config.device
        if given is None:
            self._open_first()
            return
        try:
            self._start(f"/dev/video{given}" if given.isdigit() else given)
        except UsageError as error:
            if self._identity is None:
                raise
            # It was a camera when the program started: whatever is there now may give way to it again.
            raise SourceUnavailableError(str(error)) from error

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next frame, stamped by the kernel where it stamps with CLOCK_MONOTONIC.

        Raises:
            SourceTimeoutError: no frame within ``timeout_s``.
            BadFrameError: the driver marked the frame as broken, or it is no whole JPEG or picture.
            SourceError: the camera is gone; open it again.
        """
        device, granted = self._device, self._granted
        if device is None or granted is None:
            raise SourceError("the camera is not open")
        taken = _next_buffer(device, timeout_s)
        arrived_ns = monotonic_ns()
        sequence, self._sequence = self._sequence, self._sequence + 1
        problem = taken.problem
        if isinstance(taken.data, bytes) and not problem:
            problem = self._jpeg_problem(taken.data)
        if problem:
            raise BadFrameError(f"{device.path}: {problem}")
        return Frame(
            data=taken.data,
            format=PIXEL_FORMATS[granted.fourcc].frame,
            stream=self._stream,
            sequence=sequence,
            captured_ns=_captured_ns(taken.stamp_ns, arrived_ns),
            arrived_ns=arrived_ns,
        )

    def close(self) -> None:
        """Stop the camera and let go of it."""
        if self._device is not None:
            self._device.close()
        self._device = None
        self._granted = None

    def describe(self) -> dict[str, Any]:
        """Return what is known of the camera: all of it once it has been opened."""
        known: dict[str, Any] = {"type": "v4l2", "device": self._config.device}
        if self._device is not None and self._identity is not None and self._granted is not None:
            known |= {
                "device": self._device.path,
                "name": self._identity.card,
                "driver": self._identity.driver,
                "bus": self._identity.bus,
                "size": list(self._granted.size),
                "fps": self._granted.fps,
                "format": PIXEL_FORMATS[self._granted.fourcc].name,
            }
        return known

    def _open_first(self) -> None:
        cameras = list_cameras(try_s=None, kernel=self._kernel)
        candidates = [camera for camera in cameras if camera.usable and self._may_be_ours(camera)]
        if self._identity is not None:
            bus = self._identity.bus
            candidates.sort(key=lambda camera: camera.bus != bus)
        problems = [f"{camera.device} {camera.reason}" for camera in cameras if not camera.usable]
        for camera in candidates:
            try:
                self._start(camera.device, try_s=FIRST_FRAME_S)
            except (SourceError, UsageError) as error:
                problems.append(str(error))
            else:
                self._other_buses = frozenset(other.bus for other in cameras if other.bus != camera.bus)
                return
        if self._identity is not None and not candidates:
            problems = [f"the camera {self._identity.card} ({self._identity.bus}) is not there: plug it in again"]
        raise SourceUnavailableError("; ".join(problems) or NO_CAMERA)

    def _may_be_ours(self, camera: CameraInfo) -> bool:
        # Once a camera was chosen, a stream must not quietly show another one: only the same USB port, or the same make
        # on a port where there was no camera when this one was chosen.
        ours = self._identity
        if ours is None or camera.bus == ours.bus:
            return True
        return camera.name == ours.card and camera.bus not in self._other_buses

    def _start(self, path: str, *, try_s: float | None = None) -> None:
        with contextlib.ExitStack() as undo:
            device = undo.enter_context(contextlib.closing(Device(path, kernel=self._kernel)))
            try:
                device.open()
                identity = device.identify()
                mode = self._mode(path, identity, device.formats(wanted=self._config.size))
                granted = device.start(mode, buffers=self._config.buffers)
                captures = try_s is None or device.wait(try_s)
            except OSError as error:
                raise unavailable(path, error) from error
            if try_s is not None and not captures:
                raise SourceUnavailableError(f"{path} {no_picture(try_s)}")
            undo.pop_all()
        self._device, self._identity, self._granted = device, identity, granted
        self._ends_marked = False
        log.info("camera %s (%s): %s", path, identity.card, _spoken(granted))

    def _mode(self, path: str, identity: Identity, formats: tuple[CameraFormat, ...]) -> Mode:
        if problem := why_not(identity, formats):
            raise SourceUnavailableError(f"{path} {problem}")
        mode = choose(formats, size=self._config.size, fps=self._config.fps, name=self._config.format)
        if mode is None:
            offered = ", ".join(dict.fromkeys(each.name for each in formats))
            raise UsageError(f"{path} does not offer format {self._config.format}; it offers {offered}")
        return mode

    def _jpeg_problem(self, data: bytes) -> str:
        if not data.startswith(SOI):
            return "a frame is no JPEG picture"
        # Padding may follow the end marker, and some cameras never write one: those are believed. The marker cannot
        # occur within the compressed data, so it need only be somewhere after the start.
        ended = data.endswith(EOI) or data.rfind(EOI) > 0
        self._ends_marked |= ended
        return "" if ended or not self._ends_marked else "a JPEG picture is cut off"


def _next_buffer(device: Device, timeout_s: float) -> Taken:
    deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
    try:
        while True:
            if not device.wait((deadline_ns - monotonic_ns()) / 1e9):
                raise SourceTimeoutError(f"{device.path} delivered no picture within {timeout_s:g} s")
            if (taken := device.take()) is not None:
                return taken
    except OSError as error:
        raise lost(device.path, error) from error


def _captured_ns(stamp_ns: int | None, arrived_ns: int) -> int:
    if stamp_ns is None or not arrived_ns - OLDEST_STAMP_NS < stamp_ns <= arrived_ns:
        return arrived_ns
    return stamp_ns


def _spoken(granted: Granted) -> str:
    rate = f" at {granted.fps:g} frames/s" if granted.fps else ""
    return f"{PIXEL_FORMATS[granted.fourcc].name} {granted.size[0]}x{granted.size[1]}{rate}"
