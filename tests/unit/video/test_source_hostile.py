"""Cameras that answer with what is no stream, that freeze and come back, and files that vanish; real processes."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rtsp_server
from real_broker import free_port
from video_parts import H264, MakeClip, OpenSource, errors_until_given_up, jpeg, read_one

from edge_runtime.errors import BadFrameError, EdgeRuntimeError, SourceError, SourceTimeoutError, SourceUnavailableError
from edge_runtime.sources.video import VideoStreamSource

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
PART = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
PICTURE = jpeg(np.zeros((48, 64, 3), np.uint8))
HOSTILE = {
    "hangs up": b"",
    "no HTTP": b"\x00\xff" * 5000,
    "cut off in the header": HEAD[:40],
    "a length that never comes": b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 99999999999\r\n\r\n"
    + PICTURE,
    "a part too long for any memory": HEAD + PART % 2_000_000_000 + PICTURE,
    "a negative length": HEAD + PART % -5 + PICTURE + b"\r\n--frame\r\n",
    "garbage for a picture": HEAD + (PART % 5000 + bytes(5000) + b"\r\n") * 3 + b"--frame\r\n",
    "a picture cut off": HEAD + (PART % 100 + PICTURE[:100] + b"\r\n") * 3 + b"--frame\r\n",
    "a local file": b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
    "itself, for ever": b"HTTP/1.1 302 Found\r\nLocation: /video\r\nContent-Length: 0\r\n\r\n",
}


@pytest.fixture
def hostile() -> Iterator["HostileCamera"]:
    server = HostileCamera()
    yield server
    server.close()


class HostileCamera:
    """Answers every connection with ``answer`` and hangs up, or holds the line."""

    def __init__(self) -> None:
        self.answer = b""
        self.hold = False
        self._over = threading.Event()
        self._held: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/video"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        for connection in self._held:
            connection.close()
        self._listener.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            try:
                connection.settimeout(2.0)
                connection.recv(4096)
                connection.sendall(self.answer)
            except OSError:
                pass  # the reader has left
            if self.hold:
                self._held.append(connection)
            else:
                connection.close()


@pytest.mark.parametrize("hold", [False, True], ids=["hung up", "held"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_whatever_a_camera_answers_is_an_error_of_its_source_in_one_line(
    kind: str, hold: bool, hostile: HostileCamera
) -> None:
    hostile.answer, hostile.hold = HOSTILE[kind], hold
    source = VideoStreamSource(VideoStreamSource.Config(url=hostile.url, timeout_s=0.5), stream="video0", wants=None)
    errors: list[EdgeRuntimeError] = []
    frames = 0
    try:
        source.open()
        while not errors or isinstance(errors[-1], SourceTimeoutError | BadFrameError):
            try:
                frames += source.read(0.2) is not None
                assert frames < 10
            except SourceError as error:
                errors.append(error)
    except SourceError as error:
        errors.append(error)
    finally:
        source.close()
    assert errors[-1].retryable
    assert "\n" not in str(errors[-1])


class CameraProcess:
    """An RTSP camera in a process group of its own, ffmpeg included."""

    def __init__(self, clip: Path) -> None:
        self._clip = clip
        self._port = free_port()
        self.url = f"rtsp://me:hunter2@127.0.0.1:{self._port}/live"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, rtsp_server.__file__, self._clip, str(self._port)],
            stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, process_group=0,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        assert self._process is not None
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait()
        self._process = None


@pytest.mark.slow
def test_an_rtsp_camera_that_is_frozen_stopped_and_restarted_is_read_again(clip: MakeClip, opened: OpenSource) -> None:
    camera = CameraProcess(clip("live.mp4", *H264, "-g", "5", frames=100))
    camera.start()
    try:
        source = opened(camera.url, timeout_s=2.0)
        read_one(source)
        camera.send(signal.SIGSTOP)
        assert "no answer within 2 s" in str(errors_until_given_up(source, 5.0)[-1])
        with pytest.raises(SourceUnavailableError):
            source.open()
        camera.send(signal.SIGCONT)
        open_again(source)
        read_one(source)
    finally:
        camera.kill()
    assert errors_until_given_up(source, 20.0)[-1].retryable
    camera.start()
    try:
        open_again(source)
        assert read_one(source).format == "rgb"
    finally:
        camera.kill()


def open_again(source: VideoStreamSource) -> None:
    """Open as the capture thread does: again, when the first try came too soon."""
    for _ in range(10):
        try:
            return source.open()
        except SourceError:
            continue
    raise AssertionError("it was not opened in ten tries")


def test_a_file_that_vanishes_while_it_loops_is_a_typed_error(
    clip: MakeClip, opened: OpenSource, tmp_path: Path
) -> None:
    path = tmp_path / "vanishing.mp4"
    path.write_bytes(clip().read_bytes())
    source = opened(path, loop=True)
    read_one(source)
    path.unlink()
    errors: list[SourceError] = []
    for _ in range(100):
        try:
            source.read(20.0)
        except SourceError as error:
            errors.append(error)
            break
    assert "No such file" in str(errors[0])
