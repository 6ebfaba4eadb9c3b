"""The dashboard's web server, over real sockets: what it serves, to whom, and what it never does."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn

from edge_runtime.dashboard import server as server_module
from edge_runtime.dashboard.security import Policy
from edge_runtime.dashboard.serve import listen
from edge_runtime.dashboard.server import Application
from edge_runtime.dashboard.settings import DashboardSettings
from edge_runtime.dashboard.state import Fleet

TOKEN = "a-token-long-enough"
JPEG = b"\xff\xd8\xff\xe0 the rest of a picture"
SNAPSHOT = "/api/devices/porch/streams/camera0/snapshot"


def eventually(condition: Callable[[], bool], *, what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


@dataclass
class FakeSnapshooter:
    reachable: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)

    def request_snapshot(self, device: str, stream: str) -> bool:
        self.asked.append((device, stream))
        return self.reachable


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Site:
    """A running server with a fleet of one device."""

    def __init__(self, **settings: Any) -> None:
        self.fleet = Fleet()
        self.fleet.set_broker(url="mqtt://127.0.0.1:1883", state="connected", detail=None, now_ms=1)
        self.say("porch/status", b"online")
        self.say("porch/camera0/prediction", {"task": "classify", "result": []})
        self.snapshooter = FakeSnapshooter()
        self.listener = listen("127.0.0.1", 0, flag="--dashboard")
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        self.port: int = self.listener.getsockname()[1]
        app = Application(self.fleet, self.snapshooter, closing=lambda: self.uvicorn.should_exit)
        policy = Policy.of(DashboardSettings(**settings), port=self.port)
        self.uvicorn = uvicorn.Server(
            uvicorn.Config(app.guarded(policy), log_config=None, access_log=False, lifespan="off", ws="none")
        )
        self._thread = threading.Thread(target=self.uvicorn.run, kwargs={"sockets": [self.listener]})
        self._thread.start()

    def say(self, topic: str, message: Any) -> None:
        payload = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.fleet.apply(f"edge-infer/{topic}", payload, now_ms=1000)

    def ask(self, path: str, *, method: str = "GET", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=named)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def post(self, path: str = SNAPSHOT, **headers: str) -> Answer:
        return self.ask(path, method="POST", **({"Origin": f"http://127.0.0.1:{self.port}"} | headers))

    def close(self) -> None:
        self.uvicorn.should_exit = True
        self._thread.join(10)
        self.listener.close()
        assert not self._thread.is_alive()


class Page:
    """Somebody who listens to the stream of events."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._connection.request("GET", "/api/events")
        self.answer = self._connection.getresponse()

    def next(self) -> dict[str, Any]:
        while not (line := self.answer.readline()).startswith(b"data: "):
            assert line, "the stream has ended"
        message: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
        return message

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def make(**settings: Any) -> Site:
        sites.append(Site(**settings))
        return sites[-1]

    yield make
    for one in sites:
        one.close()


@pytest.fixture
def page() -> Iterator[Callable[[Site], Page]]:
    pages: list[Page] = []

    def make(site: Site) -> Page:
        pages.append(Page(site.port))
        return pages[-1]

    yield make
    for one in pages:
        one.close()


def test_the_page_and_its_files_come_with_strict_headers(site: Callable[..., Site]) -> None:
    answer = site().ask("/")
    assert answer.status == 200
    assert b"/static/app.js" in answer.body
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_files_are_asked_for_anew_and_sent_only_when_they_changed(site: Callable[..., Site]) -> None:
    one = site()
    first = one.ask("/static/vendor/uPlot.iife.min.js")
    assert first.status == 200
    assert first.headers["content-type"].startswith("text/javascript")
    assert first.headers["cache-control"] == "no-cache"
    again = one.ask("/static/vendor/uPlot.iife.min.js", If_None_Match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2fserver.py",
        "/static//etc/passwd",
        "/static/vendor/../../server.py",
        "/static/app.js%00.css",
        "/static/",
        "/server.py",
    ],
)
def test_nothing_but_the_pages_files_is_served(site: Callable[..., Site], path: str) -> None:
    assert site().ask(path).status == 404


def test_a_page_gets_the_state_and_then_what_changes(site: Callable[..., Site], page: Callable[[Site], Page]) -> None:
    one = site()
    listener = page(one)
    assert listener.answer.headers["content-type"].startswith("text/event-stream")
    assert listener.answer.headers["cache-control"] == "no-store"
    first = listener.next()
    assert first["full"] is True
    assert first["devices"]["porch"]["status"] == "online"
    assert first["broker"]["state"] == "connected"
    assert first["page"]
    one.say("porch/stats", {"fps": {"inference": 29.5}})
    change = listener.next()
    assert change["devices"]["porch"]["stats"] == {"fps": {"inference": 29.5}}
    assert "status" not in change["devices"]["porch"]


