"""Runs inside the virtual machine of the test ``camera``: one line for each promise that was seen to hold, or not.

Arguments: the port of the broker on the machine outside, and a model file. Devices: /dev/video0 and /dev/video1 are
kernel test cameras (vivid; they come and go together), /dev/video9 is a loopback that plays Motion-JPEG.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import paho.mqtt.client as mqtt
from ledger import Ledger
from PIL import Image

from edge_runtime.errors import EdgeRuntimeError, SourceError, SourceTimeoutError
from edge_runtime.preprocess.picture import upright
from edge_runtime.sources.v4l2 import V4L2Config, V4L2Source
from edge_runtime.types import Frame, View

BROKER = "10.0.2.2"
VIVID = Path("/sys/bus/platform/drivers/vivid")
COMMAND = str(Path(sys.executable).with_name("edge-infer"))
PATIENCE_S = 40.0


@contextlib.contextmanager
def camera(**settings: object) -> Iterator[V4L2Source]:
    source = V4L2Source(V4L2Config(**settings), stream="camera0", wants=None)
    try:
        source.open()
        yield source
    finally:
        source.close()


def read(source: V4L2Source, count: int = 1) -> list[Frame]:
    """Read whole frames; everything in this machine is slow, so a late one is waited for."""
    frames: list[Frame] = []
    give_up = time.monotonic() + PATIENCE_S
    while len(frames) < count:
        assert time.monotonic() < give_up, f"{len(frames)} of {count} frames in {PATIENCE_S:g} s"
        with contextlib.suppress(SourceTimeoutError):
            frame = source.read(2.0)
            assert frame is not None
            frames.append(frame)
    return frames


def refused(**settings: object) -> str:
    try:
        with camera(**settings):
            pass
    except EdgeRuntimeError as error:
        return str(error)
    raise AssertionError("it opened")


def enumeration() -> str:
    listed = subprocess.run([COMMAND, "--list-cameras", "--json"], capture_output=True, text=True, check=True)
    document = json.loads(listed.stdout)
    found = {each["device"]: each for each in document["cameras"]}
    assert set(found) == {"/dev/video0", "/dev/video1", "/dev/video9"}, set(found)
    assert all(each["usable"] for each in found.values()), found
    assert {each["format"] for each in found["/dev/video9"]["formats"]} == {"mjpeg"}
    assert "yuyv" in {each["format"] for each in found["/dev/video0"]["formats"]}
    return f"{len(found)} cameras, default {document['default']}"


def yuyv() -> str:
    with camera(device="/dev/video0", format="yuyv", size=(640, 360), fps=15.0) as source:
        frames = read(source, 5)
    assert {(frame.format, frame.data.shape) for frame in frames} == {("yuyv", (360, 640, 2))}
    assert [frame.sequence for frame in frames] == list(range(5))
    return "640x360"


def kernel_time() -> str:
    with camera(device="/dev/video0", format="gray", size=(320, 180), fps=5.0) as source:
        stamps = [source._device.take().stamp_ns for _ in range(6) if source._device.wait(5.0)]  # noqa: SLF001
    gaps_ms = np.diff(stamps) / 1e6
    assert np.all(gaps_ms > 0), gaps_ms
    # The driver's clock ticks in steps of 4 ms; frames it could not keep up with leave whole gaps.
    assert np.all(np.abs(gaps_ms / 200 - np.rint(gaps_ms / 200)) < 0.1), gaps_ms
    assert abs(stamps[-1] - time.monotonic_ns()) < 5e9
    return f"CLOCK_MONOTONIC, multiples of 200 ms at 5 frames/s: {', '.join(f'{gap:.1f}' for gap in gaps_ms)}"


def colours() -> str:
    pictures = {}
    for name in ("rgb", "bgr", "yuyv", "uyvy", "i420"):
        with camera(device="/dev/video0", format=name, size=(640, 360)) as source:
            # Below the lines of text that the driver writes over its colour bars.
            pictures[name] = upright(read(source)[0], View())[250:340].astype(np.int16)
    worst = {name: np.abs(pictures[name] - pictures["rgb"]).mean() for name in ("bgr", "yuyv", "uyvy", "i420")}
    assert max(worst.values()) < 6, worst
    return ", ".join(f"{name} {value:.1f}" for name, value in worst.items()) + " levels from rgb on average"


def mjpeg() -> str:
    with camera(device="/dev/video9") as source:
        frames = read(source, 3)
        assert source.describe()["format"] == "mjpeg"
    data = frames[-1].data
    assert isinstance(data, bytes)
    assert data[:2] == b"\xff\xd8"
    with Image.open(BytesIO(data)) as picture:
        picture.load()
        assert picture.size == (1280, 720)
    return f"JPEG of {len(data)} bytes, decodes as 1280x720"


def two_at_once() -> str:
    with camera() as first, camera() as second:
        devices = [source.describe()["device"] for source in (first, second)]
        assert devices[0] != devices[1], devices
        for _ in range(5):
            read(first)
            read(second)
    return f"without naming a device: {' and '.join(devices)}"


def busy() -> str:
    script = (
        "import sys\nfrom edge_runtime.sources.v4l2 import *\n"
        "s = V4L2Source(V4L2Config(device='/dev/video1'), stream='c', wants=None)\n"
        "s.open()\nprint('held', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        said = refused(device="/dev/video1")
        other.communicate()
    assert f"(pid {other.pid})" in said, said
    return said


def forbidden() -> str:
    device = Path("/dev/video1")
    os.chown(device, 0, 44)
    device.chmod(0o660)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os.write(writing, refused(device=str(device)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    said = os.read(reading, 10_000).decode()
    assert "sudo usermod -aG video nobody" in said, said
    return said


def no_camera() -> str:
    said = [refused(device=path) for path in ("/dev/null", "/dev/video77", "/dev/v4l-subdev0")]
    assert "/dev/null is not a camera" in said[0]
    assert all("is not there" in each for each in said[1:])
    return said[0]


def plug(*, into: bool) -> None:
    (VIVID / ("bind" if into else "unbind")).write_text("vivid.0")


def until_open(source: V4L2Source) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            source.open()
        except SourceError:
            assert time.monotonic() < give_up
            time.sleep(0.5)
        else:
            return


def unplugged() -> str:
    # Somebody who still holds the old device keeps its number, so that the camera must come back under another one.
    with camera() as source, Path("/dev/video0").open("rb"), Path("/dev/video1").open("rb"):
        before = source.describe()
        read(source, 2)
        plug(into=False)
        try:
            for _ in range(20):
                read(source)
        except SourceError as error:
            said = str(error)
        else:
            raise AssertionError("it went on without a camera")
        plug(into=True)
        until_open(source)
        read(source, 2)
        after = source.describe()
    assert (after["name"], after["bus"]) == (before["name"], before["bus"])
    assert after["device"] != before["device"]
    plug(into=False)
    plug(into=True)  # nobody holds the old number any more: back to /dev/video0
    return f"{said}; then {before['device']} was found again as {after['device']}"


def daemon(port: int, model: str) -> str:
    messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
    listener = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    listener.on_message = lambda _client, _data, message: messages.put(message)
    listener.connect(BROKER, port)
    listener.subscribe("edge-infer/#", qos=1)
    listener.loop_start()

    def expect(topic: str, holds: Callable[[dict], bool] = lambda _value: True) -> dict:
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            if runtime.poll() is not None:
                break
            try:
                message = messages.get(timeout=1.0)
            except queue.Empty:
                continue
            if message.topic == f"edge-infer/vm/{topic}" and holds(value := json.loads(message.payload)):
                return value
        runtime.kill()
        raise AssertionError(f"no fitting message on {topic}; edge-infer said: {runtime.communicate()[1]}")

    command = [COMMAND, "--camera", "/dev/video0", "--camera", "/dev/video9", "--model", model, "--device-id", "vm"]
    command += ["--broker", f"mqtt://{BROKER}:{port}", "--publish", "all"]
    runtime = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        before = expect("camera0/prediction")["seq"]
        expect("camera1/prediction")
        plug(into=False)
        expect("camera0/status", lambda value: value["state"] == "offline")
        expect("camera1/prediction")
        plug(into=True)
        expect("camera0/status", lambda value: value["state"] == "online")
        after = expect("camera0/prediction", lambda value: value["seq"] > before)["seq"]
        runtime.send_signal(signal.SIGTERM)
        said = runtime.communicate(timeout=PATIENCE_S)[1]
    finally:
        runtime.kill()
        listener.loop_stop()
    assert runtime.returncode == 0, f"status {runtime.returncode}: {said}"
    assert "Traceback" not in said, said
    return f"seq {before} before it was pulled out, {after} after it was back; the other camera went on"


def main(port: int, model: str) -> int:
    ledger = Ledger("camera", EdgeRuntimeError)
    show = ledger.show
    show("cameras are found by what they can do", enumeration)
    show("YUYV is captured at the size and rate asked for", yuyv)
    show("frames carry the kernel's time stamps", kernel_time)
    show("every format with colours gives the same ones", colours)
    show("Motion-JPEG arrives undecoded", mjpeg)
    show("two cameras deliver at once", two_at_once)
    show("a camera in use is refused, and by whom it is used is said", busy)
    show("who may not open a camera is told what to do", forbidden)
    show("what is no camera is refused", no_camera)
    show("a camera pulled out and put back is found again", unplugged)
    show("edge-infer: two cameras to a broker outside, one pulled out and put back", lambda: daemon(port, model))
    return ledger.end()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
