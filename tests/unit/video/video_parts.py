"""What the video tests share: known colours, reading, looking at processes, and a camera on HTTP."""

import io
import os
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edge_runtime.errors import BadFrameError, SourceError, SourceTimeoutError
from edge_runtime.sources.video import VideoFileSource, VideoStreamSource
from edge_runtime.types import Frame

COLORS = [
    *((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)),
    *((0, 0, 0), (128, 128, 128), (200, 100, 50), (30, 180, 220)),
]
"""Two rows of four patches of 80x120 pixels."""
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
Source = VideoFileSource | VideoStreamSource
OpenSource = Callable[..., Any]
MakeClip = Callable[..., Path]


def patches() -> np.ndarray:
    return np.repeat(np.repeat(np.array(COLORS, np.uint8).reshape(2, 4, 3), 120, axis=0), 80, axis=1)


def color_error(picture: np.ndarray) -> float:
    """Return the largest difference of a patch's mean colour from what it should be, in levels of 255."""
    inner = picture.reshape(2, 120, 4, 80, 3)[:, 30:90, :, 20:60].mean(axis=(1, 3))
    return float(np.abs(inner.reshape(8, 3) - np.array(COLORS)).max())


def jpeg(picture: np.ndarray) -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(picture).save(file, "JPEG", quality=95)
        return file.getvalue()


def run_ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-y", "-loglevel", "error", *arguments], check=True, timeout=60, stdin=subprocess.DEVNULL)


def pid_of(source: Source) -> int:
    assert source._child._process is not None
    return source._child._process.pid


def is_gone(pid: int) -> bool:
    """Whether the process is neither running nor a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def read_all(source: Source) -> tuple[list[Frame], list[str]]:
    frames, bad = [], []
    while True:
        try:
            frame = source.read(20.0)
        except BadFrameError as error:
            bad.append(str(error))
            continue
        if frame is None:
            return frames, bad
        frames.append(frame)


def read_one(source: Source) -> Frame:
    frame = source.read(20.0)
    assert frame is not None
    return frame


def read_when_due(source: Source) -> Frame | None:
    """Read, however often the source says that the next picture is due later."""
    while True:
        try:
            return source.read(0.2)
        except SourceTimeoutError:
            continue


def errors_until_given_up(source: Source, timeout_s: float = 0.1) -> list[SourceError]:
    """Read until something else than a picture or a time-out comes; return the time-outs and, last, that."""
    errors: list[SourceError] = []
    while not errors or isinstance(errors[-1], SourceTimeoutError):
        try:
            source.read(timeout_s)
        except SourceError as error:
            errors.append(error)
    return errors


class MjpegServer:
    """Serves ``pictures`` as an HTTP camera does, to ``me`` with ``hunter2`` only when ``password_wanted``.

    ``/file`` is ``file``, ``/wrong`` is not found, ``/silent`` never answers.
    """

    def __init__(self) -> None:
        self.pictures: list[bytes] = []
        self.password_wanted = False
        self.file = b""
        self.sent_all = threading.Event()
        self.go_on = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if outer.password_wanted and self.headers.get("Authorization") != "Basic bWU6aHVudGVyMg==":
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                elif self.path == "/file":
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(outer.file)))
                    self.end_headers()
                    self.wfile.write(outer.file)
                elif self.path == "/wrong":
                    self.send_error(404)
                elif self.path == "/silent":
                    outer.go_on.wait(20)
                else:
                    outer._stream(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def _stream(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        try:
            for picture in self.pictures:
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                request.wfile.write(head.encode() + picture + b"\r\n")
            request.wfile.write(b"--frame\r\n")
            request.wfile.flush()
            self.sent_all.set()
            self.go_on.wait(20)
        except OSError:
            return  # the reader has left

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
