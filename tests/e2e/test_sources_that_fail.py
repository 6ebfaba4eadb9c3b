"""A camera on the network that freezes or dies and comes back, beside one that goes on: through the command."""

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from real_broker import Mosquitto, Subscriber, eventually, free_port
from rtsp_server import RtspCamera

pytest.importorskip("av")
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]
REPOSITORY = Path(__file__).parents[2]
DIGITS = REPOSITORY / "edge_runtime/demo/digits.tflite"
PATIENCE_S = 60.0
FRAMES = 12
"""Predictions of the other source that must come while one is dead."""


class CameraProcess:
    """The MJPEG camera of scripts/reliability in a process of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = REPOSITORY / "scripts/reliability/camera_server.py"
        self._process = subprocess.Popen([sys.executable, program, str(self.port)], stderr=subprocess.DEVNULL)
        eventually(self._listens, timeout_s=PATIENCE_S, what="the camera")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def camera() -> Iterator[CameraProcess]:
    made = CameraProcess()
    made.start()
    yield made
    made.end()


@pytest.fixture
def watch(
    tmp_path: Path, edge_infer: Any, mosquitto: Mosquitto, subscriber: Callable[..., Subscriber]
) -> Callable[..., Subscriber]:
    """``watch(url)`` runs the command with that stream and a steady source, and returns a listener."""

    def start(url: str) -> Subscriber:
        listener = subscriber("edge-infer/two/#")
        config = tmp_path / "two.toml"
        config.write_text(
            f'device_id = "two"\n[model]\npath = "{DIGITS}"\n[broker]\nurl = "{mosquitto.url}"\n'
            '[publish]\npolicy = "all"\n'
            f'[[source]]\ntype = "video_stream"\nname = "net"\nurl = "{url}"\ntimeout_s = 2\n'
            '[[source]]\ntype = "demo"\nname = "steady"\nfps = 10\n'
        )
        edge_infer.start("--config", config)
        listener.wait(3, topic="edge-infer/two/steady/prediction", timeout_s=PATIENCE_S)
        return listener

    return start


def states(listener: Subscriber) -> list[str]:
    return [json.loads(payload)["state"] for payload in listener.on("edge-infer/two/net/status")]


def more_of(listener: Subscriber, stream: str, count: int) -> None:
    topic = f"edge-infer/two/{stream}/prediction"
    listener.wait(len(listener.on(topic)) + count, topic=topic, timeout_s=PATIENCE_S)


def await_state(listener: Subscriber, wanted: str) -> None:
    listener.wait_for(lambda _: states(listener)[-1:] == [wanted], timeout_s=PATIENCE_S, what=f"net {wanted}")


def await_trouble(listener: Subscriber) -> None:
    listener.wait_for(lambda _: states(listener)[-1:] != ["online"], timeout_s=PATIENCE_S, what="the word of it")


@pytest.mark.parametrize("way", ["frozen", "killed"])
def test_a_camera_that_dies_is_said_and_taken_again_and_slows_no_other(
    way: str, camera: CameraProcess, watch: Callable[..., Subscriber]
) -> None:
    listener = watch(f"http://127.0.0.1:{camera.port}/video")
    more_of(listener, "net", 3)
    await_state(listener, "online")
    camera.send(signal.SIGSTOP) if way == "frozen" else camera.end()
    await_trouble(listener)
    more_of(listener, "steady", FRAMES)
    camera.send(signal.SIGCONT) if way == "frozen" else camera.start()
    more_of(listener, "net", 3)
    await_state(listener, "online")


@pytest.fixture
def rtsp(tmp_path: Path) -> Iterator[RtspCamera]:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    made = RtspCamera(tmp_path, free_port())
    made.start()
    yield made
    made.kill()


def test_an_rtsp_camera_may_send_anything_and_slows_no_other(
    rtsp: RtspCamera, watch: Callable[..., Subscriber]
) -> None:
    listener = watch(rtsp.url)
    more_of(listener, "net", 3)
    await_state(listener, "online")
    rtsp.resize(large=True)
    more_of(listener, "net", 12)
    for packets in ("garbage", "truncated", "noise"):
        rtsp.spoil(packets)
        more_of(listener, "steady", FRAMES)
        rtsp.spoil("sound")
        more_of(listener, "net", 3)
        await_state(listener, "online")
    rtsp.send(signal.SIGSTOP)
    await_trouble(listener)
    more_of(listener, "steady", FRAMES)
    rtsp.send(signal.SIGCONT)
    more_of(listener, "net", 3)
    await_state(listener, "online")
    rtsp.kill()
    await_trouble(listener)
    more_of(listener, "steady", FRAMES)
    rtsp.start()
    more_of(listener, "net", 3)
    await_state(listener, "online")
    assert all(payload.count(b"hunter2") == 0 for payload in listener.on("edge-infer/two/net/status"))
