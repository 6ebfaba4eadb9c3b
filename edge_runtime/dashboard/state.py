"""Everything the page shows, as one bounded model fed by MQTT messages.

Every change gets the next version number, and ``patch(since)`` returns only what changed after a version. So a reader
needs no queue: a page that is slow, or was away for a minute, simply gets the latest values with its next patch.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import dropwhile
from typing import Any, Final

from edge_runtime.dashboard.messages import (
    Address,
    address_of,
    at,
    event_of,
    is_jpeg,
    point_of,
    read_object,
    sample_of,
)
from edge_runtime.dashboard.snapshots import Key, Snapshots

POINT_INTERVAL_MS: Final = 250
SILENT_MS: Final = 60_000
PENDING: Final = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept. What comes above ``devices`` or ``streams`` is counted and not shown."""

    devices: int = 100
    streams: int = 16
    """Per device."""
    events: int = 100
    """Per device."""
    points: int = 480
    """Per stream; at most four a second: two minutes of a busy stream."""
    samples: int = 180
    """Per device; one every 10 s: half an hour."""


@dataclass(slots=True)
class _Cells:
    """Named values, each with the version of its last change."""

    values: dict[str, tuple[int, Any]] = field(default_factory=dict)

    def put(self, name: str, value: Any, version: int) -> None:
        self.values[name] = (version, value)

    def get(self, name: str) -> Any:
        return self.values[name][1] if name in self.values else None

    def since(self, version: int) -> dict[str, Any]:
        return {name: value for name, (changed, value) in self.values.items() if changed > version}


def _newer(entries: Iterable[tuple[int, Any]], version: int) -> list[Any]:
    return [entry for _, entry in dropwhile(lambda entry: entry[0] <= version, entries)]


@dataclass(slots=True)
class _Stream:
    cells: _Cells
    points: deque[tuple[int, list[float | None]]]
    pictures: int = 0

    def patch(self, version: int) -> dict[str, Any]:
        changes = self.cells.since(version)
        if points := _newer(self.points, version):
            changes["points"] = points
        return changes


@dataclass(slots=True)
class _Device:
    cells: _Cells
    samples: deque[tuple[int, list[float | None]]]
    heard_ms: int = 0
    streams: dict[str, _Stream] = field(default_factory=dict)
    events: OrderedDict[tuple[str, str], tuple[int, dict[str, Any]]] = field(default_factory=OrderedDict)

    def patch(self, version: int) -> dict[str, Any]:
        changes = self.cells.since(version)
        if samples := _newer(self.samples, version):
            changes["samples"] = samples
        if events := [event for changed, event in self.events.values() if changed > version]:
            changes["events"] = events
        streams = {name: patch for name, stream in self.streams.items() if (patch := stream.patch(version))}
        if streams:
            changes["streams"] = streams
        if changes:
            changes["heard_ms"] = self.heard_ms
        return changes


