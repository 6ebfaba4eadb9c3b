"""The source ``picamera``: a Raspberry Pi camera on the CSI connector, through the system's picamera2.

picamera2 comes with Raspberry Pi OS (``apt install python3-picamera2``), never from an index: an environment sees it
when it was made with ``--system-site-packages``. Written from its manual and source; see docs/cameras.md for what has
been shown on a board.
"""

import contextlib
import importlib
import importlib.util
import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any, ClassVar

import msgspec
import numpy as np

from edge_runtime.clock import monotonic_ns
from edge_runtime.errors import InputMismatchError, SourceError, SourceTimeoutError, SourceUnavailableError
from edge_runtime.protocols import WantedInput
from edge_runtime.sources._planes import i420
from edge_runtime.types import Frame, ImageInput, Size, WindowInput

log = logging.getLogger(__name__)

DEFAULT_SIZE: Size = (1280, 720)
FULL_INTERVAL_NS = 1_000_000_000
"""``Frame.full`` is for snapshots, of which there is at most one a second."""
OLDEST_STAMP_NS = 10_000_000_000
FASTEST_US, SLOWEST_US = 33_333, 83_333
"""Frame time without ``fps``: 30 frames/s, down to 12 in the dark so that exposure may be longer."""
MISSING = (
    "a Raspberry Pi camera needs picamera2: `sudo apt install python3-picamera2`, "
    "and an environment made with --system-site-packages"
)


class PicameraConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be said of a Raspberry Pi camera; everything may be left out."""

    camera: int | None = None
    """Number, as ``rpicam-hello --list-cameras`` counts; by default the first that is free."""
    size: tuple[int, int] | None = None
    """Width and height of the large picture (snapshots, preview); by default 1280x720."""
    fps: float | None = None
    """Frames per second; by default 30, fewer in the dark."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant. Raises ValueError."""
        if self.size is not None and min(self.size) < 2:
            raise ValueError(f"size must be at least 2x2, got {self.size[0]}x{self.size[1]}")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ValueError(f"fps must be above 0 and at most 1000, got {self.fps:g}")


