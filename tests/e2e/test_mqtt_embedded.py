"""The broker we bring along: mosquitto, or amqtt in its place, and that neither outlives us."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from real_broker import DEADLINE_S, eventually

from edge_runtime.errors import BrokerError, UsageError
from edge_runtime.mqtt import embedded
from edge_runtime.mqtt.connection import MqttBus
from edge_runtime.mqtt.embedded import EmbeddedBroker
from edge_runtime.mqtt.settings import BrokerConfig

pytestmark = pytest.mark.e2e


@pytest.fixture(params=["mosquitto", "amqtt"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "amqtt":
        monkeypatch.setenv("PATH", "/nonexistent")
        monkeypatch.setattr(embedded, "_SBIN", "/nonexistent")
    return str(request.param)


def test_it_carries_messages_in_order_and_the_will(kind: str) -> None:
    heard: list[tuple[str, bytes]] = []
    with EmbeddedBroker() as broker:
        assert broker.kind == kind
        endpoint = BrokerConfig(url=broker.url).endpoint()
        listener = MqttBus(endpoint, client_id="listener")
        listener.subscribe("#", lambda topic, payload: heard.append((topic, payload)))
        with listener, MqttBus(endpoint, client_id="device", status_topic="edge-infer/d/status") as bus:
            eventually(lambda: listener.connected and ("edge-infer/d/status", b"online") in heard)
            for i in range(300):
                bus.publish("t", str(i), qos=1)
            assert bus.flush(DEADLINE_S) == 0
            eventually(lambda: len(heard) >= 301)
            bus.close()
            eventually(lambda: heard[-1] == ("edge-infer/d/status", b"offline"))
    assert [payload for topic, payload in heard if topic == "t"] == [str(i).encode() for i in range(300)]


def test_only_this_machine_can_reach_it(kind: str) -> None:
    with EmbeddedBroker() as broker:
        port = int(broker.url.rpartition(":")[2])
        with socket.socket() as probe:
            probe.settimeout(2.0)
            assert probe.connect_ex(("127.0.0.2", port)) != 0, "bound to 127.0.0.1 and nothing else"


def test_a_second_one_takes_another_port(kind: str) -> None:
    with EmbeddedBroker() as one, EmbeddedBroker() as two:
        assert one.url != two.url


def test_it_ends_with_us_even_when_we_are_killed(kind: str) -> None:
    program = (
        "import os\n"
        "from edge_runtime.mqtt import embedded\n"
        f"embedded._SBIN = {embedded._SBIN!r}\n"
        "broker = embedded.EmbeddedBroker(); broker.open()\n"
        "print(broker.pid, broker.url.rpartition(':')[2], flush=True); os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL
    port = int(done.stdout.split()[1])

    def is_gone() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    eventually(is_gone, what="the broker's end")


def test_closing_leaves_no_process_and_no_file(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    broker = EmbeddedBroker()
    broker.open()
    assert len(list(tmp_path.iterdir())) == 1
    pid = broker.pid
    assert pid is not None
    broker.close()
    broker.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_port_in_use_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BrokerError, match="in use"):
        EmbeddedBroker(port=taken.getsockname()[1]).open()


def test_a_broker_that_does_not_start_is_said_with_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mosquitto").write_text("#!/bin/sh\necho no room left >&2\nexit 1\n")
    (tmp_path / "mosquitto").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    broker = EmbeddedBroker()
    with pytest.raises(BrokerError, match="no room left"):
        broker.open()
    assert broker.pid is None


def test_without_any_broker_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(embedded, "_SBIN", "/nonexistent")
    monkeypatch.setattr(embedded, "_amqtt_is_installed", lambda: False)
    with pytest.raises(UsageError, match="apt install mosquitto"):
        EmbeddedBroker().open()
