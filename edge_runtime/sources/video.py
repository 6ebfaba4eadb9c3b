"""Video files, and streams over RTSP or HTTP, decoded by PyAV in a process that can be killed."""

import importlib.util
import time
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_runtime.clock import monotonic_ns
from edge_runtime.errors import (
    BadFrameError,
    EdgeRuntimeError,
    InputMismatchError,
    SourceError,
    SourceTimeoutError,
    SourceUnavailableError,
    UsageError,
)
from edge_runtime.protocols import WantedInput
from edge_runtime.sources._pacer import Pacer
from edge_runtime.sources._video_process import VideoProcess
from edge_runtime.types import Frame, Origin, WindowInput

STREAM_SCHEMES: Final = ("rtsp", "rtsps", "http", "https")
_ERRORS: Final[dict[str, type[EdgeRuntimeError]]] = {
    "usage": UsageError,
    "unavailable": SourceUnavailableError,
    "broken": SourceError,
}
_GRACE_S: Final = 2.0
"""How much longer than the child's own time limit this side waits before it kills the child."""
_START_S: Final = 30.0
"""For a fresh interpreter to import FFmpeg: seconds on a small board that is busy, which no camera is to blame for."""


def redacted(url: str) -> str:
    """Return ``url`` without user, password and query, fit for logs and for ``info``."""
    try:
        parts = urlsplit(url)
    except ValueError:  # an unclosed bracket
        return f"{url.partition('://')[0]}://..."
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}{'?...' if parts.query else ''}"


