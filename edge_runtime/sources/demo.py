"""A moving scene made of the bundled digits, for trying everything without a camera."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal
from zipfile import BadZipFile

import msgspec
import numpy as np

from edge_runtime.clock import monotonic_ns
from edge_runtime.errors import SourceTimeoutError, SourceUnavailableError
from edge_runtime.protocols import WantedInput
from edge_runtime.sources._demo_scene import Scene
from edge_runtime.types import Frame

if TYPE_CHECKING:
    from PIL import Image

DATA: Final = Path(__file__).parents[1] / "demo"
"""Where the bundled model (``digits.tflite``), its manifest and the digits of the scene (``digits.npz``) lie."""
_NS_PER_S: Final = 1_000_000_000
_JPEG_QUALITY: Final = 85
Side = Annotated[int, msgspec.Meta(ge=32, le=4096)]


class DemoSource:
    """Shows one handwritten digit after the other, like a camera: a frame that nobody reads in time is skipped.

    Frame n of a ``seed`` is always the same picture. ``clock`` and ``sleep`` are for tests.
    """

    class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of the ``demo`` source."""

        size: tuple[Side, Side] = (640, 480)
        """Width and height of the frames."""
        fps: Annotated[float, msgspec.Meta(gt=0.0, le=240.0)] = 15.0
        seed: Annotated[int, msgspec.Meta(ge=0)] = 0
        format: Literal["jpeg", "rgb"] = "jpeg"
        """JPEG bytes as from a USB camera, or pixels as from a Raspberry Pi camera."""

    live: ClassVar[bool] = True
    stall_after_s: ClassVar[float | None] = 10.0

    def __init__(
        self,
        config: Config,
        *,
        stream: str,
        wants: WantedInput,  # noqa: ARG002 - the scene is the same for every model
        clock: Callable[[], int] = monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._config = config
        self._stream = stream
        self._clock = clock
        self._sleep = sleep
        self._scene: Scene | None = None
        self._encode: Callable[[Image.Image], bytes] = _encode_with_pillow
        self._start_ns = 0
        self._next = 0

    def open(self) -> None:
        """Load the digits. Raises SourceUnavailableError when the installation lacks them."""
        try:
            with (DATA / "digits.npz").open("rb") as file, np.load(file) as digits:
                images, labels = digits["images"], digits["labels"]
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise SourceUnavailableError(
                f"{DATA / 'digits.npz'} is missing or damaged; install edge-infer anew"
            ) from error
        config = self._config
        self._scene = Scene(images, labels, size=config.size, fps=config.fps, seed=config.seed)
        self._encode = _encoder()
        self._start_ns, self._next = self._clock(), 0

    def read(self, timeout_s: float) -> Frame | None:
        """Wait for the next frame's moment and return it. Raises SourceTimeoutError when that is too far off."""
        if self._scene is None:
            raise SourceUnavailableError("the demo source is not open")
        now_ns = self._clock()
        number = max(self._next, int((now_ns - self._start_ns) * self._config.fps / _NS_PER_S))
        due_ns = self._start_ns + int(number * _NS_PER_S / self._config.fps)
        wait_s = max(0, due_ns - now_ns) / _NS_PER_S
        self._sleep(min(wait_s, timeout_s))
        if wait_s > timeout_s:
            raise SourceTimeoutError(f"the next frame of the demo comes in {wait_s - timeout_s:.1f} s")
        self._next = number + 1
        picture = self._scene.render(number)
        as_jpeg = self._config.format == "jpeg"
        return Frame(
            data=self._encode(picture) if as_jpeg else np.asarray(picture),
            format=self._config.format,
            stream=self._stream,
            sequence=number,
            captured_ns=due_ns,
            arrived_ns=self._clock(),
        )

    def close(self) -> None:
        """Forget the scene."""
        self._scene = None

    def describe(self) -> dict[str, Any]:
        """Return type, size, frame rate and format."""
        config = self._config
        return {"type": "demo", "size": list(config.size), "fps": config.fps, "format": config.format}


def _encoder() -> "Callable[[Image.Image], bytes]":
    try:
        import simplejpeg
    except ImportError:  # no wheel for 32-bit Arm
        return _encode_with_pillow

    def encode(picture: "Image.Image") -> bytes:
        return bytes(simplejpeg.encode_jpeg(np.asarray(picture), quality=_JPEG_QUALITY, colorspace="RGB"))

    return encode


def _encode_with_pillow(picture: "Image.Image") -> bytes:
    import io

    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
