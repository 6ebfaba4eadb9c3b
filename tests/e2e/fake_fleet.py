"""Devices that exist only on the broker: they say what real ones say, and answer requests for a picture."""

import io
import json
import threading
from typing import Any, Final

import paho.mqtt.client as paho
from PIL import Image, ImageDraw

LABELS: Final = ("Egyptian cat", "tabby", "tiger cat", "lynx", "quilt")
STAGES: Final = {"queue": 0.2, "prepare": 1.9, "wait": 0.3, "invoke": 4.1, "postprocess": 0.1, "total": 6.6}


def picture(*, size: tuple[int, int] = (640, 360)) -> bytes:
    """Return a JPEG with a drawn box, as a snapshot has it."""
    image = Image.new("RGB", size, (70, 90, 110))
    ImageDraw.Draw(image).rectangle((160, 80, 420, 300), outline=(255, 255, 255), width=4)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def classified(*scores: float, seq: int = 1, labels: tuple[str, ...] = LABELS) -> dict[str, Any]:
    """Return a classification as the contract has it."""
    rows = [{"class_id": 280 + i, "label": labels[i], "score": score} for i, score in enumerate(scores)]
    return prediction("classify", rows, seq=seq)


def prediction(task: str, result: Any, *, seq: int = 1, **more: Any) -> dict[str, Any]:
    """Return a prediction of any task."""
    return {
        "schema": 1,
        "device": "porch",
        "stream": "camera0",
        "seq": seq,
        "seq_start": 1,
        "captured_at": "2026-11-22T06:38:00.123Z",
        "model": {"name": "mobilenet_v2", "version": "1", "sha256": "3f1c"},
        "task": task,
        "result": result,
        "latency_ms": STAGES,
        **more,
    }


def stats(*, inference: float = 29.6, throttled: list[str] | None = None) -> dict[str, Any]:
    """Return resource statistics of a Pi."""
    return {
        "schema": 1,
        "uptime_s": 7384,
        "fps": {"capture": 30.0, "inference": inference, "dropped": 0.4},
        "latency_ms": {name: {"p50": ms, "p95": ms * 1.3, "p99": ms * 1.6} for name, ms in STAGES.items()},
        "cpu_percent": {"process": 21.0, "system": 34.0},
        "memory_mb": {"rss": 71.3, "pss": 60.1, "available": 1240.0},
        "temperature_c": 54.5,
        "throttled": {"now": throttled or [], "since_boot": throttled or []},
        "disk_free_mb": 21044,
        "network": None,
        "outbox": {"pending": 12, "dropped": 0, "bytes": 6000, "error": None},
        "broker": {"connected": True, "reconnects": 1},
        "engine": {"delegate": "cpu", "restarts": 0},
        "drift": {},
        "speed": {
            "profile": "pi-4b-64",
            "predicted_ms": 4.4,
            "low_ms": 3.2,
            "high_ms": 6.0,
            "measured_ms": 9.1 if throttled else 4.1,
            "ratio": 0.932,
            "usual_ratio": 0.93,
            "slow": "throttling" if throttled else None,
        },
    }


class FakeFleet:
    """Publishes for any device; pictures are sent for devices in ``pictured``, refused for others."""

    def __init__(self, port: int, *, pictured: tuple[str, ...] = ("porch",)) -> None:
        self.requests: list[dict[str, Any]] = []
        self._pictured = pictured
        self._ready = threading.Event()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("edge-infer/+/command/#")
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(10)

    def say(self, topic: str, message: Any, *, retain: bool = False) -> None:
        """Publish below ``edge-infer/``."""
        payload = message if isinstance(message, str | bytes) else json.dumps(message)
        self._client.publish(f"edge-infer/{topic}", payload, qos=1, retain=retain)

    def appear(self, device: str, *, task: str = "classify", model: str = "mobilenet_v2") -> None:
        """Come online as the daemon does."""
        self.say(f"{device}/status", "online", retain=True)
        info = {
            "schema": 1,
            "device": device,
            "software": "edge-infer 0.1.0",
            "model": {"name": model, "version": "1", "sha256": "3f1c", "task": task},
            "delegate": "cpu",
            "delegate_reason": "no Edge TPU answers",
            "runtime": "ai-edge-litert 2.3.0",
            "sources": {"camera0": {"type": "camera", "name": "HD Webcam", "size": [1280, 720], "fps": 30}},
            "started_at": "2026-11-22T06:38:00.123Z",
            "config_error": None,
        }
        self.say(f"{device}/info", info, retain=True)

    def _on_message(self, _client: Any, _userdata: Any, message: Any) -> None:
        _, device, _, name, *rest = message.topic.split("/")
        if rest:
            return
        request = json.loads(message.payload)
        self.requests.append({"device": device, "command": name, **request})
        stream = request["stream"]
        taken = device in self._pictured
        error = None if taken else "a sensor stream has no picture"
        if taken:
            self.say(f"{device}/{stream}/snapshot", picture())
        self.say(f"{device}/command/{name}/result", {"id": request["id"], "ok": taken, "error": error})

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
