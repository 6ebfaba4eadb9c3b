"""What the device says of itself and its streams: retained ``info``, ``model`` and ``<stream>/status``."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from edge_runtime.clock import now_rfc3339
from edge_runtime.protocols import Bus
from edge_runtime.sinks.payloads import SCHEMA, encode

Listener = Callable[[str, str], None]


class StatusPublisher:
    """Publishes state that must survive reconnections; called from any thread."""

    def __init__(self, bus: Bus, *, device: str, root: str) -> None:
        self._bus = bus
        self._device = device
        self._root = root
        self._info: dict[str, Any] = {}
        self._lock = threading.Lock()
        self.states: dict[str, str] = {}
        """The last state of each stream: ``online``, ``stalled`` or ``offline``."""
        self.listeners: list[Listener] = []
        """Called with stream and state after each change, from the thread that noticed it."""

    def info(self, **values: Any) -> None:
        """Publish ``info`` with some of its keys changed."""
        with self._lock:
            self._info |= values
            document = {"schema": SCHEMA, "device": self._device, **self._info}
        self._bus.publish(f"{self._root}/info", encode(document), qos=1, retain=True)

    def model(self, active: Mapping[str, Any] | None) -> None:
        """Publish ``model``: what runs now."""
        document = {
            "schema": SCHEMA,
            "device": self._device,
            "active": active,
            "previous": None,
            "candidate": None,
            "state": "active" if active else "none",
        }
        self._bus.publish(f"{self._root}/model", encode(document), qos=1, retain=True)

    def stream(self, stream: str, state: str, error: str | None) -> None:
        """Publish a stream's state; called by its capture thread when it changes."""
        self.states[stream] = state
        document = {"schema": SCHEMA, "state": state, "since": now_rfc3339(), "error": error}
        self._bus.publish(f"{self._root}/{stream}/status", encode(document), qos=1, retain=True)
        for listener in self.listeners:
            listener(stream, state)
