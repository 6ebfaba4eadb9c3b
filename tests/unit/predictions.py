"""Predictions made by hand, for the tests of what is done with them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_runtime.protocols import Handed
from edge_runtime.types import (
    Anomaly,
    Classifications,
    Detections,
    Frame,
    Latency,
    ModelIdentity,
    Origin,
    Prediction,
    Regression,
    Result,
    Task,
)

MODEL = ModelIdentity("mobilenet_v2", "1", "3f" * 32)
LATENCY = Latency(queue=0.213, prepare=1.912, wait=0.3, invoke=4.1, postprocess=0.1)
LABELS = ("background", "cat", "dog", "person")
NOWHERE = Origin()
NS = 1_000_000_000


def prediction(
    result: Result,
    task: Task,
    *,
    stream: str = "camera0",
    captured_s: float = 100.0,
    sequence: int = 0,
    origin: Origin = NOWHERE,
    frame: Frame | None = None,
    latency: Latency = LATENCY,
) -> Prediction:
    return Prediction(stream, sequence, round(captured_s * NS), origin, MODEL, task, result, latency, frame)


def classified(*scores: tuple[int, float], **more: Any) -> Prediction:
    """A classification with (class_id, score) rows, best first."""
    return prediction(_classes(scores), "classify", **more)


def heard(*scores: tuple[int, float], **more: Any) -> Prediction:
    return prediction(_classes(scores), "audio", **more)


def detected(*scores: tuple[int, float], size: tuple[int, int] = (640, 480), **more: Any) -> Prediction:
    """Detections with (class_id, score) rows, best first, in boxes side by side."""
    boxes = np.array([[10 + 50 * i, 20, 50 + 50 * i, 100] for i in range(len(scores))], np.float32).reshape(-1, 4)
    ids = np.array([c for c, _ in scores], np.int64)
    result = Detections(boxes, ids, np.array([s for _, s in scores], np.float32), _labels(ids), size)
    return prediction(result, "detect", **more)


def regressed(*values: float, **more: Any) -> Prediction:
    names = tuple(f"value{i}" for i in range(len(values)))
    return prediction(Regression(names, np.array(values, np.float32), ("°C",) * len(values)), "regress", **more)


def anomaly(score: float, threshold: float | None = 1.0, **more: Any) -> Prediction:
    return prediction(Anomaly(score, threshold), "anomaly", **more)


def handed(what: Prediction, seq: int | None = 7, seq_start: int = 1) -> Handed:
    return Handed(what, seq, seq_start)


def _classes(scores: Sequence[tuple[int, float]]) -> Classifications:
    ids = np.array([c for c, _ in scores], np.int64)
    return Classifications(ids, np.array([s for _, s in scores], np.float32), _labels(ids))


def _labels(ids: np.ndarray) -> tuple[str | None, ...]:
    return tuple(LABELS[i] if i < len(LABELS) else None for i in ids)


class FakeBus:
    """A broker that takes everything, keeps what is retained, and hands messages to whoever subscribed."""

    def __init__(self, *, connected: bool = True) -> None:
        self.connected = connected
        self.published: list[tuple[str, bytes, int, bool]] = []
        self.retained: dict[str, bytes] = {}
        self.handlers: dict[str, Any] = {}

    def publish(self, topic: str, payload: bytes | str, *, qos: int = 0, retain: bool = False) -> None:
        data = payload.encode() if isinstance(payload, str) else payload
        self.published.append((topic, data, qos, retain))
        if retain:
            self.retained[topic] = data

    def subscribe(self, topic: str, handler: Any, *, retained: bool = True) -> None:
        self.handlers[topic] = handler

    def unsubscribe(self, topic: str, handler: Any) -> None:
        self.handlers.pop(topic, None)

    def topics(self) -> list[str]:
        return [topic for topic, *_ in self.published]
