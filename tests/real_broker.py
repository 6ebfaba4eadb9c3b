"""A real mosquitto that tests stop, kill and freeze, and someone who listens to it. The fixtures are in conftest.py."""

import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

DEADLINE_S = 20.0


_HELD: list[socket.socket] = []
"""Bound and not listening: a server may bind the port all the same, and nobody else is given it."""


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on, for this process alone until it ends.

    None of those that the system gives to outgoing connections: a client that tries on and on while nobody listens
    may be given the very port it asks for, connect to itself, and keep the broker from coming back.
    """
    for port in random.SystemRandom().sample(range(15_000, 32_000), 100):
        holder = socket.socket()
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            holder.close()
            continue
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after the bind, which so takes no held port
        _HELD.append(holder)
        return port
    raise RuntimeError("no port is free")


def eventually(condition: Callable[[], Any], *, timeout_s: float = DEADLINE_S, what: str = "the condition") -> Any:
    """Return the first true value of ``condition()``; fail when there is none before the deadline."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come true within {timeout_s:g} s")
        time.sleep(0.01)
    return value


class Mosquitto:
    """A mosquitto of one's own on a port of its own, which can be stopped, killed, frozen and started again.

    ``config`` are more lines of mosquitto.conf; without them everybody on the loopback interface may do everything.
    ``tls`` only says how to write ``url``: the listener's TLS options are part of ``config``.
    """

    def __init__(self, folder: Path, *, config: str = "allow_anonymous true", tls: bool = False) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"{'mqtts' if tls else 'mqtt'}://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        user = "user root\n" if os.getuid() == 0 else ""
        (folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\npersistence false\nmax_queued_messages 100000\n{user}{config}\n"
        )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What the broker wrote so far, all its lives together."""
        return (self.folder / "mosquitto.log").read_text(errors="replace")

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [mosquitto_program(), "-v", "-c", str(self.folder / "mosquitto.conf")], stdout=log, stderr=log
            )
        eventually(self._accepts, what="mosquitto accepting connections")

    def _accepts(self) -> bool:
        if not self.running:
            pytest.fail(f"mosquitto ended at once:\n{self.log}")
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """End it in good order (its clients see their connections closed)."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self.thaw()
            self._process.send_signal(number)
            self._process.wait(DEADLINE_S)
            self._process = None

    def restart(self) -> None:
        """Stop it and start it again on the same port."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop it with SIGSTOP: the kernel still accepts connections and bytes, nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen broker go on."""
        if self.running:
            assert self._process is not None
            self._process.send_signal(signal.SIGCONT)


def mosquitto_program() -> str:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        message = "mosquitto is not installed; apt install mosquitto"
        if os.environ.get("EDGE_REQUIRE_E2E") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return program


class Message(NamedTuple):
    """One message as it was received."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class Subscriber:
    """Listens on ``topic`` and keeps what comes, in order; subscribes again by itself after a reconnection."""

    def __init__(self, port: int, topic: str, *, qos: int = 1) -> None:
        import paho.mqtt.client as paho

        self.messages: list[Message] = []
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        if not self._ready.wait(DEADLINE_S):
            pytest.fail(f"nobody confirmed the subscription to {topic}")

    def _on_message(self, _client: Any, _userdata: Any, message: Any) -> None:
        with self._changed:
            self.messages.append(Message(message.topic, message.payload, message.qos, message.retain))
            self._changed.notify_all()

    def on(self, topic: str) -> list[bytes]:
        """The payloads received on exactly this topic so far."""
        return [message.payload for message in list(self.messages) if message.topic == topic]

    def wait_for(
        self, condition: Callable[[list[Message]], Any], *, timeout_s: float = DEADLINE_S, what: str = "the message"
    ) -> list[Message]:
        """Wait until ``condition(messages)`` is true; return the messages. Fails at the deadline."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self.messages), timeout_s):
                pytest.fail(f"{what} did not come within {timeout_s:g} s; last of all: {self.messages[-3:]}")
            return list(self.messages)

    def wait(self, count: int = 1, *, topic: str | None = None, timeout_s: float = DEADLINE_S) -> list[Message]:
        """Wait until ``count`` messages (on ``topic``, if given) are there; return them."""
        self.wait_for(
            lambda messages: sum(topic in (None, message.topic) for message in messages) >= count,
            timeout_s=timeout_s,
            what=f"message number {count}" + (f" on {topic}" if topic else ""),
        )
        return [message for message in list(self.messages) if topic in (None, message.topic)]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