def test_a_quiet_stream_still_beats(
    site: Callable[..., Site], page: Callable[[Site], Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "HEARTBEAT_S", 0.05)
    listener = page(site())
    listener.next()
    assert set(listener.next()) == {"now_ms"}


def test_a_burst_of_messages_becomes_few(
    site: Callable[..., Site], page: Callable[[Site], Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "TICK_S", 0.3)
    one = site()
    listener = page(one)
    listener.next()
    for seq in range(500):
        one.say("porch/camera0/prediction", {"task": "classify", "result": [], "seq": seq})
    received = 0
    seq = -1
    while seq != 499:
        seq = listener.next()["devices"]["porch"]["streams"]["camera0"]["prediction"]["seq"]
        received += 1
    assert received < 50


def test_there_is_room_for_so_many_pages_and_again_when_one_closes(
    site: Callable[..., Site], page: Callable[[Site], Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "CLIENTS", 1)
    one = site()
    first = page(one)
    first.next()
    refused = one.ask("/api/events")
    assert refused.status == 503
    assert refused.headers["retry-after"]
    first.close()
    eventually(lambda: one.ask("/api/events", method="HEAD").status == 200, what="room for a page")


def test_a_page_that_does_not_read_is_let_go(site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "CLIENTS", 1)
    monkeypatch.setattr(server_module, "SEND_S", 0.2)
    monkeypatch.setattr(server_module, "TICK_S", 0.01)
    one = site()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", one.port))
        deaf.sendall(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        eventually(lambda: one.ask("/api/events", method="HEAD").status == 503, what="the place being taken")

        def let_go() -> bool:
            one.say("porch/info", {str(key): "x" * 450 for key in range(60)})
            return one.ask("/api/events", method="HEAD").status == 200

        eventually(let_go, what="the place being free")


def test_the_server_ends_at_once_while_pages_are_open(site: Callable[..., Site], page: Callable[[Site], Page]) -> None:
    one = site()
    listener = page(one)
    listener.next()
    one.close()
    assert listener.answer.read().strip() == b""


def test_a_snapshot_is_asked_for_once_a_second_however_many_ask(site: Callable[..., Site]) -> None:
    one = site()
    assert [one.post().status for _ in range(5)] == [202] * 5
    assert one.snapshooter.asked == [("porch", "camera0")]


@pytest.mark.parametrize(
    "path", [SNAPSHOT.replace("porch", "attic"), SNAPSHOT.replace("camera0", "stats"), SNAPSHOT.replace("porch", "%2B")]
)
def test_only_a_stream_that_was_heard_can_be_asked(site: Callable[..., Site], path: str) -> None:
    one = site()
    assert one.post(path).status == 404
    assert one.snapshooter.asked == []


def test_asking_while_the_broker_is_away_says_so(site: Callable[..., Site]) -> None:
    one = site()
    one.snapshooter.reachable = False
    assert one.post().status == 503


def test_there_is_no_other_command(site: Callable[..., Site]) -> None:
    one = site()
    for path in ("/api/devices/porch/stop", "/api/devices/porch/command/restart", SNAPSHOT.replace("snapshot", "stop")):
        assert one.post(path).status == 404
    assert one.ask(SNAPSHOT, method="DELETE").status == 405


def test_a_picture_is_a_jpeg_that_nobody_keeps(site: Callable[..., Site]) -> None:
    one = site()
    assert one.ask(f"{SNAPSHOT}.jpg").status == 404
    one.say("porch/camera0/snapshot", JPEG)
    answer = one.ask(f"{SNAPSHOT}.jpg?n=1")
    assert (answer.status, answer.body) == (200, JPEG)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_rebound_name_is_turned_away(site: Callable[..., Site]) -> None:
    one = site()
    assert one.ask("/", Host="evil.example:8080").status == 421
    assert one.ask("/api/state", Host="localhost:1").status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_a_post_from_elsewhere_is_refused(site: Callable[..., Site], origin: str) -> None:
    one = site()
    assert one.post(Origin=origin).status == 403
    assert one.ask(SNAPSHOT, method="POST").status == 403
    assert one.snapshooter.asked == []


def test_what_another_sites_page_asks_for_is_refused(site: Callable[..., Site]) -> None:
    one = site()
    for where in ("cross-site", "same-site"):
        assert one.ask("/api/state", Sec_Fetch_Site=where, Sec_Fetch_Mode="no-cors").status == 403
    assert one.ask("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200
    assert one.ask("/api/state", Sec_Fetch_Site="same-origin").status == 200


def test_with_a_token_nothing_is_told_without_it(site: Callable[..., Site]) -> None:
    one = site(token=TOKEN)
    assert one.ask("/api/state").status == 401
    assert one.ask("/api/events").status == 401
    assert one.ask("/static/app.js").status == 401
    assert one.ask(f"{SNAPSHOT}.jpg").status == 401
    assert one.post().status == 401
    assert one.ask("/?token=wrong").status == 401
    assert one.ask(f"/api/state?token={TOKEN}").status == 401
    login = one.ask("/")
    assert login.status == 401
    assert b'name="token"' in login.body
    assert one.ask("/static/style.css").status == 200


def test_the_token_becomes_a_cookie_and_opens_everything(site: Callable[..., Site]) -> None:
    one = site(token=TOKEN)
    first = one.ask(f"/?token={TOKEN}")
    assert first.status == 200
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    name_and_value = cookie.partition(";")[0]
    assert one.ask("/api/state", Cookie=name_and_value).status == 200
    assert one.post(Cookie=name_and_value).status == 202
    assert one.ask("/", Cookie=name_and_value).headers["set-cookie"] is None


def test_a_bearer_token_serves_scripts(site: Callable[..., Site]) -> None:
    one = site(token=TOKEN)
    answer = one.ask("/api/state", Authorization=f"Bearer {TOKEN}")
    assert json.loads(answer.body)["devices"]["porch"]["status"] == "online"


def test_no_secret_of_the_broker_is_in_the_state(site: Callable[..., Site]) -> None:
    state = json.loads(site().ask("/api/state").body)
    assert set(state["broker"]) == {"url", "state", "detail", "since_ms"}