class Fleet:
    """The devices of a broker. Thread-safe: the subscriber's thread applies, the server's thread reads."""

    def __init__(self, *, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._version = 0
        self._reset = 0
        self._devices: dict[str, _Device] = {}
        self._cells = _Cells()
        self._snapshots = Snapshots()
        self._pending: OrderedDict[str, Key] = OrderedDict()
        self._ignored = 0

    @property
    def version(self) -> int:
        """The number of the latest change."""
        return self._version

    @property
    def ignored(self) -> int:
        """How many messages were not understood, too large, or above a limit."""
        return self._ignored

    def set_broker(self, *, url: str, state: str, detail: str | None, now_ms: int) -> None:
        """Say how the connection to the broker is: ``connecting``, ``connected``, ``down`` or ``refused``, and why."""
        with self._lock:
            before = self._cells.get("broker")
            if at(before, "state") == state:
                now_ms = before["since_ms"]
            broker = {"url": url, "state": state, "detail": detail, "since_ms": now_ms}
            if broker != before:
                self._version += 1
                self._cells.put("broker", broker, self._version)

    def doubt_statuses(self) -> None:
        """Call after a reconnection: who is online says so (retained) at once; the others may have died meanwhile."""
        with self._lock:
            self._version += 1
            for device in self._devices.values():
                device.cells.put("status", None, self._version)

    def apply(self, topic: str, payload: bytes, *, now_ms: int) -> None:
        """Take one message that came at ``now_ms`` (wall time); whatever it holds, nothing is raised."""
        address = address_of(topic)
        with self._lock:
            if address is None or not self._take(address, payload, now_ms):
                self._ignored += 1

    def patch(self, since: int = 0) -> tuple[int, dict[str, Any]]:
        """Return the version now and what changed after ``since``: ``full`` is true when it replaces all that was."""
        with self._lock:
            full = since < self._reset or since == 0
            version = 0 if full else since
            changes: dict[str, Any] = self._cells.since(version)
            devices = {name: patch for name, device in self._devices.items() if (patch := device.patch(version))}
            if devices:
                changes["devices"] = devices
            if full:
                changes["full"] = True
            return self._version, changes

    def snapshot(self, device: str, stream: str) -> bytes | None:
        """Return the latest JPEG of a stream."""
        with self._lock:
            return self._snapshots.get((device, stream))

    def has_stream(self, device: str, stream: str) -> bool:
        """Whether this device has been heard to have this stream."""
        with self._lock:
            return device in self._devices and stream in self._devices[device].streams

    def expect_snapshot(self, request: str, device: str, stream: str) -> None:
        """Remember which stream a request's id was for, so that a refusal can be shown beside it."""
        with self._lock:
            self._pending[request] = (device, stream)
            while len(self._pending) > PENDING:
                self._pending.popitem(last=False)

    # From here on the lock is held.

    def _take(self, address: Address, payload: bytes, now_ms: int) -> bool:
        if address.kind == "status" and not payload:  # a retained status taken back: the device is no more
            return self._forget(address.device)
        device = self._device(address.device, now_ms)
        if device is None:
            return False
        if address.stream is None:
            taken = self._take_of_device(device, address, payload, now_ms)
        else:
            stream = self._stream(device, address.stream)
            taken = stream is not None and self._take_of_stream(device, stream, address, payload, now_ms)
        if taken:
            device.heard_ms = now_ms
        return taken

    def _device(self, name: str, now_ms: int) -> _Device | None:
        if name not in self._devices:
            if len(self._devices) >= self._limits.devices and not self._make_room(now_ms):
                return None
            self._devices[name] = _Device(_Cells(), deque(maxlen=self._limits.samples), heard_ms=now_ms)
        return self._devices[name]

    def _make_room(self, now_ms: int) -> bool:
        """Forget the device that has been away for longest, so that no flood of names drives out live ones."""
        quiet = [
            (device.heard_ms, name)
            for name, device in self._devices.items()
            if device.cells.get("status") != "online" and now_ms - device.heard_ms > SILENT_MS
        ]
        return self._forget(min(quiet)[1]) if quiet else False

    def _forget(self, name: str) -> bool:
        if self._devices.pop(name, None) is None:
            return False
        self._snapshots.remove_device(name)
        self._version += 1
        self._reset = self._version  # a patch cannot say "gone": whoever reads next gets everything anew
        return True

    def _stream(self, device: _Device, name: str) -> _Stream | None:
        if name not in device.streams:
            if len(device.streams) >= self._limits.streams:
                return None
            device.streams[name] = _Stream(_Cells(), deque(maxlen=self._limits.points))
        return device.streams[name]

    def _take_of_device(self, device: _Device, address: Address, payload: bytes, now_ms: int) -> bool:
        if address.kind == "status":
            if payload not in {b"online", b"offline"}:
                return False
            self._version += 1
            device.cells.put("status", payload.decode(), self._version)
            return True
        message = read_object(payload)
        if message is None:
            return False
        if address.kind == "result":
            return self._take_result(message)
        self._version += 1
        device.cells.put(address.kind, message, self._version)
        if address.kind == "stats":
            device.samples.append((self._version, sample_of(message, received_ms=now_ms)))
        return True

    def _take_result(self, message: dict[str, Any]) -> bool:
        key = self._pending.pop(str(message.get("id")), None)
        if key is None:
            return False  # somebody else's request
        device = self._devices.get(key[0])
        stream = device.streams.get(key[1]) if device else None
        if stream is None or message.get("ok") is True:
            return stream is not None
        self._version += 1
        stream.cells.put("snapshot_error", str(message.get("error") or "refused"), self._version)
        return True

    def _take_of_stream(self, device: _Device, stream: _Stream, address: Address, payload: bytes, now_ms: int) -> bool:
        if address.kind == "snapshot":
            return self._take_snapshot(stream, (address.device, str(address.stream)), payload, now_ms)
        message = read_object(payload)
        if message is None:
            return False
        self._version += 1
        if address.kind == "event":
            return self._take_event(device, str(address.stream), message, now_ms)
        if address.kind == "stream_status":
            stream.cells.put("status", message, self._version)
            return True
        stream.cells.put("prediction", message | {"received_ms": now_ms}, self._version)
        if not stream.points or now_ms - (stream.points[-1][1][0] or 0) >= POINT_INTERVAL_MS:
            stream.points.append((self._version, point_of(message, received_ms=now_ms)))
        return True

    def _take_snapshot(self, stream: _Stream, key: Key, payload: bytes, now_ms: int) -> bool:
        if not is_jpeg(payload):
            return False
        self._version += 1
        stream.pictures += 1
        self._snapshots.put(key, payload)
        stream.cells.put("snapshot", {"number": stream.pictures, "received_ms": now_ms}, self._version)
        if stream.cells.get("snapshot_error") is not None:
            stream.cells.put("snapshot_error", None, self._version)
        return True

    def _take_event(self, device: _Device, stream: str, message: dict[str, Any], now_ms: int) -> bool:
        event = event_of(message)
        if event is None:
            return False
        key = (stream, event["id"])
        before = device.events[key][1] if key in device.events else {"first_ms": now_ms}
        device.events[key] = (self._version, before | event | {"stream": stream})
        while len(device.events) > self._limits.events:
            device.events.popitem(last=False)
        return True
