"""The example of an ACL, with a real mosquitto: what a device, the dashboard and an operator may do, and no more."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from real_broker import eventually

pytestmark = pytest.mark.e2e

REPOSITORY = Path(__file__).parents[2]
DIGITS = REPOSITORY / "edge_runtime/demo/digits.tflite"
PASSWORD = "a-password-of-the-test"


@pytest.fixture
def broker(make_mosquitto: Any, tmp_path: Path) -> Any:
    users = tmp_path / "passwd"
    users.touch(0o600)
    for user in ("porch", "yard", "dashboard", "operator"):
        subprocess.run(["mosquitto_passwd", "-b", str(users), user, PASSWORD], check=True, capture_output=True)
    acl = tmp_path / "acl"
    acl.write_bytes((REPOSITORY / "device_configs/mosquitto/acl").read_bytes())
    acl.chmod(0o600)
    made = make_mosquitto(config=f"allow_anonymous false\npassword_file {users}\nacl_file {acl}")
    made.start()
    return made


class User:
    """Somebody who logs in, listens to everything and says things."""

    def __init__(self, name: str, port: int) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=f"test-{name}")
        self.client.username_pw_set(name, PASSWORD)
        self.client.on_message = lambda _client, _data, message: self.heard.append((message.topic, message.payload))
        self.client.on_connect = lambda client, *_: client.subscribe([("edge-infer/#", 1), ("homeassistant/#", 1)])
        self.subscribed = False
        self.client.on_subscribe = lambda *_: setattr(self, "subscribed", True)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        eventually(lambda: self.subscribed, what=f"{name} listening")

    def say(self, topic: str, payload: bytes = b"{}") -> None:
        self.client.publish(topic, payload, qos=1).wait_for_publish(10)

    def topics(self) -> set[str]:
        return {topic for topic, _ in self.heard}

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def user(broker: Any) -> Any:
    made: list[User] = []

    def make(name: str) -> User:
        made.append(User(name, broker.port))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_each_may_do_what_it_is_for_and_no_more(user: Callable[[str], User]) -> None:
    operator, dashboard, porch, yard = (user(name) for name in ("operator", "dashboard", "porch", "yard"))
    porch.say("edge-infer/porch/camera0/prediction")
    porch.say("edge-infer/yard/camera0/prediction")
    porch.say("edge-infer/yard/command/stop")
    dashboard.say("edge-infer/porch/command/snapshot")
    dashboard.say("edge-infer/porch/command/stop")
    operator.say("edge-infer/porch/command/restart")
    operator.say("edge-infer/porch/status")
    yard.say("edge-infer/yard/status", b"the end")
    # The broker handles what one client says in order, and what another says it hears by this last message.
    eventually(lambda: "edge-infer/yard/status" in operator.topics(), what="the last message")
    eventually(lambda: "edge-infer/porch/command/restart" in porch.topics(), what="the operator's command")
    assert operator.topics() - {"edge-infer/yard/status"} == {
        "edge-infer/porch/camera0/prediction", "edge-infer/porch/command/snapshot", "edge-infer/porch/command/restart",
    }  # fmt: skip
    assert porch.topics() == {"edge-infer/porch/command/snapshot", "edge-infer/porch/command/restart"}
    assert yard.topics() == set()


def test_a_device_runs_under_it_and_its_password_is_seen_nowhere(
    broker: Any, edge_infer: Any, user: Callable[[str], User]
) -> None:
    """Given in the worst way: in the address, on the command line."""
    dashboard = user("dashboard")
    (edge_infer.folder / "edge.toml").write_text(
        '[[source]]\ntype = "demo"\nname = "camera0"\n[commands]\nallow = ["ping"]\n[publish]\npolicy = "all"\n'
    )
    running = edge_infer.start(
        *("--config", "edge.toml", "--model", DIGITS, "--device-id", "porch", "-v", "--homeassistant"),
        *("--broker", f"mqtt://porch:{PASSWORD}@127.0.0.1:{broker.port}"),
    )
    eventually(lambda: "edge-infer/porch/camera0/prediction" in dashboard.topics(), what="a prediction")
    shown = subprocess.run(["ps", "-wweo", "args"], capture_output=True, text=True, check=True).stdout
    assert f"porch:{'*' * len(PASSWORD)}@" in shown
    assert f":{PASSWORD}@" not in shown
    dashboard.say("edge-infer/porch/command/ping", b'{"id": "1"}')
    eventually(lambda: "edge-infer/porch/command/ping/result" in dashboard.topics(), what="an answer")
    dashboard.say("edge-infer/porch/command/snapshot", b'{"id": "2"}')
    answer = "edge-infer/porch/command/snapshot/result"
    eventually(lambda: answer in dashboard.topics(), what="the refusal")
    assert json.loads(dict(dashboard.heard)[answer])["ok"] is False
    ended = edge_infer.finish(running, with_signal=signal.SIGTERM)
    assert ended.status == 0
    assert PASSWORD not in ended.err + ended.out
    assert not any(PASSWORD.encode() in payload for _, payload in dashboard.heard)
    state = edge_infer.folder / "state/edge-infer/porch"
    for path in (state, *state.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, f"{path} is for others too"
