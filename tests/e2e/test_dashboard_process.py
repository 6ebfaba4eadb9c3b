"""The dashboard as the daemon starts it: settings on standard input, and gone when that closes."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.e2e
SECRET = "the-brokers-password"


class Child:
    """A running ``python -m edge_runtime.dashboard``."""

    def __init__(self, settings: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge_runtime.dashboard"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        line = settings if isinstance(settings, str) else json.dumps(settings)
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        self.first_line = self.process.stderr.readline().rstrip()

    @property
    def url(self) -> str:
        match = re.fullmatch(r"dashboard: (http://\S+)", self.first_line)
        assert match, self.first_line
        return match[1]

    def state(self) -> str:
        with urllib.request.urlopen(f"{self.url}api/state", timeout=10) as answer:
            return str(answer.read().decode())

    def end(self) -> tuple[int, str]:
        """Close its standard input, as a parent that dies does; return the status and the rest of what it said."""
        _, rest = self.process.communicate(timeout=15)
        return self.process.returncode, rest


@pytest.fixture
def child() -> Iterator[Callable[[Any], Child]]:
    children: list[Child] = []

    def make(settings: Any) -> Child:
        children.append(Child(settings))
        return children[-1]

    yield make
    for one in children:
        one.process.kill()
        one.process.communicate()


def test_it_serves_until_its_parent_is_gone(child: Callable[[Any], Child], mosquitto: Any) -> None:
    broker = {"url": mosquitto.url, "username": "porch", "password": SECRET}
    one = child({"host": "127.0.0.1", "port": 0, "token": None, "broker": broker})
    deadline = time.monotonic() + 15
    while json.loads(one.state())["broker"]["state"] != "connected":
        assert time.monotonic() < deadline, one.state()
        time.sleep(0.05)
    assert SECRET not in one.state()
    assert one.end() == (0, "")


def test_a_login_that_is_refused_is_shown_as_such(child: Callable[[Any], Child], make_mosquitto: Any) -> None:
    broker = make_mosquitto(config="allow_anonymous false")
    broker.start()
    one = child({"port": 0, "broker": {"url": broker.url}})
    deadline = time.monotonic() + 15
    while (state := json.loads(one.state())["broker"])["state"] != "refused":
        assert time.monotonic() < deadline, state
        time.sleep(0.05)
    assert "authori" in state["detail"]


def test_on_other_addresses_a_token_is_made_and_printed(child: Callable[[Any], Child]) -> None:
    one = child({"host": "0.0.0.0", "port": 0, "broker": {"url": "mqtt://127.0.0.1:1"}})
    assert re.fullmatch(r"http://[^/]+:\d+/\?token=[\w-]{32}", one.url)
    assert one.end() == (0, "")


def test_a_port_in_use_is_one_line_and_status_1(child: Callable[[Any], Child]) -> None:
    first = child({"port": 0, "broker": {"url": "mqtt://127.0.0.1:1"}})
    port = int(first.url.rstrip("/").rpartition(":")[2])
    second = child({"port": port})
    assert second.first_line.endswith(f"port {port} is in use; choose another with --dashboard HOST:PORT")
    assert second.end() == (1, "")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("no json", "JSON"),
        ("", "JSON"),
        ({"prot": 8080}, "prot"),
        ({"broker": {"url": "http://broker"}}, "mqtt://"),
        ({"token": "short"}, "at least 16 characters"),
        ({"broker": {"url": "mqtts://broker", "ca_file": "/nowhere/ca.pem"}}, "/nowhere/ca.pem"),
    ],
)
def test_settings_that_make_no_sense_are_one_line_and_status_2(
    child: Callable[[Any], Child], settings: Any, words: str
) -> None:
    one = child(settings)
    assert words in one.first_line
    assert one.end() == (2, "")
