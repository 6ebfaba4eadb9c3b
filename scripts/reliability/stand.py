"""What the reliability scripts share: the real command, a real broker, and someone who writes down what arrives."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
# The broker that is killed and frozen, and the libraries that are built, are those of the tests.
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests"), str(REPOSITORY / "scripts" / "benchmarks")]

from real_broker import Mosquitto  # noqa: E402

DEVICE = "stand"
DIGITS = REPOSITORY / "edge_runtime" / "demo" / "digits.tflite"
PERSISTENT = (
    "allow_anonymous true\npersistence true\nautosave_interval 1\nmax_queued_messages 0\nmax_inflight_messages 1000"
)
"""The settings that docs/mqtt.md asks of a broker that shall lose nothing."""


class StandError(Exception):
    """The stand itself does not work: nothing can be said of the daemon."""


def wait_until(condition: Callable[[], Any], *, timeout_s: float, what: str) -> Any:
    """Return the first true value of ``condition()``. Raises StandError when none came in time."""
    deadline_s = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline_s:
            raise StandError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.02)
    return value


def broker(folder: Path, *, config: str = PERSISTENT) -> Mosquitto:
    """Return a broker of our own, not started yet, that keeps what it acknowledged in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)  # mosquitto may change to a user of its own
    return Mosquitto(folder, config=f"{config}\npersistence_location {folder}/")


def write_config(path: Path, *, broker_url: str, sources: Sequence[Mapping[str, Any]], **sections: Any) -> Path:
    """Write a configuration for the device ``stand`` that publishes every prediction; values are JSON, as TOML is."""
    parts: dict[str, Mapping[str, Any]] = {
        "model": {"path": str(DIGITS)},
        "engine": {"threads": 1},
        "broker": {"url": broker_url},
        "publish": {"policy": "all"},
        "stats": {"interval_s": 2.0},
    }
    for name, values in sections.items():
        parts[name] = {**parts.get(name, {}), **values}
    tables = [(f"[{name}]", values) for name, values in parts.items()] + [("[[source]]", values) for values in sources]
    lines = [f'device_id = "{DEVICE}"']
    for header, values in tables:
        lines += ["", header, *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


def keep_mounts_private() -> bool:
    """Mount from now on for this process and its children only, so that nothing is left behind, however it ends.

    False where that is not allowed: it needs root.
    """
    own_mounts = 0x20000  # CLONE_NEWNS, sched.h; os.unshare comes with Python 3.12
    if os.getuid() != 0 or ctypes.CDLL(None).unshare(own_mounts) != 0:
        return False
    return subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, check=False).returncode == 0


class Daemon:
    """The real command, started again and again with one configuration and one state directory."""

    def __init__(
        self, folder: Path, config: Path, *, state: Path, words: Sequence[str] = (), **environment: str
    ) -> None:
        self.log = folder / "daemon.log"
        self._command = [sys.executable, *(words or ("-m", "edge_runtime")), "--config", str(config)]
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("EDGE_INFER_")}
        own = {
            "EDGE_INFER_STATE_DIR": str(state),
            "PYTHONPATH": str(REPOSITORY),
            "JOURNAL_STREAM": "no answers on screen",
        }
        self._environment |= own | environment
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        self.starts += 1

    def kill(self) -> None:
        """End it with SIGKILL, whatever it is doing."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s: float = 20.0) -> int:
        """End it in good order; return its exit status. Raises StandError when it does not end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise StandError(f"the daemon did not end within {timeout_s:g} s of SIGTERM") from error


@contextlib.contextmanager
def ended(*things: Any) -> Iterator[None]:
    """Kill daemons and brokers at the end, whatever happened, SIGTERM to this script included."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        for thing in things:
            if thing.running:
                thing.kill()


class Record:
    """A subscriber with a session that the broker keeps: every message of the device with the time it came."""

    def __init__(self, port: int, *, client_id: str = "record", topic: str = f"edge-infer/{DEVICE}/#") -> None:
        import paho.mqtt.client as paho

        self.messages: list[tuple[float, str, bytes]] = []
        """Wall time in seconds, topic, payload; appended by the client's thread."""
        self._granted = False
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, 1)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        wait_until(lambda: self._granted, timeout_s=20, what="the subscription of the record")

    def _on_subscribe(self, *_: Any) -> None:
        self._granted = True

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        self.messages.append((time.time(), message.topic, message.payload))

    def latest(self, topic: str) -> Any:
        """Return the newest JSON document on ``edge-infer/stand/<topic>``, None before the first."""
        wanted = f"edge-infer/{DEVICE}/{topic}"
        for _, name, payload in reversed(self.messages):
            if name == wanted:
                return json.loads(payload)
        return None

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def machine() -> dict[str, Any]:
    """Return where and with what a run took place, for the ledger."""
    import platform
    from importlib.metadata import version

    names = ("ai-edge-litert", "paho-mqtt", "numpy", "pillow", "av")
    import sqlite3

    return {
        "date": time.strftime("%Y-%m-%d"),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "packages": {name: version(name) for name in names},
    }
