"""The ``stats`` message of a run, every few seconds, from its own thread; nothing on the frame path but an append."""

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_runtime.connect import BrokerLink
from edge_runtime.pipeline import Pipeline
from edge_runtime.protocols import Engine
from edge_runtime.sinks.payloads import encode
from edge_runtime.speed import UNKNOWN, SpeedWatch
from edge_runtime.supervision.health import Vitals
from edge_runtime.telemetry.latency import LatencyWindow
from edge_runtime.telemetry.rates import Rates
from edge_runtime.telemetry.resources import Resources
from edge_runtime.telemetry.stats import Stats
from edge_runtime.telemetry.throttling import Throttling
from edge_runtime.types import Prediction
from edge_runtime.workers import RunCounters

log = logging.getLogger(__name__)

FIRST_S = 2.0
"""The first message comes sooner than the interval, so that a page that has just been opened shows something."""


class StatisticsService:
    """Publishes ``stats``. ``observe`` belongs to the inference thread."""

    def __init__(
        self,
        link: BrokerLink,
        *,
        device: str,
        counters: RunCounters,
        pipeline: Pipeline | None,
        state: Path,
        interval_s: float,
        vitals: Vitals,
    ) -> None:
        self._link = link
        self._counters = counters
        self._interval_s = interval_s
        self._vitals = vitals
        self._latency = LatencyWindow(window_s=max(10.0, interval_s))
        self._rates = Rates(
            {
                "capture": lambda: sum(stream.captured for stream in counters.streams.values()),
                "inference": lambda: counters.inferred,
                "dropped": lambda: sum(stream.dropped for stream in counters.streams.values()),
            }
        )
        self._stats = Stats(device, self._providers(pipeline, Resources(disk=state)))
        self._speed = None if pipeline is None else SpeedWatch(pipeline.spec, pipeline.engine, state=state)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="statistics", daemon=True)

    def observe(self, prediction: Prediction) -> None:
        """Take the latency of a prediction."""
        self._latency.add(prediction.latency)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Publish once more, so that a short run has its figures too, and end."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(1.0)
            self._publish(last=True)
        if self._speed is not None:
            self._speed.close()

    def _work(self) -> None:
        wait_s = min(FIRST_S, self._interval_s)
        while not self._closed.wait(wait_s):
            self._publish()
            wait_s = self._interval_s

    def _publish(self, *, last: bool = False) -> None:
        message = self._stats.payload()
        message["speed"] = dict(UNKNOWN) if self._speed is None else self._speed.update(message, last=last)
        self._link.bus.publish(f"{self._link.root}/stats", encode(message))

    def _providers(self, pipeline: Pipeline | None, resources: Resources) -> Mapping[str, Callable[[], Any]]:
        engine = None if pipeline is None else pipeline.engine
        return {
            "uptime_s": resources.uptime_s,
            "fps": self._rates.per_second,
            "latency_ms": self._latency.summary,
            "cpu_percent": resources.cpu_percent,
            "memory_mb": lambda: resources.memory_mb() | self._vitals.memory.stats(),
            "temperature_c": resources.temperature_c,
            "throttled": Throttling().read,
            "disk_free_mb": resources.disk_free_mb,
            "network": resources.network,
            "outbox": lambda: self._link.bus.stats().get("outbox"),
            "broker": lambda: self._link.bus.stats().get("broker"),
            "engine": lambda: _engine_state(engine),
            "drift": dict,
            "clock": self._vitals.clock.state,
            "counters": self._totals,
        }

    def _totals(self) -> dict[str, int]:
        """Return what happened since the start: every drop, skip and reopening is counted somewhere here."""
        streams = self._counters.streams.values()
        return {
            "captured": sum(stream.captured for stream in streams),
            "inferred": self._counters.inferred,
            "dropped": sum(stream.dropped for stream in streams),
            "bad_frames": sum(stream.bad for stream in streams),
            "superseded": self._counters.superseded,
            "reopened": sum(stream.reopened for stream in streams),
            "engine_failures": self._counters.engine_failures,
            "sink_dropped": self._counters.sink_dropped,
        }


def _engine_state(engine: Engine | None) -> dict[str, Any]:
    """Return what runs the model now: an isolated engine may have gone over to its fallback since the start."""
    if engine is None:
        return {"delegate": None, "restarts": 0, "restart_reason": None}
    return {"delegate": engine.delegate, "restarts": engine.restarts, "restart_reason": engine.restart_reason}