class PicameraSource:
    """A Raspberry Pi camera. The image processor itself makes the small picture that the model looks at.

    Frames are ``i420`` of the stream ``lores``: the field of view of ``main``, just large enough to cover the model's
    input, with an RGB picture of ``main`` in ``Frame.full`` once a second. Without a model, or with one whose input is
    larger than ``main``, frames are ``rgb`` of ``main``.
    """

    Config = PicameraConfig
    live: ClassVar[bool] = True
    stall_after_s: ClassVar[float | None] = 5.0

    def __init__(
        self,
        config: PicameraConfig,
        *,
        stream: str,
        wants: WantedInput,
        boottime_ns: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
    ) -> None:
        self._config = config
        self._stream = stream
        self._wants = wants
        self._boottime_ns = boottime_ns
        self._camera: Any = None
        self._layout: dict[str, Any] | None = None
        self._known: dict[str, Any] = {}
        self._job: Any = None
        self._done = threading.Event()
        self._sequence = 0
        self._full_due_ns = 0

    def open(self) -> None:
        """Open the camera and start it.

        Raises:
            SourceUnavailableError: no picamera2, no camera, all in use, or the camera refuses to start.
            InputMismatchError: the model does not take pictures.
        """
        if isinstance(self._wants, WindowInput):
            raise InputMismatchError("this model takes windows of samples, not pictures: give it --sensor")
        self.close()
        picamera2 = import_picamera2()
        cameras = pi_cameras()
        if not cameras:
            raise SourceUnavailableError("no Raspberry Pi camera found: check its cable, then `rpicam-hello`")
        if self._config.camera is not None:
            cameras = [camera for camera in cameras if camera["Num"] == self._config.camera]
            if not cameras:
                raise SourceUnavailableError(f"no Raspberry Pi camera {self._config.camera}; see `rpicam-hello`")
        self._camera, info = _first_free(picamera2, cameras)
        try:
            self._start(info)
        except (RuntimeError, ValueError, OSError) as error:
            self.close()
            raise SourceUnavailableError(f"Raspberry Pi camera {info['Num']} does not start: {error}") from error

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next frame, stamped with the moment its exposure began.

        Raises:
            SourceTimeoutError: no frame within ``timeout_s``; the request stays and is waited for by the next call.
            BadFrameError: the buffer is too short.
            SourceError: picamera2 failed; open the camera again.
        """
        camera = self._camera
        if camera is None:
            raise SourceError("the camera is not open")
        if self._job is None:
            self._done.clear()
            self._job = camera.capture_request(wait=False, signal_function=lambda _job: self._done.set())
        if not self._done.wait(timeout_s):
            raise SourceTimeoutError(f"the Raspberry Pi camera delivered no picture within {timeout_s:g} s")
        job, self._job = self._job, None
        try:
            request = job.get_result()
        except (RuntimeError, CancelledError) as error:
            raise SourceError(f"the Raspberry Pi camera failed: {error}; it is opened anew") from error
        try:
            return self._frame(request)
        finally:
            request.release()

    def close(self) -> None:
        """Stop the camera and let go of it. Waits a moment for a frame under way, so that its buffer goes back."""
        camera, self._camera = self._camera, None
        job, self._job = self._job, None
        if camera is None:
            return
        with contextlib.suppress(RuntimeError, OSError, CancelledError):
            if job is not None:
                if self._done.wait(1.0):
                    job.get_result().release()
                else:
                    # A job without a frame would keep picamera2's own stop waiting for ever.
                    camera.cancel_all_and_flush()
            camera.stop()
        with contextlib.suppress(RuntimeError, OSError):
            camera.close()

    def describe(self) -> dict[str, Any]:
        """Return what is known of the camera; ``size`` is that of the frames, ``full_size`` that of ``Frame.full``."""
        return {"type": "picamera", "device": self._config.camera} | self._known

    def _start(self, info: dict[str, Any]) -> None:
        main = self._config.size or DEFAULT_SIZE
        lores = lores_size(main, self._wants)
        limits = (FASTEST_US, SLOWEST_US) if self._config.fps is None else (round(1e6 / self._config.fps),) * 2
        # Planes are read as BT.601 in limited range (preprocess), like those of USB cameras; libcamera would
        # otherwise choose by size and purpose. BGR888 is its name for bytes in the order red, green, blue.
        colour_space = importlib.import_module("libcamera").ColorSpace.Smpte170m()
        configuration = self._camera.create_preview_configuration(
            main={"size": main, "format": "BGR888"},
            lores={"size": lores, "format": "YUV420"} if lores else None,
            colour_space=colour_space,
            controls={"FrameDurationLimits": limits},
            display=None,
            encode=None,
        )
        self._camera.configure(configuration)
        self._camera.start()
        granted = self._camera.camera_configuration()
        self._layout = granted["lores"] if lores else None
        self._known = {
            "device": info["Num"],
            "name": info.get("Model", "Raspberry Pi camera"),
            "size": list((self._layout or granted["main"])["size"]),
            "full_size": list(granted["main"]["size"]),
            "fps": round(1e6 / limits[0], 3),
            "format": "i420" if lores else "rgb",
        }
        log.info(
            "Raspberry Pi camera %(device)s (%(name)s): %(format)s %(size)s, full picture %(full_size)s", self._known
        )

    def _frame(self, request: Any) -> Frame:
        arrived_ns = monotonic_ns()
        sequence, self._sequence = self._sequence, self._sequence + 1
        full = None
        if self._layout is None:
            data = np.ascontiguousarray(request.make_array("main"))
        else:
            data = i420(request.make_buffer("lores"), tuple(self._layout["size"]), stride=self._layout["stride"])
            if arrived_ns >= self._full_due_ns:
                full = np.ascontiguousarray(request.make_array("main"))
                self._full_due_ns = arrived_ns + FULL_INTERVAL_NS
        return Frame(
            data=data,
            format="rgb" if self._layout is None else "i420",
            stream=self._stream,
            sequence=sequence,
            captured_ns=self._captured_ns(request.get_metadata().get("SensorTimestamp"), arrived_ns),
            arrived_ns=arrived_ns,
            full=full,
            nominal_size=None if self._layout is None else tuple(self._known["full_size"]),
        )

    def _captured_ns(self, stamp_ns: int | None, arrived_ns: int) -> int:
        # libcamera documents CLOCK_BOOTTIME; the kernel drivers below it stamp with CLOCK_MONOTONIC. They differ by
        # the time the machine was suspended, so the one that makes sense is taken.
        if stamp_ns is not None:
            suspended_ns = self._boottime_ns() - monotonic_ns()
            for captured_ns in (stamp_ns - suspended_ns, stamp_ns):
                if arrived_ns - OLDEST_STAMP_NS < captured_ns <= arrived_ns:
                    return captured_ns
        return arrived_ns


def lores_size(main: Size, wants: WantedInput) -> Size | None:
    """Return the smallest even size with the shape of ``main`` that covers the model's input; None to take ``main``."""
    if not isinstance(wants, ImageInput):
        return None
    scale = max(wants.size[0] / main[0], wants.size[1] / main[1])
    if scale >= 1:
        return None
    width, height = (min(2 * math.ceil(round(side * scale / 2, 3)), side - side % 2) for side in main)
    return width, height


def import_picamera2() -> Any:
    """Import and return picamera2. Raises SourceUnavailableError, with what to do."""
    try:
        return importlib.import_module("picamera2")
    except ImportError as error:
        raise SourceUnavailableError(f"{MISSING} ({error})") from error
    except ValueError as error:
        # "numpy.dtype size changed": its compiled parts were built against the system's numpy.
        raise SourceUnavailableError(
            f"picamera2 does not fit this environment's numpy ({error}): install the numpy version of the system's "
            "python3-numpy into it"
        ) from error


def pi_cameras() -> list[dict[str, Any]]:
    """Return picamera2's description of each CSI camera (``Num``, ``Model``, ``Id``, …); empty without picamera2.

    USB cameras are left out, though libcamera knows them: their own source takes their JPEG pictures as they are.
    """
    if importlib.util.find_spec("picamera2") is None:
        return []
    try:
        found = import_picamera2().Picamera2.global_camera_info()
    except (SourceUnavailableError, RuntimeError) as error:
        log.warning("%s", error)
        return []
    return [{"Num": number} | info for number, info in enumerate(found) if "usb" not in str(info.get("Id", "")).lower()]


def _first_free(picamera2: Any, cameras: list[dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
    problem: Exception | None = None
    for info in cameras:
        try:
            return picamera2.Picamera2(info["Num"]), info
        except (RuntimeError, IndexError) as error:
            problem = error
    numbers = ", ".join(str(info["Num"]) for info in cameras)
    raise SourceUnavailableError(
        f"Raspberry Pi camera {numbers} is in use or does not answer ({problem}): "
        "stop the program that has it; `sudo fuser -v /dev/media*` names it"
    )
