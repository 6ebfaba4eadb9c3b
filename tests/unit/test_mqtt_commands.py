import json
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from predictions import FakeBus
from real_broker import eventually

from edge_runtime.errors import UsageError
from edge_runtime.mqtt.commands import BURST, MAX_BYTES, CommandServer

ROOT = "edge-infer/porch/command"


class Bus(FakeBus):
    """Delivers to subscribers what is published, as a broker would, and lets a test wait for the answers."""

    def __init__(self):
        super().__init__()
        self.news = threading.Condition()

    def publish(self, topic, payload, **more):
        with self.news:
            super().publish(topic, payload, **more)
            self.news.notify_all()
        for pattern, handler in self.handlers.items():
            prefix = pattern.removesuffix("+")
            if topic.startswith(prefix) and "/" not in topic.removeprefix(prefix):
                handler(topic, self.published[-1][1])

    def send(self, name, payload):
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        for handler in list(self.handlers.values()):
            handler(f"{ROOT}/{name}", data)

    def answers(self, count):
        with self.news:
            assert self.news.wait_for(lambda: len(self.published) >= count, timeout=10)
            return [(topic.removeprefix(f"{ROOT}/"), json.loads(payload)) for topic, payload, *_ in self.published]


class Clock:
    now_ns = 0

    def __call__(self):
        return self.now_ns


@pytest.fixture
def bus():
    return Bus()


@pytest.fixture
def serve(bus):
    servers = []

    def start(handlers, allowed=("ping", "snapshot", "fail", "break"), clock=None):
        server = CommandServer(bus, device="porch", handlers=handlers, allowed=allowed, monotonic_ns=clock or Clock())
        server.open()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


def test_a_command_is_carried_out_and_answered(bus, serve):
    requests = []

    def ping(request):
        requests.append(request)
        return {"uptime_s": 5}

    serve({"ping": ping})
    bus.send("ping", {"id": "a1", "x": 1})
    assert bus.answers(1) == [("ping/result", {"schema": 1, "uptime_s": 5, "id": "a1", "ok": True, "error": None})]
    assert requests == [{"id": "a1", "x": 1}]
    assert bus.published[0][2:] == (1, False)


def test_a_command_without_a_body_is_fine(bus, serve):
    serve({"ping": lambda request: {}})
    bus.send("ping", b"")
    assert bus.answers(1)[0][1] == {"schema": 1, "id": None, "ok": True, "error": None}


def test_what_is_not_allowed_is_refused_and_says_how_to_allow_it(bus, serve):
    server = serve({"stop": lambda request: pytest.fail("it was carried out")}, allowed={"ping"})
    bus.send("stop", {"id": 1})
    (answer,) = bus.answers(1)
    assert answer[1]["ok"] is False
    assert "allow in [commands]" in answer[1]["error"]
    assert (server.handled, server.refused) == (0, 1)


def test_an_unknown_command_names_those_there_are(bus, serve):
    serve({"ping": dict, "snapshot": dict})
    bus.send("reboot", {"id": 1})
    assert "ping, snapshot" in bus.answers(1)[0][1]["error"]


def test_an_error_of_ours_is_the_answer(bus, serve):
    def fail(request):
        raise UsageError("no stream 'x'")

    serve({"fail": fail})
    bus.send("fail", {"id": 7})
    assert bus.answers(1)[0][1] == {"schema": 1, "id": 7, "ok": False, "error": "no stream 'x'"}


