"""Announces the device to Home Assistant by MQTT device discovery: one retained message, taken back when asked to."""

import json
import logging
import threading
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec

from edge_runtime._version import __version__
from edge_runtime.protocols import Bus
from edge_runtime.sinks.homeassistant_entities import (
    AnnouncedStream,
    Entity,
    chosen_labels,
    device_availability,
    device_entities,
    slug,
    stream_entities,
)
from edge_runtime.sinks.payloads import encode

log = logging.getLogger(__name__)

_PLATFORMS: Final = frozenset({"sensor", "binary_sensor", "event", "image", "button"})
_MAX_BYTES: Final = 1 << 20
_MAX_LOOKS: Final = 20
"""Somebody else who announces the same device must not make this one answer for ever."""


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the device is announced."""

    prefix: str = "homeassistant"
    """Home Assistant's discovery prefix."""
    labels: tuple[str, ...] = ()
    """detect: the labels that get a count and a presence of their own; empty for all of a small model."""
    dashboard_url: str | None = None
    """Where "Visit device" leads."""


class HomeAssistant:
    """Keeps ``<prefix>/device/edge_infer_<device>/config`` as the device is now.

    The message is retained and is sent again when Home Assistant says that it has started. What an earlier run
    announced and this one does not, after another model or another configuration, is removed. ``machine`` says what
    this board can tell of ``temperature`` and ``throttled``, ``commands`` which commands it takes. Methods may be
    called from any thread.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        device: str,
        streams: Sequence[AnnouncedStream],
        config: Config | None = None,
        machine: Collection[str] = (),
        commands: Collection[str] = (),
    ) -> None:
        self._bus = bus
        self._device = device
        self._root = f"edge-infer/{device}"
        self._node = f"edge_infer_{slug(device)}"
        self._config = config or Config()
        self._machine = frozenset(machine)
        self._commands = frozenset(commands)
        self._streams = tuple(streams)
        self._sent: bytes | None = None
        self._announced: dict[str, Entity] = {}
        self._looks_left = _MAX_LOOKS
        self._lock = threading.Lock()
        self.topic: Final = f"{self._config.prefix}/device/{self._node}/config"
        """Where the device is announced."""

    def open(self) -> None:
        """Announce the device, and again whenever Home Assistant starts."""
        self._bus.subscribe(self.topic, self._on_announcement)
        self._bus.subscribe(f"{self._config.prefix}/status", self._on_status)
        self.update(self._streams)

    def close(self) -> None:
        """Listen no more; the announcement stays."""
        self._bus.unsubscribe(self.topic, self._on_announcement)
        self._bus.unsubscribe(f"{self._config.prefix}/status", self._on_status)

    def update(self, streams: Sequence[AnnouncedStream]) -> None:
        """Announce other streams, or the same with another model; entities that are gone are removed."""
        with self._lock:
            self._streams = tuple(streams)
            before, self._announced = self._announced, self._entities()
            self._publish(before)

    def remove(self) -> None:
        """Take the device and all its entities out of Home Assistant."""
        with self._lock:
            self._sent, self._announced = b"", {}
            self._bus.publish(self.topic, b"", qos=1, retain=True)

    def payload(self) -> dict[str, Any]:
        """Return the announcement as it is now."""
        return self._document(self._entities())

    def _document(self, entities: dict[str, Entity]) -> dict[str, Any]:
        device = {
            "ids": [self._node],
            "name": self._device,
            "mf": "edge-infer",
            "mdl": "Edge inference",
            "sw": __version__,
        }
        if self._config.dashboard_url is not None:
            device["cu"] = self._config.dashboard_url
        return {
            "dev": device,
            "o": {"name": "edge-infer", "sw": __version__},
            "availability": device_availability(self._root),
            "qos": 1,
            "cmps": entities,
        }

    def _entities(self) -> dict[str, Entity]:
        found = device_entities(self._root, machine=self._machine, commands=self._commands)
        for stream in self._streams:
            found |= stream_entities(
                self._root,
                stream,
                labels=chosen_labels(stream, self._config.labels),
                alone=len(self._streams) == 1,
                commands=self._commands,
            )
        return {key: entity | {"unique_id": f"{self._node}_{key}"} for key, entity in found.items()}

    def _publish(self, before: dict[str, Entity]) -> None:
        """Publish, removing what there was ``before`` and is no more; the lock is held."""
        gone = {key: {"p": entity["p"]} for key, entity in before.items() if key not in self._announced}
        if gone:
            # An entity with nothing but its platform is removed; the next message then need not name it.
            self._bus.publish(self.topic, encode(self._document(self._announced | gone)), qos=1, retain=True)
        self._sent = encode(self._document(self._announced))
        self._bus.publish(self.topic, self._sent, qos=1, retain=True)

    def _on_status(self, topic: str, payload: bytes) -> None:  # noqa: ARG002 - a bus handler
        if payload != b"online":
            return
        with self._lock:
            if self._sent:
                self._bus.publish(self.topic, self._sent, qos=1, retain=True)

    def _on_announcement(self, topic: str, payload: bytes) -> None:  # noqa: ARG002 - a bus handler
        """Look at what an earlier run left retained, or this one while the broker was away; remove what is gone."""
        with self._lock:
            if not self._looks_left or not self._sent or payload in {b"", self._sent}:
                return
            self._looks_left -= 1
            before = _components(payload)
            if before.keys() - self._announced.keys():
                self._publish(before)


def _components(payload: bytes) -> dict[str, Entity]:
    """Return the entities of an announcement that was made before, as far as it can be read."""
    if len(payload) > _MAX_BYTES:
        return {}
    try:
        components = json.loads(payload)["cmps"]
        return {
            key: {"p": entity["p"]}
            for key, entity in components.items()
            if entity.get("p") in _PLATFORMS and len(entity) > 1
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        log.info("the announcement for Home Assistant that was there before cannot be read, and is replaced")
        return {}
