"""The dashboard as somebody sees it: real Chromium, real mosquitto, the real command."""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_fleet import FakeFleet, classified, prediction, stats
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from real_broker import eventually

pytestmark = pytest.mark.e2e
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DEADLINE_MS = 15_000
EVIL = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'


@dataclass
class Looker:
    """A browser window on the dashboard, and everything it complained about or asked for."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def see(self, selector: str) -> Locator:
        return self.page.locator(selector)

    def open(self, fragment: str = "") -> None:
        self.page.goto(self.url + fragment)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        message = "chromium is not installed; apt install chromium"
        if os.environ.get("EDGE_REQUIRE_E2E") == "1":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def fleet(mosquitto: Any) -> Iterator[FakeFleet]:
    one = FakeFleet(mosquitto.port)
    yield one
    one.close()


@pytest.fixture
def dashboard(edge_infer: Any, mosquitto: Any) -> str:
    """The address that a running ``edge-infer dashboard`` printed, once it hears what is said on the broker."""
    process = edge_infer.start("dashboard", "--broker", mosquitto.url, "--listen", "127.0.0.1:0")
    address = address_from(process)
    eventually(lambda: broker_state(address) == "connected", what="the dashboard hearing the broker")
    return address


def broker_state(address: str) -> str:
    with urllib.request.urlopen(f"{address}api/state", timeout=10) as answer:
        return str(json.load(answer)["broker"]["state"])


def address_from(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    line = process.stderr.readline()
    match = re.fullmatch(r"dashboard: (http://\S+)\n", line)
    assert match, line
    return match[1]


@pytest.fixture
def look(browser: Browser) -> Iterator[Callable[..., Looker]]:
    """``look(url)`` opens a window; whatever it complains about, or asks another origin, fails the test."""
    lookers: list[Looker] = []

    def make(url: str, *, width: int = 1280, height: int = 900, tolerant: bool = False, **options: Any) -> Looker:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        looker = Looker(context.new_page(), url)
        looker.page.set_default_timeout(DEADLINE_MS)
        looker.page.on("request", lambda request: looker.requests.append(request.url))
        looker.page.on("pageerror", lambda error: looker.complaints.append(str(error)))
        if not tolerant:
            looker.page.on(
                "console",
                lambda line: looker.complaints.append(line.text) if line.type in {"error", "warning"} else None,
            )
        lookers.append(looker)
        looker.open()
        return looker

    expect.set_options(timeout=DEADLINE_MS)
    yield make
    for one in lookers:
        one.page.context.close()
        origin = "/".join(one.url.split("/")[:3])
        assert one.complaints == []
        assert [url for url in one.requests if not url.startswith(f"{origin}/")] == []


def test_an_empty_broker_says_how_to_begin(dashboard: str, mosquitto: Any, look: Callable[..., Looker]) -> None:
    looker = look(dashboard)
    expect(looker.see("main")).to_contain_text(f"No device has said anything yet on {mosquitto.url}")
    expect(looker.see("main code")).to_have_text(f"edge-infer --camera --broker {mosquitto.url}")


def test_predictions_picture_and_figures_arrive(dashboard: str, fleet: FakeFleet, look: Callable[..., Looker]) -> None:
    looker = look(dashboard)
    fleet.appear("porch")
    fleet.say("porch/camera0/prediction", classified(0.789, 0.121, 0.05))
    expect(looker.see("h1")).to_have_text("porch")
    expect(looker.see(".title .chip")).to_have_text("Online")
    expect(looker.see(".model")).to_have_text("mobilenet_v2 · version 1 · classify · on the CPU")
    expect(looker.see(".engine .note")).to_contain_text("no Edge TPU answers")
    expect(looker.see(".answer")).to_have_text("Egyptian cat")
    expect(looker.see(".score")).to_have_text("78.9 %")
    expect(looker.see(".bars li")).to_have_count(3)

    image = looker.see(".picture img")
    expect(image).to_be_visible()
    assert image.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [640, 360]
    expect(looker.see(".picture")).to_have_attribute("data-live", "true")

    fleet.say("porch/stats", stats())
    tiles = looker.see(".tiles")
    expect(tiles).to_contain_text("29.6 /s")
    expect(tiles).to_contain_text("0.4 /s")
    expect(tiles).to_contain_text("p95 8.6 · p99 10.6")
    expect(tiles).to_contain_text("54.5 °C")
    expect(tiles).to_contain_text("12 waiting")
    expect(tiles).to_contain_text("4.4 ms predicted")
    expect(looker.see("tr.total")).to_have_text(re.compile("total.*6.60.*8.58.*10.56"))
    fleet.say("porch/stats", stats(inference=12.3))
    expect(looker.see(".charts canvas").first).to_be_visible()
    expect(looker.see(".charts .plot").first).to_have_attribute(
        "aria-label", "Frames per second: inference 12.3, capture 30, dropped 0.400"
    )

    fleet.say("porch/camera0/prediction", classified(0.4, 0.3, labels=("fox", "dog"), seq=2))
    expect(looker.see(".answer")).to_have_text("fox")
    expect(looker.see(".bars li")).to_have_count(2)


def test_events_begin_and_end(dashboard: str, fleet: FakeFleet, look: Callable[..., Looker]) -> None:
    looker = look(dashboard)
    fleet.appear("porch")
    event = {"id": "e1", "label": "cat", "score": 0.8, "started_at": "2026-11-22T06:38:00.000Z", "ended_at": None}
    fleet.say("porch/camera0/event", event | {"type": "start"})
    expect(looker.see(".events li")).to_have_count(1)
    expect(looker.see(".events .dot")).to_have_attribute("data-going", "true")
    fleet.say("porch/camera0/event", event | {"type": "end", "ended_at": "2026-11-22T06:38:12.000Z"})
    expect(looker.see(".events li")).to_have_text(re.compile("cat.*12 s · 80 %"))
    expect(looker.see(".events li")).to_have_count(1)


ANSWERS: list[tuple[str, Any, dict[str, Any], str]] = [
    (
        "detect",
        [
            {"class_id": 17, "label": "cat", "score": 0.8, "box": [10, 20, 110, 220]},
            {"class_id": 17, "label": "cat", "score": 0.7, "box": [300, 20, 410, 220]},
        ],
        {"frame": {"width": 640, "height": 360}},
        "2 . cat.*10, 20 to 110, 220 px",
    ),
    ("detect", [], {"frame": {"width": 640, "height": 360}}, "Nothing found"),
    ("anomaly", {"score": 0.08, "threshold": 0.05, "anomalous": True}, {}, "Unusual.*score 0.080.*Unusual above 0.050"),
    ("regress", [{"name": "rain", "value": 0.425, "unit": "mm"}], {}, "rain.*0.425.*mm"),
    (
        "audio",
        [{"class_id": 1, "label": "Chirp", "score": 0.7, "start_s": 1.5, "end_s": 2.5}],
        {},
        "Chirp.*1.5 to 2.5 s",
    ),
    (
        "segment",
        [{"label": "bird", "class_id": 3, "pixels": 300}, {"label": "sky", "class_id": 1, "pixels": 100}],
        {},
        "bird.*75 %",
    ),
    ("pose", [{"score": 0.7, "keypoints": [[10, 20, 0.9]]}], {"frame": {"width": 64, "height": 48}}, "One person"),
    ("raw", [{"name": "out", "shape": [1, 3], "values": [[0.5, 1.25, -3]]}], {}, "out.*1 . 3.*0.500  1.25  -3"),
]


@pytest.mark.usefixtures("mosquitto")
def test_each_task_has_its_own_answer(dashboard: str, fleet: FakeFleet, look: Callable[..., Looker]) -> None:
    looker = look(dashboard)
    fleet.appear("barn")
    for task, result, more, shown in ANSWERS:
        fleet.say("barn/camera0/prediction", prediction(task, result, **more))
        expect(looker.see(f'article[data-task="{task}"] .side')).to_have_text(re.compile(shown, re.DOTALL))
    fleet.say("barn/camera0/prediction", prediction(*ANSWERS[0][:2], **ANSWERS[0][2]))
    expect(looker.see("svg.plan rect")).to_have_count(2)


def test_trouble_is_said_plainly(dashboard: str, fleet: FakeFleet, mosquitto: Any, look: Callable[..., Looker]) -> None:
    looker = look(dashboard)
    fleet.appear("porch")
    fleet.say("porch/stats", stats(throttled=["under-voltage"]))
    expect(looker.see(".tiles")).to_contain_text("slow: throttling · 4.4 ms predicted")
    expect(looker.see(".concerns")).to_contain_text("Throttled now: under-voltage")
    fleet.say("porch/camera0/status", {"state": "stalled", "since": None, "error": "no frame for 5 s"})
    expect(looker.see("article .chip")).to_have_text("stalled: no frame for 5 s")
    fleet.say("porch/status", "offline", retain=True)
    expect(looker.see(".title .chip")).to_have_text("Offline")
    mosquitto.stop()
    expect(looker.see("#banner")).to_contain_text(f"The broker at {mosquitto.url} does not answer")
    mosquitto.start()
    expect(looker.see("#banner")).to_be_hidden()
    expect(looker.see("#broker")).to_have_text(mosquitto.url)


def test_a_hostile_device_can_only_write_text(dashboard: str, fleet: FakeFleet, look: Callable[..., Looker]) -> None:
    looker = look(dashboard)
    device = "<svg onload=alert(1)>"
    fleet.appear(device, model=EVIL)
    fleet.appear("__proto__")
    fleet.say("__proto__/constructor/prediction", classified(0.5))
    fleet.say(f"{device}/<b>s/prediction", classified(0.9, 0.1, labels=(EVIL, "\u202e\u202ereversed")))
    fleet.say(f"{device}/<b>s/event", {"type": "start", "id": EVIL, "label": EVIL, "score": 1e308, "started_at": EVIL})
    fleet.say(
        f"{device}/stats", {"fps": EVIL, "latency_ms": {EVIL: {"p50": "x"}, "__proto__": {"p50": 1}}, "outbox": [[]]}
    )
    fleet.say(
        f"{device}/info", {"model": {"name": EVIL}, "delegate": EVIL, "config_error": EVIL, "sources": {"<b>s": EVIL}}
    )
    fleet.say(f"{device}/<b>s/snapshot", "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
    for task, result in [
        ("detect", [{"label": EVIL, "score": "1", "box": [EVIL, 1, 2, 3]}, None, 7]),
        ("pose", [{"score": 1, "keypoints": [[EVIL], None, 3]}]),
        ("segment", [{"label": EVIL, "pixels": -5}]),
        ("raw", [{"name": EVIL, "shape": EVIL, "values": {"a": [EVIL]}}]),
        ("anomaly", {"score": EVIL, "threshold": -1}),
        ("regress", [{"name": EVIL, "value": None, "unit": EVIL}]),
        (EVIL, EVIL),
        ("constructor", None),
    ]:
        fleet.say(
            f"{device}/{task.partition('<')[0] or 'other'}/prediction", prediction(task, result, frame={"width": EVIL})
        )
    looker.open(f"#/{device}")
    expect(looker.see("h1")).to_have_text(device)
    expect(looker.see("article")).to_have_count(9)
    expect(looker.see('article[data-task="classify"] .answer')).to_have_text(EVIL)
    looker.see("summary").click()
    expect(looker.see(".about")).to_contain_text("onerror")
    assert looker.see("main script, main img[src='x'], main svg[onload], main b:has(b)").count() == 0
    assert "owned" not in looker.page.title()
    looker.open("#/__proto__")
    expect(looker.see("h1")).to_have_text("__proto__")


def test_several_devices_are_reached_by_keyboard(dashboard: str, fleet: FakeFleet, look: Callable[..., Looker]) -> None:
    for name in ("barn", "porch"):
        fleet.appear(name)
        fleet.say(f"{name}/camera0/prediction", classified(0.8, 0.1))
    looker = look(dashboard)
    expect(looker.see("#devices a")).to_have_count(2)
    expect(looker.see("#devices a[aria-current]")).to_contain_text("barn")
    focused = "document.activeElement.textContent.trim() || document.activeElement.tagName"
    looker.page.keyboard.press("Tab")
    assert looker.page.evaluate(focused) == "Skip to the device"
    looker.page.keyboard.press("Tab")
    assert looker.page.evaluate("document.activeElement.id") == "theme"
    looker.page.keyboard.press("Tab")
    looker.page.keyboard.press("Tab")
    assert "porch" in looker.page.evaluate(focused)
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert looker.page.evaluate(outline) == "solid"
    looker.page.keyboard.press("Enter")
    expect(looker.see("h1")).to_have_text("porch")
    expect(looker.see("#devices a[aria-current]")).to_contain_text("porch")
    assert looker.page.evaluate("document.activeElement.id") == "main"
    expect(looker.see("#announcer")).to_contain_text("porch Online: Egyptian cat")
    looker.page.keyboard.press("Tab")
    assert looker.page.evaluate("document.activeElement.textContent") == "Pause"


def test_a_picture_is_asked_for_only_while_it_is_on_view(
    dashboard: str, fleet: FakeFleet, look: Callable[..., Looker]
) -> None:
    fleet.appear("porch")
    fleet.say("porch/camera0/prediction", classified(0.8, 0.1))
    looker = look(dashboard)
    expect(looker.see(".picture img")).to_be_visible()
    assert {(r["device"], r["command"], r["stream"]) for r in fleet.requests} == {("porch", "snapshot", "camera0")}
    looker.see(".picture button").click()
    expect(looker.see(".picture button")).to_have_text("Resume")
    looker.page.wait_for_timeout(300)
    asked = len(fleet.requests)
    looker.page.wait_for_timeout(1500)
    assert len(fleet.requests) == asked
    looker.see(".picture button").click()
    deadline = time.monotonic() + 10
    while len(fleet.requests) == asked and time.monotonic() < deadline:
        looker.page.wait_for_timeout(50)
    assert len(fleet.requests) > asked


@pytest.mark.parametrize("width", [390, 768])
def test_a_phone_shows_everything_without_scrolling_sideways(
    dashboard: str, fleet: FakeFleet, look: Callable[..., Looker], width: int
) -> None:
    for name in (
        "porch",
        "barn",
        "a-device-with-a-very-long-name-that-does-not-fit-in-one-line-of-a-phone",
        "roof",
        "attic",
    ):
        fleet.appear(name)
        fleet.say(f"{name}/stats", stats())
        fleet.say(f"{name}/stats", stats())
        fleet.say(f"{name}/camera0/prediction", classified(0.8, 0.1, labels=("x" * 120, "cat")))
    looker = look(dashboard, width=width, height=844)
    looker.open("#/a-device-with-a-very-long-name-that-does-not-fit-in-one-line-of-a-phone")
    expect(looker.see(".answer")).to_be_visible()
    expect(looker.see(".charts canvas").first).to_be_visible()
    looker.see("summary").click()
    expect(looker.see(".about dd").first).to_be_visible()
    assert looker.page.evaluate("document.documentElement.scrollWidth") == width


def test_light_and_dark(dashboard: str, fleet: FakeFleet, look: Callable[..., Looker]) -> None:
    fleet.appear("porch")
    looker = look(dashboard, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    assert looker.page.evaluate(background) == "rgb(13, 16, 20)"
    looker.see("#theme").click()
    assert looker.page.evaluate(background) == "rgb(244, 245, 247)"
    looker.page.reload()
    assert looker.page.evaluate(background) == "rgb(244, 245, 247)"


def test_the_page_comes_back_by_itself_after_the_server_was_away(
    edge_infer: Any, mosquitto: Any, fleet: FakeFleet, look: Callable[..., Looker]
) -> None:
    first = edge_infer.start("dashboard", "--broker", mosquitto.url, "--listen", "127.0.0.1:0")
    url = address_from(first)
    fleet.appear("porch")
    looker = look(url, tolerant=True)
    expect(looker.see("h1")).to_have_text("porch")
    first.terminate()
    assert first.wait(10) == 0
    expect(looker.see("#banner")).to_contain_text("connection to the dashboard's server is lost")
    listen = url.removeprefix("http://").rstrip("/")
    address_from(edge_infer.start("dashboard", "--broker", mosquitto.url, "--listen", listen))
    expect(looker.see("#banner")).to_be_hidden()
    fleet.say("porch/camera0/prediction", classified(0.8, 0.1))
    expect(looker.see(".answer")).to_have_text("Egyptian cat")


def test_a_token_opens_the_page_and_leaves_the_address_bar(
    edge_infer: Any, mosquitto: Any, tmp_path: Path, look: Callable[..., Looker]
) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-long-enough\n")
    process = edge_infer.start(
        "dashboard", "--broker", mosquitto.url, "--listen", "127.0.0.1:0", "--token-file", str(token)
    )
    looker = look(address_from(process), tolerant=True)
    expect(looker.see("h1")).to_have_text("edge-infer")
    looker.see("#token").fill("not-the-right-token")
    looker.see("#token").press("Enter")
    expect(looker.see("#token")).to_have_value("")
    looker.see("#token").fill("a-token-long-enough")
    looker.see("#token").press("Enter")
    expect(looker.see("main")).to_contain_text("No device has said anything yet")
    assert "token" not in looker.page.url
    assert looker.page.evaluate("document.cookie") == ""
