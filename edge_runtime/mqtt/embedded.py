"""A broker of our own for ``--broker embedded`` and the demo: mosquitto where it is installed, else amqtt.

It listens on the loopback interface only, keeps nothing, and ends with this process, however this process ends.
"""

import importlib.util
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal, Self

from edge_runtime.errors import BrokerError, UsageError

DEFAULT_PORT = 1883
START_TIMEOUT_S = 10.0
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG, linux/prctl.h
if os.getppid() == int(sys.argv[1]):  # else it died before the kernel was asked
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""A program that becomes the broker, after asking the kernel to end it with us; kept over exec. Ours to run before
the exec in a process of its own, because code between fork and exec is not safe beside threads."""
_SBIN = "/usr/sbin:/usr/local/sbin"  # where Debian puts mosquitto, and not on everybody's PATH
_NOT_INSTALLED = (
    "no broker to embed: install mosquitto (sudo apt install mosquitto), or for a demonstration "
    "`pip install amqtt`; or name a broker with --broker URL"
)

log = logging.getLogger(__name__)


class EmbeddedBroker:
    """A context in which a broker runs at ``url``. The constructor does no I/O.

    ``kind`` is ``mosquitto`` or ``amqtt``; the second is for demonstration only (MQTT 3.1.1, loses QoS 1 messages of
    offline sessions). Port 1883 where it is free, else any.
    """

    def __init__(self, *, port: int | None = None) -> None:
        self.kind: Literal["mosquitto", "amqtt"] = "mosquitto"
        self._wanted_port = port
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def url(self) -> str:
        """Where it listens; valid after ``open``."""
        return f"mqtt://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The broker's process, None while there is none."""
        return None if self._process is None else self._process.pid

    def open(self) -> None:
        """Start it and wait until it accepts connections; it ends with the thread that calls this (the main one).

        Raises UsageError when neither broker is installed, BrokerError when it does not start.
        """
        mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path=_SBIN)
        if mosquitto is None and not _amqtt_is_installed():
            raise UsageError(_NOT_INSTALLED)
        self._port = _choose_port(self._wanted_port)
        self._folder = tempfile.TemporaryDirectory(prefix="edge-infer-broker-")  # made with mode 0700
        folder = Path(self._folder.name)
        if mosquitto is not None:
            self.kind = "mosquitto"
            command = [mosquitto, "-c", str(_write_mosquitto_config(folder, self._port))]
        else:
            self.kind = "amqtt"
            command = [sys.executable, "-m", "edge_runtime.mqtt._amqtt_child", str(self._port)]
            log.warning("mosquitto is not installed: amqtt stands in, for demonstration only")
        with (folder / "broker.log").open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for us; the broker must outlive our last message
            )
        try:
            self._wait_until_it_accepts(folder / "broker.log")
        except BrokerError:
            self.close()
            raise

    def close(self) -> None:
        """End it; may be called twice."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(2.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> Self:
        """Open."""
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _wait_until_it_accepts(self, output: Path) -> None:
        assert self._process is not None
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            if self._process.poll() is not None:
                lines = output.read_text(errors="replace").strip().splitlines() or ["without a word"]
                raise BrokerError(f"the embedded broker ({self.kind}) did not start: {lines[-1]}")
            with socket.socket() as probe:
                probe.settimeout(0.5)
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            if time.monotonic() > deadline_s:
                raise BrokerError(f"the embedded broker ({self.kind}) does not answer within {START_TIMEOUT_S:g} s")
            time.sleep(0.01)


def _amqtt_is_installed() -> bool:
    return importlib.util.find_spec("amqtt") is not None


def _choose_port(wanted: int | None) -> int:
    """Return the wanted port, else 1883, else any; looked at first, for whoever holds it would accept our probe."""
    for port in (DEFAULT_PORT, 0) if wanted is None else (wanted,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise BrokerError(f"the embedded broker's port {wanted or DEFAULT_PORT} is in use on the loopback interface")


def _write_mosquitto_config(folder: Path, port: int) -> Path:
    path = folder / "mosquitto.conf"
    # As root mosquitto would become the user `mosquitto`, who cannot read this folder.
    user = "user root\n" if os.geteuid() == 0 else ""
    path.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 10000\n{user}"
    )
    return path
