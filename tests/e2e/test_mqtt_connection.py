"""The connection against a real mosquitto that is late, restarted, killed, frozen, or refuses."""

import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from real_broker import Mosquitto, Subscriber, eventually

from edge_runtime.mqtt.connection import MqttBus
from edge_runtime.mqtt.outbox import Outbox
from edge_runtime.mqtt.settings import BrokerConfig

pytestmark = pytest.mark.e2e
STATUS = "edge-infer/dev/status"
TOPIC = "edge-infer/dev/camera0/prediction"
Connect = Callable[..., MqttBus]


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """``connect(url, outbox=True, ...)`` returns an open bus, closed with the test."""
    made: list[MqttBus] = []

    def make(url: str, *, outbox: bool = True, status: str | None = STATUS, **settings: Any) -> MqttBus:
        endpoint = BrokerConfig(url=url, **settings).endpoint()
        box = Outbox(tmp_path / "state" / "outbox.db") if outbox else None
        bus = MqttBus(endpoint, client_id="edge-infer-dev", status_topic=status, outbox=box)
        bus.open()
        made.append(bus)
        return bus

    yield make
    for bus in made:
        bus.close(0.2)


def connected(bus: MqttBus) -> MqttBus:
    eventually(lambda: bus.connected, what="the connection")
    return bus


def hear(bus: MqttBus, topic: str = TOPIC) -> list[int]:
    """Have ``bus`` listen to itself: it subscribes before it sends what waited, so it hears all of it."""
    heard: list[int] = []
    bus.subscribe(topic, lambda _topic, payload: heard.append(int(payload)))
    return heard


def first_time(seen: list[int]) -> list[int]:
    """What a reader keeps that drops what it has had."""
    kept: list[int] = []
    for number in seen:
        if number > (kept[-1] if kept else -1):
            kept.append(number)
    return kept


