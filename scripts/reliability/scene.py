"""Everything a chaos run is made of: broker, wire, camera, disk, delegate, the daemon, its ledger and its reader."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import stand
from account import CONNECTED_S, DISCONNECTED_S, Entry, Kill, entry_of, read_ledger
from native_libraries import build_fake_edgetpu
from real_broker import free_port
from rtsp_server import RtspCamera
from wire import Wire

DISK_MIB = 8
CAMERA, STEADY, RTSP = "camera0", "steady", "rtsp"
INVOKE_TIMEOUT_S = 2.0
FPS = 10.0


class Camera:
    """The MJPEG camera's process."""

    def __init__(self) -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}/video"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        program = Path(__file__).with_name("camera_server.py")
        self._process = subprocess.Popen([sys.executable, str(program), str(self._port), "--fps", f"{FPS:g}"])
        stand.wait_until(self._listens, timeout_s=60, what="the camera")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


class Disk:
    """The state directory on a small file system of its own; where that may not be mounted it is a plain folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0700", "edge-chaos", str(folder)]
        may_mount = stand.keep_mounts_private()
        self.small = may_mount and subprocess.run(command, capture_output=True, check=False).returncode == 0
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        if self.small:
            subprocess.run(["umount", str(self.path)], check=True)


class Delegate:
    """The library that stands in for an Edge TPU, and the file that tells it how to fail."""

    def __init__(self, folder: Path) -> None:
        self._orders = folder / "delegate.orders"
        self.library = build_fake_edgetpu(folder)
        self.model = folder / "chaos_edgetpu.tflite"
        self.model.write_bytes(_compiled_model())
        self.environment = {"FAKE_EDGETPU": f"@{self._orders}"}

    def order(self, what: str) -> None:
        """Have every invoke from now on do ``what``; nothing in particular when empty."""
        fresh = self._orders.with_suffix(".new")
        fresh.write_text(what)
        fresh.rename(self._orders)


class Scene:
    """Puts the parts together, and knows what has arrived. ``kills`` is what happened to the daemon."""

    def __init__(self, folder: Path) -> None:
        self.ledger_path = folder / "ledger.jsonl"
        self.broker = stand.broker(folder / "broker")
        self.camera = Camera()
        self.disk = Disk(folder / "state")
        self.delegate = Delegate(folder)
        self.wire = Wire(self.broker.port)
        sources = [
            {"type": "video_stream", "name": CAMERA, "url": self.camera.url, "timeout_s": 3.0},
            {"type": "demo", "name": STEADY, "fps": FPS, "size": [160, 120]},
        ]
        self.rtsp = RtspCamera(folder, free_port()) if shutil.which("ffmpeg") else None
        if self.rtsp is not None:
            sources.append({"type": "video_stream", "name": RTSP, "url": self.rtsp.url, "timeout_s": 3.0})
        self.streams = {str(source["name"]) for source in sources}
        config = stand.write_config(
            folder / "chaos.toml",
            broker_url=f"mqtt://127.0.0.1:{self.wire.port}",
            sources=sources,
            model={"path": str(self.delegate.model), "task": "classify"},
            engine={"delegate": str(self.delegate.library), "invoke_timeout_s": INVOKE_TIMEOUT_S},
            publish={"jsonl": str(self.ledger_path)},
        )
        self.daemon = stand.Daemon(folder, config, state=self.disk.path, **self.delegate.environment)
        self.kills: list[Kill] = []
        self.record: stand.Record | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        try:
            cameras = [self.camera] if self.rtsp is None else [self.camera, self.rtsp]
            with stand.ended(self.daemon, self.broker, *cameras):
                self.broker.start()
                for camera in cameras:
                    camera.start()
                self.record = stand.Record(self.broker.port)
                self.daemon.start()
                self.wait(lambda: self.streams <= self.streams_since(0.0), timeout_s=60, what="all streams")
                yield
        finally:
            if self.record is not None:
                self.record.close()
            self.wire.close()
            self.disk.close()

    def wait(self, condition: Any, *, timeout_s: float, what: str) -> None:
        if not self.daemon.running:
            raise stand.StandError(f"the daemon ended by itself; see {self.daemon.log}")
        stand.wait_until(condition, timeout_s=timeout_s, what=what)

    def kill_daemon(self) -> None:
        """Kill it, note what the promise allows to be lost, and start it again."""
        connected = self.wire.was_connected(within_s=DISCONNECTED_S)
        self.kills.append(Kill(time.time(), CONNECTED_S if connected else DISCONNECTED_S))
        self.daemon.kill()
        self.daemon.start()

    def arrived(self) -> list[Entry]:
        """Return every prediction the reader got, in order, repetitions included."""
        assert self.record is not None
        messages = list(self.record.messages)
        return [entry for _, topic, body in messages if topic.endswith("/prediction") and (entry := entry_of(body))]

    def streams_since(self, since_s: float) -> set[str]:
        """Return the streams of which a prediction arrived that was made after a wall time."""
        assert self.record is not None
        found = set()
        for _, topic, body in self.record.messages[-200:]:
            if topic.endswith("/prediction") and (entry := entry_of(body)) and entry.handed_s > since_s:
                found.add(entry.key.stream)
        return found

    def predicted_since(self, since_s: float) -> dict[str, int]:
        """Return how many predictions of each stream the ledger has since a wall time."""
        found = dict.fromkeys(self.streams, 0)
        for entry in self._newest():
            if entry.handed_s > since_s:
                found[entry.key.stream] += 1
        return found

    def _newest(self) -> list[Entry]:
        size = self.ledger_path.stat().st_size
        with self.ledger_path.open("rb") as file:
            file.seek(max(0, size - 400_000))
            return [entry for line in file if (entry := entry_of(line))]

    def is_drained(self) -> bool:
        """Tell whether everything in the ledger so far has arrived or been acknowledged, but for the last moments."""
        stats = self.record.latest("stats") if self.record else None
        return bool(stats) and stats["broker"]["connected"] and stats["outbox"]["bytes"] == 0

    def states_since(self, stream: str, since_s: float) -> list[str]:
        """Return what was said of a stream's state after a wall time, in order."""
        assert self.record is not None
        wanted = f"/{stream}/status"
        said = [body for at_s, topic, body in self.record.messages if at_s > since_s and topic.endswith(wanted)]
        return [json.loads(body)["state"] for body in said]

    def outbox_error(self) -> str | None:
        assert self.record is not None
        stats = self.record.latest("stats")
        return stats["outbox"]["error"] if stats else None

    def ledger(self) -> list[Entry]:
        return read_ledger(self.ledger_path)


def _compiled_model() -> bytes:
    """Return a model with one operator that only the delegate can run."""
    sys.path.insert(0, str(stand.REPOSITORY / "tests" / "unit"))
    from model_files import Op, T, build_model

    picture = T((1, 32, 32, 3), "uint8", 1 / 255, name="picture")
    scores = T((1, 10), "uint8", 1 / 256, name="scores")
    return build_model([picture], [scores], ops=[Op("edgetpu-custom-op", [0], [1])])
