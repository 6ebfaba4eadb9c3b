"""Discovery and commands through a real broker, with mosquitto's own client on the other side."""

import json
import subprocess

import pytest

from edge_runtime.mqtt.commands import CommandServer
from edge_runtime.mqtt.connection import MqttBus
from edge_runtime.mqtt.settings import BrokerConfig
from edge_runtime.sinks.homeassistant import HomeAssistant
from edge_runtime.sinks.homeassistant_entities import AnnouncedStream

pytestmark = pytest.mark.e2e
DISCOVERY = "homeassistant/device/edge_infer_porch/config"
DETECT = AnnouncedStream(name="camera0", task="detect", labels=("person", "dog"))
CLASSIFY = AnnouncedStream(name="camera0", task="classify")


@pytest.fixture
def connect(mosquitto):
    buses = []

    def connected():
        bus = MqttBus(BrokerConfig(url=mosquitto.url).endpoint({}), client_id="edge-infer-porch")
        bus.open()
        buses.append(bus)
        return bus

    yield connected
    for bus in buses:
        bus.close()


@pytest.fixture
def send(mosquitto):
    def published(*arguments):
        subprocess.run(["mosquitto_pub", "-p", str(mosquitto.port), "-q", "1", *arguments], check=True, timeout=20)

    return published


def announce(bus, stream):
    ha = HomeAssistant(bus, device="porch", streams=[stream], commands={"snapshot"})
    ha.open()
    return ha


def test_a_device_is_announced_changed_and_taken_back(connect, send, subscriber):
    watching = subscriber(DISCOVERY)
    first = connect()
    announce(first, DETECT)
    (announced,) = watching.wait(1)
    assert "camera0_count_person" in json.loads(announced.payload)["cmps"]
    late = subscriber(DISCOVERY)
    assert late.wait(1)[0].retain, "Home Assistant may start later"
    send("-t", "homeassistant/status", "-m", "online")
    assert watching.wait(2)[1].payload == announced.payload
    first.close()

    # The next run has another model: what the first announced is still on the broker, and must go.
    second = connect()
    ha = announce(second, CLASSIFY)

    def is_removed(messages):
        return any(json.loads(m.payload)["cmps"].get("camera0_count_person") == {"p": "sensor"} for m in messages)

    watching.wait_for(is_removed, what="the removal of the old entities")
    watching.wait_for(
        lambda messages: "camera0_count_person" not in json.loads(messages[-1].payload)["cmps"], what="a clean message"
    )
    ha.remove()
    watching.wait_for(lambda messages: messages[-1].payload == b"", what="the empty message")
    fresh = subscriber("#")
    send("-t", "marker", "-m", "x")
    fresh.wait(1, topic="marker")
    assert fresh.on(DISCOVERY) == [], "nothing is retained any more"


def test_a_command_from_a_shell_is_answered_once(connect, send, subscriber):
    results = subscriber("edge-infer/porch/command/+/result")
    bus = connect()
    server = CommandServer(
        bus,
        device="porch",
        handlers={"ping": lambda request: {}, "stop": lambda request: pytest.fail("it was carried out")},
        allowed={"ping"},
    )
    branch = subscriber("edge-infer/porch/#")
    server.open()
    bus.publish("edge-infer/porch/marker", b"the subscription was sent before this", qos=1)
    branch.wait(1)
    for name, body in [("ping", '{"id": "1"}'), ("stop", '{"id": "2"}'), ("ping", "{"), ("ping", "")]:
        send("-t", f"edge-infer/porch/command/{name}", *(["-m", body] if body else ["-n"]))
    answers = [json.loads(m.payload) for m in results.wait(4)]
    assert [(a["id"], a["ok"]) for a in answers] == [("1", True), ("2", False), (None, False), (None, True)]
    # Its own answers come by on the same branch of topics and are not answered again.
    branch.wait(1 + 4 + 4)
    send("-t", "edge-infer/porch/command/ping", "-m", '{"id": "last"}')
    assert json.loads(results.wait(5)[4].payload)["id"] == "last"
    assert len(results.messages) == 5
    server.close()