class _VideoSource:
    """What both sources share: the dialogue with the child, deadlines, pacing."""

    live: ClassVar[bool]

    def __init__(self, *, name: str, options: dict[str, Any], paced: bool, stream: str, wants: WantedInput) -> None:
        self._name = name
        self._options = options | {"stream": self.live}
        self._always_paced = paced
        self._stream = stream
        self._wants = wants
        self._child = VideoProcess()
        self._opened: dict[str, Any] = {}
        self._asked_s: float | None = None
        self._pacer: Pacer | None = None
        self._pending: tuple[dict[str, Any], NDArray[np.uint8], float] | None = None
        self._ended = False

    def open(self) -> None:
        """Start the decoder and wait until it has opened the video, at most ``timeout_s`` and a little.

        Raises UsageError without PyAV or for what is no video, SourceUnavailableError for a stream that does not
        answer, SourceError for a broken file.
        """
        self.close()
        if isinstance(self._wants, WindowInput):
            raise InputMismatchError("this model takes samples, not pictures: use --sensor csv:FILE or wav:FILE")
        if importlib.util.find_spec("av") is None:
            raise UsageError("video files and streams need PyAV: pip install 'edge-infer[video]'")
        self._child.start(self._options)
        answer = self._answer(_START_S)
        if answer is None:
            self._child.stop()
            raise SourceUnavailableError(f"{self._name}: the video decoder does not start within {_START_S:g} s")
        limit_s = self._options["timeout_s"] + _GRACE_S
        if answer["kind"] == "ready":
            answer = self._answer(limit_s)
        if answer is None:
            self._child.stop()
            raise SourceUnavailableError(f"{self._name}: not opened within {limit_s:g} s")
        if answer["kind"] == "error":
            self._fail(answer)
        self._opened = answer
        self._pacer = Pacer() if self._always_paced or (self.live and answer["finite"]) else None
        self._ended = False

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next picture; a stream gives its newest, a file each one, None after the last.

        Raises SourceTimeoutError when there is none within ``timeout_s``, BadFrameError for one that is damaged,
        SourceError when the decoder has died, or gave nothing for the configured ``timeout_s`` and was killed.
        """
        deadline_s = time.monotonic() + timeout_s
        if self._ended:
            return None
        if self._pending is None and not self._receive(timeout_s):
            return None
        assert self._pending is not None
        answer, pixels, due_s = self._pending
        if due_s > deadline_s:
            time.sleep(max(0.0, deadline_s - time.monotonic()))
            raise SourceTimeoutError(f"{self._name}: the next picture is due later")
        time.sleep(max(0.0, due_s - time.monotonic()))
        self._pending = None
        now = monotonic_ns()
        return Frame(
            data=pixels if answer["format"] == "rgb" else pixels.tobytes(),
            format=answer["format"],
            stream=self._stream,
            sequence=answer["index"],
            captured_ns=answer["received_ns"] if self.live and self._pacer is None else now,
            arrived_ns=now,
            origin=Origin(position_s=answer["position_s"]) if self._opened["finite"] else Origin(),
        )

    def close(self) -> None:
        """Kill the decoder."""
        self._child.stop()
        self._asked_s = self._pending = None
        self._ended = True

    def describe(self) -> dict[str, Any]:
        """Return where it comes from (without password), and size, rate and codec once it is open."""
        found: dict[str, Any] = {"type": "video_stream" if self.live else "video", "url": self._name}
        return found | {key: self._opened[key] for key in ("size", "fps", "codec") if key in self._opened}

    def _receive(self, timeout_s: float) -> bool:
        """Wait for one picture and keep it in ``_pending``; False at the end of the video."""
        self._ask()
        answer = self._answer(timeout_s)
        if answer is None:
            self._check_hang()
            raise SourceTimeoutError(f"{self._name}: no picture within {timeout_s:g} s")
        self._asked_s = None
        if answer["kind"] == "bad":
            raise BadFrameError(f"{self._name}: {answer['message']}")
        if answer["kind"] == "error":
            self._fail(answer)
        if answer["kind"] == "end":
            self.close()
            return False
        pixels = self._child.picture(answer)
        if not self.live:
            self._ask()  # the child makes the next picture ready while this one is inferred
        due_s = 0.0
        if self._pacer is not None and answer["position_s"] is not None:
            due_s = self._pacer.due_s(answer["position_s"], number=answer["number"], now_s=time.monotonic())
        self._pending = (answer, pixels, due_s)
        return True

    def _ask(self) -> None:
        if self._asked_s is None:
            self._child.ask()
            self._asked_s = time.monotonic()

    def _answer(self, timeout_s: float) -> dict[str, Any] | None:
        try:
            return self._child.answer(timeout_s)
        except SourceError as error:
            self.close()
            raise SourceError(f"{self._name}: {error}") from error

    def _check_hang(self) -> None:
        limit_s = self._options["timeout_s"] + _GRACE_S
        if self._asked_s is not None and time.monotonic() - self._asked_s > limit_s:
            self.close()
            raise SourceError(f"{self._name}: no picture for {limit_s:g} s; the decoder was killed")

    def _fail(self, answer: dict[str, Any]) -> None:
        self.close()
        raise _ERRORS[answer["what"]](f"{self._name}: {answer['message']}")


class VideoFileSource(_VideoSource):
    """A video file (mp4, mkv, avi, gif and what else FFmpeg reads); blocks and loses no picture."""

    class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of one ``video`` source."""

        url: str
        """The file's path."""
        loop: bool = False
        """Start again at the end, for ever."""
        realtime: bool = False
        """As fast as it was recorded instead of as fast as the model is; still drops nothing."""
        timeout_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 30.0
        """A decoder that gives nothing for so long is killed."""

    live: ClassVar[bool] = False
    stall_after_s: ClassVar[float | None] = None

    def __init__(self, config: Config, *, stream: str, wants: WantedInput) -> None:
        self._path = config.url.removeprefix("file://")
        options = {"url": self._path, "loop": config.loop, "timeout_s": config.timeout_s}
        super().__init__(name=self._path, options=options, paced=config.realtime, stream=stream, wants=wants)

    def open(self) -> None:
        """Open the file; as the base says, and UsageError for one that is not there or not readable."""
        try:
            if not Path(self._path).is_file():
                raise UsageError(f"{self._path}: no such file")
            with Path(self._path).open("rb"):
                pass
        except OSError as error:
            raise UsageError(f"{self._path}: {error.strerror or error}") from error
        super().open()


class VideoStreamSource(_VideoSource):
    """A camera on the network: ``rtsp://``, or MJPEG over ``http://``, whose JPEG bytes stay as they are.

    User and password stand in the address; they are shown nowhere and stand on no command line. What is finite (a file
    behind ``http://``) runs as fast as it was recorded.
    """

    class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of one ``video_stream`` source."""

        url: str
        transport: Literal["tcp", "udp"] = "tcp"
        """RTSP only: TCP passes firewalls and loses nothing on the way."""
        timeout_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 10.0
        """Without an answer or a picture for so long, the stream is given up and opened anew."""

    live: ClassVar[bool] = True
    stall_after_s: ClassVar[float | None] = 15.0

    def __init__(self, config: Config, *, stream: str, wants: WantedInput) -> None:
        options = {"url": config.url, "loop": False, "timeout_s": config.timeout_s, "transport": config.transport}
        super().__init__(name=redacted(config.url), options=options, paced=False, stream=stream, wants=wants)

    def open(self) -> None:
        """Connect; as the base says, and UsageError for an address that is none."""
        try:
            parts = urlsplit(self._options["url"])
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in STREAM_SCHEMES or not parts.hostname:
            raise UsageError(f"{self._name}: expected an address like rtsp://camera/stream or http://camera/video.mjpg")
        super().open()