def test_a_handler_that_breaks_does_not_end_the_others(bus, serve, caplog):
    def broken(request):
        raise ZeroDivisionError

    serve({"break": broken, "ping": dict})
    bus.send("break", {"id": 1})
    bus.send("ping", {"id": 2})
    (_, first), (_, second) = bus.answers(2)
    assert first["ok"] is False
    assert "internal error" in first["error"]
    assert second["ok"] is True
    assert "the command break failed" in caplog.text


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"[" * 4000, "not JSON"),
        (b'{"id": "' + b"x" * MAX_BYTES + b'"}', "larger than 4096 bytes"),
        (b'{"id": [1]}', "neither a text"),
        (b'{"id": "' + b"x" * 200 + b'"}', "neither a text"),
    ],
)
def test_a_bad_request_is_answered_with_what_is_wrong(bus, serve, payload, error):
    serve({"ping": lambda request: pytest.fail("it was carried out")})
    bus.send("ping", payload)
    (_, answer) = bus.answers(1)[0]
    assert answer["ok"] is False
    assert answer["id"] is None
    assert error in answer["error"]
    assert "\n" not in answer["error"]


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.binary(max_size=50), st.text(max_size=50).map(str.encode)))
def test_no_payload_is_left_without_an_answer(payload):
    bus = Bus()
    server = CommandServer(bus, device="porch", handlers={"ping": dict}, allowed={"ping"}, monotonic_ns=Clock())
    server.open()
    bus.send("ping", payload)
    (_, answer) = bus.answers(1)[0]
    server.close()
    assert isinstance(answer["ok"], bool)


def test_the_same_request_again_gets_the_same_answer_and_is_not_done_twice(bus, serve):
    count = []
    serve({"ping": lambda request: count.append(1) or {"n": len(count)}})
    for identity in ("a", "a", "b"):
        bus.send("ping", {"id": identity})
    assert [answer["n"] for _, answer in bus.answers(3)] == [1, 1, 2]


def test_commands_at_an_inhuman_pace_are_refused_until_time_has_passed(bus, serve):
    clock = Clock()
    serve({"ping": dict}, clock=clock)
    for number in range(BURST + 1):
        bus.send("ping", {"id": number})
        bus.answers(number + 1)
    assert [answer["ok"] for _, answer in bus.answers(BURST + 1)] == [True] * BURST + [False]
    assert "too many commands" in bus.answers(BURST + 1)[-1][1]["error"]
    clock.now_ns += 10**9
    bus.send("ping", {"id": "later"})
    assert bus.answers(BURST + 2)[-1][1]["ok"] is True


def test_a_flood_does_not_fill_the_memory(bus, serve):
    go = threading.Event()
    server = serve({"ping": lambda request: go.wait(10) and {}})
    for number in range(100):
        bus.send("ping", {"id": number})
    assert server.dropped > 80
    go.set()


def test_its_own_answers_are_not_taken_for_commands(bus, serve):
    server = serve({"ping": dict, "result": dict})
    bus.send("ping", {"id": 1})
    bus.send("ping/result", {"id": 1})
    bus.answers(1)
    server.close()
    assert len(bus.published) == 1


def test_after_the_end_nothing_is_taken(bus, serve):
    server = serve({"ping": dict})
    server.close()
    server.close()
    bus.send("ping", {"id": 1})
    assert bus.published == []


def test_a_command_may_end_the_server_itself(bus, serve):
    server = None

    def stop(request):
        server.close()
        return {}

    server = serve({"stop": stop}, allowed={"stop"})
    bus.send("stop", {"id": 1})
    assert bus.answers(1)[0][1]["ok"] is True


def test_a_flood_is_answered_once_until_it_ends(bus, serve):
    clock = Clock()
    server = serve({"ping": lambda request: {}}, clock=clock)
    for number in range(12):  # ten at once are taken; sent as fast as they are worked off, so that none is dropped
        bus.send("ping", {"id": number})
        eventually(lambda number=number: server.handled + server.refused == number + 1, what="the request")
    clock.now_ns += 10**9
    bus.send("ping", {"id": "later"})
    answers = [answer for _, answer in bus.answers(12)]
    assert [answer["ok"] for answer in answers] == [True] * 10 + [False, True]
    assert "too many" in answers[10]["error"]
    assert server.refused == 2


def test_an_overlong_name_is_not_answered(bus, serve):
    server = serve({"ping": lambda request: {}})
    bus.send("x" * 65, {"id": 1})
    bus.send("ping", {"id": 2})
    assert [answer["id"] for _, answer in bus.answers(1)] == [2]
    assert server.dropped == 1
