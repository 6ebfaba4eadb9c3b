"""A prediction as the bytes that leave the process: one JSON document, the same for MQTT, JSONL and `batch`."""

from typing import Any

import msgspec

from edge_runtime import clock
from edge_runtime.protocols import Handed

SCHEMA = 1

# msgspec rather than json: seven times faster on the same dict (1.2 against 9 us), UTF-8 as it is, and a NaN of a
# broken model becomes null instead of a document that no strict reader takes.
_encode = msgspec.json.Encoder().encode


def prediction_document(handed: Handed, device: str) -> dict[str, Any]:
    """Return a prediction as it is published, keys in the contract's order.

    ``captured_at`` is the wall time of the frame, worked out with the clock's offset of now. ``path``, ``position_s``
    and what the result says beside its rows (``frame``) are there only where they mean something; so is ``clock``:
    ``unset`` where the time cannot be right.
    """
    prediction = handed.prediction
    model = prediction.model
    origin = prediction.origin
    result = prediction.result
    captured_ns = clock.wall_ns(prediction.captured_ns)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "device": device,
        "stream": prediction.stream,
        "seq": handed.seq,
        "seq_start": handed.seq_start,
        "captured_at": clock.rfc3339(captured_ns),
        "model": {"name": model.name, "version": model.version, "sha256": model.sha256},
        "task": prediction.task,
        "result": list(result),
    }
    if captured_ns < clock.NOT_BEFORE_NS:
        document["clock"] = "unset"
    document.update(result.extras())
    if origin.path is not None:
        document["path"] = printable(origin.path)
    if origin.position_s is not None:
        document["position_s"] = round(origin.position_s, 3)
    document["latency_ms"] = prediction.latency.to_dict()
    return document


def prediction_payload(handed: Handed, device: str) -> bytes:
    """Return a prediction as published: UTF-8 JSON without a line end. Called from a sink's thread."""
    return _encode(prediction_document(handed, device))


def encode(document: dict[str, Any]) -> bytes:
    """Return any other document of ours as UTF-8 JSON."""
    return _encode(document)


def printable(path: str) -> str:
    """Return a file name fit for JSON: bytes that are not UTF-8 (old file systems) become U+FFFD."""
    if path.isascii():
        return path
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
