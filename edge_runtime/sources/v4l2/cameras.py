"""Which cameras there are, what they offer, and whether they really capture."""

import contextlib
from dataclasses import dataclass
from typing import Any

from edge_runtime.sources.v4l2 import _abi
from edge_runtime.sources.v4l2._device import Device, Identity
from edge_runtime.sources.v4l2._kernel import LINUX, Kernel
from edge_runtime.sources.v4l2._modes import CameraFormat, choose
from edge_runtime.sources.v4l2._sentences import LIST_HINT, PI_SENSOR, reason
from edge_runtime.types import Size

FIRST_FRAME_S = 4.0
"""A camera that shows nothing for this long after the start does not capture (USB cameras take up to 2 s)."""

_PI_SENSORS = {"unicam", "rp1-cfe"}
_MEMORY_TO_MEMORY = _abi.CAP_VIDEO_M2M | _abi.CAP_VIDEO_M2M_MPLANE
_NOT_CAMERAS = {"bcm2835-isp", "bcm2835-codec", "pispbe", "rpivid", "rpi-hevc-dec"}
"""The Raspberry Pi's codecs and image processors. Some look like capture devices and deliver nothing by themselves."""


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """A camera, usable or not. ``reason`` ends the sentence that starts with the device; empty when all is well."""

    device: str
    name: str
    driver: str
    bus: str
    formats: tuple[CameraFormat, ...]
    usable: bool
    reason: str

    def describe(self) -> dict[str, Any]:
        """Return plain values for JSON; rates in frames per second, sizes as [width, height]."""
        return {
            "device": self.device,
            "name": self.name,
            "driver": self.driver,
            "bus": self.bus,
            "formats": [
                {
                    "format": each.name,
                    "sizes": [{"size": list(size.size), "fps": list(size.rates_hz)} for size in each.sizes],
                }
                for each in self.formats
            ],
            "usable": self.usable,
            "reason": self.reason,
        }


def list_cameras(*, try_s: float | None = FIRST_FRAME_S, kernel: Kernel = LINUX) -> list[CameraInfo]:
    """Return the cameras among the video devices, by number; codecs and image processors are left out.

    With ``try_s`` each is started and must deliver a frame within that many seconds to count as usable (its light goes
    on); with None it is believed what it says of itself. Raises nothing: what is wrong is in each camera's ``reason``.
    """
    found = [inspect(path, kernel=kernel) for path in kernel.nodes()]
    cameras = [camera for camera in found if camera is not None]
    if try_s is None:
        return cameras
    return [_tried(camera, try_s, kernel) if camera.usable else camera for camera in cameras]


def inspect(path: str, *, wanted: Size | None = None, kernel: Kernel = LINUX) -> CameraInfo | None:
    """Ask one device what it is; None for a node that is no camera's picture."""
    device = Device(path, kernel=kernel)
    with contextlib.closing(device):
        try:
            device.open()
            identity = device.identify()
            if is_other_node(identity):
                return None
            formats = device.formats(wanted=wanted)
        except OSError as error:
            return CameraInfo(path, "", "", "", (), usable=False, reason=reason(path, error))
    problem = why_not(identity, formats)
    return CameraInfo(path, identity.card, identity.driver, identity.bus, formats, usable=not problem, reason=problem)


def is_other_node(identity: Identity) -> bool:
    """Tell whether a node is no camera at all: a codec, an image processor, an output, metadata."""
    capabilities = identity.capabilities
    captures = capabilities & (_abi.CAP_VIDEO_CAPTURE | _abi.CAP_VIDEO_CAPTURE_MPLANE)
    return not captures or bool(capabilities & _MEMORY_TO_MEMORY) or identity.driver in _NOT_CAMERAS


def why_not(identity: Identity, formats: tuple[CameraFormat, ...]) -> str:
    """Say why a node cannot be captured from; empty when it can."""
    capabilities = identity.capabilities
    if is_other_node(identity):
        return f"does not capture pictures ({identity.driver}: {identity.card}); {LIST_HINT}"
    if identity.driver in _PI_SENSORS and (not formats or capabilities & _abi.CAP_IO_MC):
        return PI_SENSOR
    if capabilities & _abi.CAP_IO_MC:
        return f"needs a media controller set up by its vendor's software ({identity.driver})"
    if not capabilities & _abi.CAP_VIDEO_CAPTURE:
        return f"captures only into separate planes ({identity.driver}), which is not supported"
    if not capabilities & _abi.CAP_STREAMING:
        return f"cannot stream ({identity.driver})"
    if not formats:
        return "offers no pixel format that can be used: MJPEG, YUYV, UYVY, I420, RGB, BGR or GREY"
    return ""


def _tried(camera: CameraInfo, try_s: float, kernel: Kernel) -> CameraInfo:
    mode = choose(camera.formats, size=None, fps=None, name=None)
    if mode is None:
        return camera
    device = Device(camera.device, kernel=kernel)
    problem = ""
    with contextlib.closing(device):
        try:
            device.open()
            device.start(mode, buffers=2)
            problem = "" if device.wait(try_s) else no_picture(try_s)
        except OSError as error:
            problem = reason(camera.device, error)
    return CameraInfo(
        camera.device, camera.name, camera.driver, camera.bus, camera.formats, usable=not problem, reason=problem
    )


def no_picture(try_s: float) -> str:
    """Say that a camera started and delivered nothing."""
    return f"started, and delivered no picture within {try_s:g} s: unplug it and plug it in again"
