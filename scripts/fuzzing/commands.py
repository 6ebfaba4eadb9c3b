"""Hostile commands from the broker through the real command handling, its thread and the real snapshots."""

import json
import queue
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from campaign import Campaign, damage

from edge_runtime.mqtt.commands import MAX_BYTES, MAX_ID, MAX_NAME, CommandServer
from edge_runtime.telemetry.snapshots import Snapshots
from edge_runtime.types import Frame, Latency, ModelIdentity, Origin, Prediction, RawTensors

ROOT = "edge-infer/fuzz/command/"
NAMES = (
    *("ping", "snapshot", "stop", "restart"),
    *("", "Ping", "ping ", "../ping", "\U0001f600", "p" * 5000, "result"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**63, 10**400, 0.5, float("nan"), float("inf"), "", "1", "camera0", "x" * 129),
    *("\0", "\ud800", "\U0001f600", [], [1], {}, {"id": "1"}, [[[]]], {"stream": {}}, "edge-infer/#", "../../x"),
)
KEYS = ("id", "stream", "name", "schema", "", "ok", "error", "__class__", "\0", "id ")
GARBAGE = (b"", b" ", b"null", b"[]", b"0", b"\xff\xfe", b"{" * 3000, b"[" * 100_000, b'{"id":' * 1000, b"\0" * 10_000)


class Answers:
    """A bus that keeps what is published."""

    connected = True

    def __init__(self) -> None:
        self.queue: queue.Queue[tuple[str, bytes]] = queue.Queue()

    def publish(self, topic: str, payload: bytes | str, *, qos: int = 0, retain: bool = False) -> None:  # noqa: ARG002
        if topic.endswith("/result"):
            self.queue.put((topic, payload if isinstance(payload, bytes) else payload.encode()))

    def subscribe(self, topic: str, handler: object, *, retained: bool = True) -> None:
        pass

    def unsubscribe(self, topic: str, handler: object) -> None:
        pass


class Clock:
    """A second for each look, so that nothing is refused for coming too fast but what comes in the same second."""

    def __init__(self) -> None:
        self.now_ns, self.step_ns = 0, 1_000_000_000

    def __call__(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns


def request(chance: Random) -> bytes:
    """Make the payload of a command."""
    if chance.random() < 0.1:
        return chance.choice(GARBAGE)
    content: Any = {chance.choice(KEYS): chance.choice(VALUES) for _ in range(chance.randrange(5))}
    if chance.random() < 0.7:
        content["id"] = chance.choice((str(chance.randrange(10**6)), chance.randrange(10**6), chance.choice(VALUES)))
    if chance.random() < 0.05:
        content = chance.choice(VALUES)
    if chance.random() < 0.02:
        content = {"id": "1", "padding": "x" * chance.choice((MAX_BYTES - 30, MAX_BYTES, 10 * MAX_BYTES))}
    data = json.dumps(content).encode()
    return damage(data, chance) if chance.random() < 0.4 else data


def answered(_folder: Path, _paths: list[Path]) -> Campaign:
    """Each is answered once, with a document that says whether it was done and why not; never an internal error."""
    bus, clock = Answers(), Clock()
    latency = Latency(queue=0, prepare=0, wait=0, invoke=0, postprocess=0)
    frame = Frame(np.zeros((48, 64, 3), np.uint8), "rgb", "camera0", 0, 0, 0)
    nothing = RawTensors((), ())
    model = ModelIdentity("fuzz", None, "")
    latest = {"camera0": Prediction("camera0", 0, 0, Origin(), model, "raw", nothing, latency, frame)}
    snapshots = Snapshots(bus, device="fuzz", latest=latest, monotonic_ns=clock)
    handlers = {"ping": lambda _: {}, "snapshot": snapshots.command, "stop": lambda _: {}, "restart": lambda _: {}}
    server = CommandServer(
        bus, device="fuzz", handlers=handlers, allowed={"ping", "snapshot", "stop"}, monotonic_ns=clock
    )
    server.open()

    def look(_number: int, chance: Random) -> str:
        name, payload = chance.choice(NAMES) if chance.random() < 0.3 else chance.choice(NAMES[:4]), request(chance)
        clock.step_ns = 0 if chance.random() < 0.3 else 1_000_000_000
        server.receive(f"{ROOT}{name}", payload)
        if "/" in name or len(name) > MAX_NAME:
            return "ignored" if bus.queue.empty() else "answered what is no command"
        topic, answer = bus.queue.get(timeout=10.0)
        return judge(topic == f"{ROOT}{name}/result", answer)

    return Campaign("hostile commands", frozenset({"done", "refused", "ignored"}), look)


def judge(is_its_topic: bool, answer: bytes) -> str:
    document = json.loads(answer)
    error = document["error"]
    if not is_its_topic or document["schema"] != 1 or len(answer) > MAX_BYTES + 6 * MAX_ID:
        return "a strange answer"
    if document["ok"]:
        return "done" if error is None else "done with an error"
    if "internal error" in error:
        return "an internal error"
    return "refused" if "\n" not in error else "refused in several lines"