def test_status_is_online_then_offline_and_the_will_speaks_for_a_dead_device(
    mosquitto: Mosquitto, subscriber: Callable[..., Subscriber], connect: Connect
) -> None:
    listener = subscriber()
    bus = connected(connect(mosquitto.url))
    listener.wait_for(lambda _: listener.on(STATUS) == [b"online"])
    bus.close()
    listener.wait_for(lambda _: listener.on(STATUS) == [b"online", b"offline"])
    program = (
        "import os, sys, time\n"
        "from edge_runtime.mqtt.connection import MqttBus\n"
        "from edge_runtime.mqtt.settings import BrokerConfig\n"
        f"bus = MqttBus(BrokerConfig(url=sys.argv[1]).endpoint(), client_id='x', status_topic={STATUS!r})\n"
        "bus.open()\n"
        "while not bus.connected: time.sleep(0.01)\n"
        "bus.flush(5); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, mosquitto.url], check=False, timeout=30)
    listener.wait_for(lambda _: listener.on(STATUS)[2:] == [b"online", b"offline"])
    late = subscriber(STATUS)
    assert late.wait(1)[0].retain


def test_messages_arrive_in_order_at_their_qos_and_nothing_is_written(
    mosquitto: Mosquitto, subscriber: Callable[..., Subscriber], connect: Connect, tmp_path: Path
) -> None:
    listener = subscriber(TOPIC)
    bus = connected(connect(mosquitto.url))
    for i in range(1000):
        bus.publish(TOPIC, str(i), qos=1)
    assert bus.flush(10.0) == 0
    messages = listener.wait(1000)
    assert [int(message.payload) for message in messages] == list(range(1000))
    assert {message.qos for message in messages} == {1}
    assert not (tmp_path / "state").exists()
    stats = bus.stats()
    assert stats["broker"] | {"connected": True, "reconnects": 0, "acknowledged": 1001} == stats["broker"]
    assert stats["outbox"] == {"pending": 0, "dropped": 0, "bytes": 0, "error": None}


def test_several_threads_publish_at_once(
    mosquitto: Mosquitto, subscriber: Callable[..., Subscriber], connect: Connect
) -> None:
    listener = subscriber("many/#")
    bus = connected(connect(mosquitto.url))

    def publish(name: int) -> None:
        for i in range(300):
            bus.publish(f"many/{name}", str(i), qos=1)

    threads = [threading.Thread(target=publish, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listener.wait(1200)
    for name in range(4):
        assert [int(payload) for payload in listener.on(f"many/{name}")] == list(range(300))


def test_a_broker_that_comes_late_gets_everything(
    make_mosquitto: Callable[..., Mosquitto],
    subscriber: Callable[..., Subscriber],
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = make_mosquitto()
    bus = connect(broker.url)
    heard = hear(bus)
    bus.publish("edge-infer/dev/info", "{}", qos=1, retain=True)
    bus.publish("edge-infer/dev/stats", "{}")
    for i in range(50):
        bus.publish(TOPIC, str(i), qos=1)
    eventually(lambda: "no broker listens" in caplog.text, what="the warning")
    assert bus.flush(0.1) == 50
    broker.start()
    eventually(lambda: heard == list(range(50)), what="the backlog")
    assert subscriber("#", port=broker.port).wait(1, topic="edge-infer/dev/info")[0].payload == b"{}"
    assert bus.stats()["broker"]["dropped"] == 1, "QoS 0 is not kept"
    assert caplog.text.count("no broker listens") == 1, "one line, not one for each attempt"


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_an_outage_loses_nothing_and_state_is_told_again(
    mosquitto: Mosquitto, subscriber: Callable[..., Subscriber], connect: Connect, way: str
) -> None:
    bus = connected(connect(mosquitto.url))
    heard = hear(bus)
    commands: list[bytes] = []
    bus.subscribe("edge-infer/dev/command/#", lambda _topic, payload: commands.append(payload))
    bus.publish("edge-infer/dev/info", "old", qos=1, retain=True)
    bus.publish("edge-infer/dev/info", "new", qos=1, retain=True)
    assert bus.flush(5.0) == 0
    getattr(mosquitto, way)()
    eventually(lambda: not bus.connected)
    for i in range(200):
        bus.publish(TOPIC, str(i), qos=1)
    eventually(lambda: bus.stats()["outbox"]["bytes"] > 0, what="a commit")
    mosquitto.start()
    eventually(lambda: first_time(heard) == list(range(200)), what="the backlog")
    listener = subscriber("#")
    listener.wait(2)
    assert listener.on("edge-infer/dev/info") == [b"new"]
    listener.wait_for(lambda _: listener.on(STATUS)[-1:] == [b"online"])
    eventually(lambda: bus.stats()["outbox"] == {"pending": 0, "dropped": 0, "bytes": 0, "error": None})
    assert bus.stats()["broker"]["reconnects"] == 1
    listener._client.publish("edge-infer/dev/command/ping", b"hello", 1)
    eventually(lambda: commands == [b"hello"], what="the subscription after the reconnection")


def test_a_frozen_broker_blocks_nobody_and_what_it_owes_is_stored(
    mosquitto: Mosquitto, subscriber: Callable[..., Subscriber], connect: Connect
) -> None:
    listener = subscriber(TOPIC)
    bus = connected(connect(mosquitto.url))
    mosquitto.freeze()
    for i in range(3000):
        bus.publish(TOPIC, str(i), qos=1)
    bus.publish("edge-infer/dev/stats", "x" * 200_000)
    assert bus.flush(0.1) == 3000
    assert bus.stats()["outbox"]["bytes"] == sum(len(TOPIC) + len(str(i)) for i in range(3000))
    mosquitto.thaw()
    listener.wait_for(lambda _: len(listener.on(TOPIC)) >= 3000)
    assert first_time([int(payload) for payload in listener.on(TOPIC)]) == list(range(3000))


def test_closing_beside_a_frozen_broker_is_quick_and_the_next_run_sends_the_rest_first(
    mosquitto: Mosquitto, connect: Connect, tmp_path: Path
) -> None:
    bus = connected(connect(mosquitto.url))
    mosquitto.freeze()
    for i in range(300):
        bus.publish(TOPIC, str(i), qos=1)
    bus.close(0.3)
    assert bus.stats()["outbox"]["pending"] == 300
    mosquitto.restart()
    again = connect(mosquitto.url)
    heard = hear(again)
    for i in range(300, 320):
        again.publish(TOPIC, str(i), qos=1)
    eventually(lambda: heard == list(range(320)), what="the backlog, and then the new")
    assert again.flush(10.0) == 0
    again.close()
    assert list((tmp_path / "state").iterdir()) == []


def test_a_handler_that_fails_ends_nothing(
    mosquitto: Mosquitto, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    bus = connected(connect(mosquitto.url))
    got: list[str] = []

    def broken(topic: str, payload: bytes) -> None:
        raise RuntimeError("a handler's own trouble")

    bus.subscribe("a/+", broken)
    bus.subscribe("a/b", lambda topic, payload: got.append(payload.decode()))
    eventually(lambda: (bus.publish("a/b", "x", qos=1), got)[1], what="the message")
    assert "a handler's own trouble" in caplog.text
    assert bus.connected


def test_a_handler_may_publish(mosquitto: Mosquitto, subscriber: Callable[..., Subscriber], connect: Connect) -> None:
    bus = connected(connect(mosquitto.url))
    bus.subscribe("ask", lambda _topic, payload: bus.publish("answer", payload.upper(), qos=1))
    listener = subscriber("answer")
    eventually(lambda: (listener._client.publish("ask", b"hello", 1), listener.on("answer"))[1])
    assert listener.on("answer")[0] == b"HELLO"


def test_a_cleared_topic_stays_cleared(
    mosquitto: Mosquitto, subscriber: Callable[..., Subscriber], connect: Connect
) -> None:
    bus = connected(connect(mosquitto.url))
    bus.publish("announced", "here", qos=1, retain=True)
    bus.publish("announced", "", qos=1, retain=True)
    assert bus.flush(5.0) == 0
    mosquitto.restart()
    eventually(lambda: bus.stats()["broker"]["reconnects"] == 1)
    listener = subscriber("#")
    listener.wait(1, topic=STATUS)
    assert listener.on("announced") == []


def test_a_message_that_the_broker_cannot_take_does_not_hold_up_the_others_for_ever(
    make_mosquitto: Callable[..., Mosquitto], connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    broker = make_mosquitto(config="allow_anonymous true\nmax_packet_size 1000")
    broker.start()
    bus = connect(broker.url)
    bus._session._backoff._uniform = lambda *_: 0.0  # no pauses
    heard = hear(bus)
    for i in range(10):
        bus.publish(TOPIC, str(i), qos=1)
    bus.publish("edge-infer/dev/sensor0/prediction", "x" * 2000, qos=1)
    for i in range(10, 20):
        bus.publish(TOPIC, str(i), qos=1)
    eventually(lambda: first_time(heard) == list(range(20)), what="everything else")
    assert "2000 bytes on edge-infer/dev/sensor0/prediction" in caplog.text
    assert bus.stats()["outbox"]["dropped"] == 1


USERS = "allow_anonymous false\npassword_file {folder}/users\nacl_file {folder}/acl"


def with_users(make_mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> Mosquitto:
    folder = tmp_path / "auth"
    folder.mkdir()
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(folder / "users"), "dev", "s3cr3t"], check=True)
    (folder / "users").chmod(0o644)
    (folder / "acl").write_text("user dev\ntopic readwrite edge-infer/dev/#\n")
    broker = make_mosquitto(config=USERS.format(folder=folder))
    broker.start()
    return broker


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_a_refused_login_is_one_clear_line_without_the_password(
    make_mosquitto: Callable[..., Mosquitto],
    connect: Connect,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    protocol: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    broker = with_users(make_mosquitto, tmp_path)
    bus = connect(broker.url, username="dev", password="wr0ng", protocol=protocol)
    eventually(lambda: "check username and password" in caplog.text)
    assert "'dev'" in caplog.text
    assert "wr0ng" not in caplog.text
    assert not bus.connected


def test_with_mqtt_5_a_message_against_the_acl_is_counted_and_said(
    make_mosquitto: Callable[..., Mosquitto], connect: Connect, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = with_users(make_mosquitto, tmp_path)
    bus = connected(connect(broker.url, username="dev", password="s3cr3t", protocol="5"))
    bus.publish("edge-infer/other/prediction", "x", qos=1)
    for i in range(100):
        bus.publish(TOPIC, str(i), qos=1)
    assert bus.flush(5.0) == 0
    assert "check its ACL" in caplog.text
    assert bus.stats()["outbox"]["dropped"] == 1
    assert bus.stats()["broker"]["acknowledged"] == 101


def test_a_port_that_speaks_something_else_is_said(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        bus = connect(f"mqtt://127.0.0.1:{port}", outbox=False)
        thread.join()
        eventually(lambda: bus._session._attempt_at_s > bus._session._opened_s, what="the attempt being given up")
        assert not bus.connected


PUBLISHER = """
import sys, time
from pathlib import Path
from edge_runtime.mqtt.connection import MqttBus
from edge_runtime.mqtt.outbox import Outbox
from edge_runtime.mqtt.settings import BrokerConfig
bus = MqttBus(
    BrokerConfig(url=sys.argv[1]).endpoint(), client_id="edge-infer-dev", status_topic="edge-infer/dev/status",
    outbox=Outbox(Path(sys.argv[2])),
)
bus.open()
number = int(sys.argv[3])
while True:
    bus.publish("edge-infer/dev/camera0/prediction", str(number), qos=1)
    print(time.monotonic_ns(), number, flush=True)
    number += 1
    time.sleep(0.002)
"""


def run_and_kill(url: str, outbox: Path, first: int, *, promise_s: float) -> tuple[int, int]:
    """Publish from ``first`` on, be killed; return the last number that was promised, and the first not handed over."""
    command = [sys.executable, "-c", PUBLISHER, url, str(outbox), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(600)]
        child.send_signal(signal.SIGKILL)
        killed_ns = time.monotonic_ns()
        lines += child.stdout.readlines()
    handed = [tuple(map(int, line.split())) for line in lines if line.endswith("\n")]
    return max(number for at_ns, number in handed if killed_ns - at_ns > promise_s * 1e9), handed[-1][1] + 1


def test_killed_while_the_broker_is_away_all_older_than_a_tenth_of_a_second_arrives(
    mosquitto: Mosquitto, connect: Connect, tmp_path: Path
) -> None:
    first = 0
    for _ in range(3):
        mosquitto.stop()
        promised, after = run_and_kill(mosquitto.url, tmp_path / "state" / "outbox.db", first, promise_s=0.1)
        mosquitto.start()
        bus = connect(mosquitto.url)
        heard = hear(bus)
        eventually(lambda heard=heard, promised=promised: heard and heard[-1] >= promised, what="what was promised")
        assert bus.flush(5.0) == 0
        bus.close()
        assert heard == list(range(first, heard[-1] + 1))
        first = after


def test_killed_beside_a_frozen_broker_all_older_than_half_a_second_arrives(
    mosquitto: Mosquitto, subscriber: Callable[..., Subscriber], connect: Connect, tmp_path: Path
) -> None:
    first = 0
    listener = subscriber(TOPIC)
    for _ in range(2):
        timer = threading.Timer(0.5, mosquitto.freeze)
        timer.start()
        promised, after = run_and_kill(mosquitto.url, tmp_path / "state" / "outbox.db", first, promise_s=0.5)
        timer.join()
        mosquitto.thaw()
        bus = connect(mosquitto.url)
        listener.wait_for(lambda messages, p=promised: any(int(m.payload) >= p for m in messages))
        assert bus.flush(5.0) == 0
        bus.close()
        listener.wait_for(lambda messages, p=promised: int(messages[-1].payload) >= p)
        seen = sorted({int(payload) for payload in listener.on(TOPIC)})
        assert [n for n in seen if n >= first] == list(range(first, seen[-1] + 1)), "no gap in what was delivered"
        first = after
