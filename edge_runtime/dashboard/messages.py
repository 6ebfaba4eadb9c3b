"""What a message says, made safe to keep and to send on: bounded, finite, nothing but plain JSON values.

Whoever may publish on the broker may publish anything, so nothing here trusts a payload. Every function is pure and
raises nothing for bad content: what cannot be read is ``None``.
"""

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

ROOT: Final = "edge-infer"
NAME_LENGTH: Final = 128
TEXT_LENGTH: Final = 500
ENTRIES: Final = 64
DEPTH: Final = 8
BUDGET: Final = 2000
TEXT_UNIT: Final = 16
JSON_BYTES: Final = 1 << 20
SNAPSHOT_BYTES: Final = 4 << 20
EXACT_INTEGER: Final = 1 << 53
"""Above it JavaScript's numbers are not exact, so a larger integer is sent as the float it would become."""

DeviceKind = Literal["status", "info", "stats", "model", "result"]
StreamKind = Literal["stream_status", "prediction", "event", "snapshot"]

_DEVICE_KINDS: Final[dict[str, DeviceKind]] = {"status": "status", "info": "info", "stats": "stats", "model": "model"}
_STREAM_KINDS: Final[dict[str, StreamKind]] = {
    "status": "stream_status",
    "prediction": "prediction",
    "event": "event",
    "snapshot": "snapshot",
}


@dataclass(frozen=True, slots=True)
class Address:
    """What a topic names. ``stream`` is None for what concerns the whole device."""

    device: str
    stream: str | None
    kind: DeviceKind | StreamKind


def address_of(topic: str) -> Address | None:
    """Read ``edge-infer/<device>/...``; None for a topic that is not one of the contract's."""
    match topic.split("/"):
        case [root, device, name] if root == ROOT and _is_name(device) and name in _DEVICE_KINDS:
            return Address(device, None, _DEVICE_KINDS[name])
        case [root, device, "command", "snapshot", "result"] if root == ROOT and _is_name(device):
            return Address(device, None, "result")
        case [root, device, stream, name] if root == ROOT and _is_name(device) and _is_name(stream):
            if stream != "command" and name in _STREAM_KINDS:
                return Address(device, stream, _STREAM_KINDS[name])
    return None


def _is_name(text: str) -> bool:
    return 0 < len(text) <= NAME_LENGTH and text.isprintable()


def read_object(payload: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a payload, trimmed; None for anything else, for nonsense and for more than 1 MB."""
    if len(payload) > JSON_BYTES:
        return None
    try:
        value = msgspec.json.decode(payload)
    except (ValueError, RecursionError):  # msgspec's errors and UnicodeDecodeError are ValueErrors
        return None
    return trimmed(value) if isinstance(value, dict) else None


def trimmed(value: Any) -> Any:
    """Return a copy with at most 64 entries per list or object, 8 levels and 500 characters a text.

    In all it has at most about 2000 values or 32,000 characters, so that a device's whole state stays small.
    """
    return _trim(value, DEPTH, [BUDGET])


def _trim(value: Any, depth: int, budget: list[int]) -> Any:
    budget[0] -= 1
    if isinstance(value, str):
        budget[0] -= min(len(value), TEXT_LENGTH) // TEXT_UNIT
        return value[:TEXT_LENGTH] if budget[0] > 0 else ""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if -EXACT_INTEGER <= value <= EXACT_INTEGER else number(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth == 0 or budget[0] <= 0:
        return None
    if isinstance(value, dict):
        some = {str(key)[:NAME_LENGTH]: entry for key, entry in list(value.items())[: min(ENTRIES, budget[0])]}
        budget[0] -= sum(map(len, some)) // TEXT_UNIT
        return {key: _trim(entry, depth - 1, budget) for key, entry in some.items()}
    if isinstance(value, list):
        return [_trim(entry, depth - 1, budget) for entry in value[: min(ENTRIES, budget[0])]]
    return None


def number(value: Any) -> float | None:
    """Return a finite float for a JSON number, None for anything else (true and false are no numbers)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def at(value: Any, *path: str) -> Any:
    """Return what is at a path of keys, None where the path ends early."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def point_of(prediction: dict[str, Any], *, received_ms: int) -> list[float | None]:
    """Return a stream's history point: when it came (ms since 1970), its leading number, its total latency in ms.

    The leading number is the first row's ``score`` (classify, audio, detect, pose, anomaly) or ``value`` (regress);
    no detection at all is 0.
    """
    rows = prediction.get("result")
    first = rows[0] if isinstance(rows, list) and rows else rows
    leading = number(at(first, "score"))
    if leading is None:
        leading = number(at(first, "value"))
    if leading is None and rows == [] and prediction.get("task") in {"detect", "pose"}:
        leading = 0.0
    return [received_ms, leading, number(at(prediction, "latency_ms", "total"))]


SAMPLE_PATHS: Final[tuple[tuple[str, ...], ...]] = (
    ("fps", "capture"),
    ("fps", "inference"),
    ("fps", "dropped"),
    ("latency_ms", "total", "p50"),
    ("latency_ms", "total", "p95"),
    ("latency_ms", "total", "p99"),
    ("cpu_percent", "process"),
    ("cpu_percent", "system"),
    ("memory_mb", "rss"),
    ("memory_mb", "available"),
    ("temperature_c",),
)
"""Which numbers of ``stats`` are kept for the charts, in this order, after the time."""


def sample_of(stats: dict[str, Any], *, received_ms: int) -> list[float | None]:
    """Return a device's history sample: when it came (ms since 1970), then the numbers of ``SAMPLE_PATHS``."""
    return [received_ms, *(number(at(stats, *path)) for path in SAMPLE_PATHS)]


EVENT_KEYS: Final = ("type", "label", "class_id", "score", "started_at", "ended_at")


def event_of(message: dict[str, Any]) -> dict[str, Any] | None:
    """Return what is kept of an event message, with its ``id`` as text; None when it is none of the contract's."""
    identity = message.get("id")
    if not isinstance(identity, str | int) or message.get("type") not in {"start", "update", "end"}:
        return None
    return {"id": str(identity)} | {
        key: message[key] for key in EVENT_KEYS if not isinstance(message.get(key), dict | list | None)
    }


def is_jpeg(payload: bytes) -> bool:
    """Whether a payload may be shown as a JPEG picture: its first three bytes are, and it is not above 4 MB."""
    return payload[:3] == b"\xff\xd8\xff" and len(payload) <= SNAPSHOT_BYTES
