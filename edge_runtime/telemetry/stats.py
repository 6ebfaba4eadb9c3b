"""The ``stats`` message: every key of the contract, ``null`` where nobody knows."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from edge_runtime.clock import now_rfc3339
from edge_runtime.telemetry.latency import PERCENTILES, STAGES

log = logging.getLogger(__name__)

KEYS: Final = (
    "uptime_s",
    "fps",
    "latency_ms",
    "cpu_percent",
    "memory_mb",
    "temperature_c",
    "throttled",
    "disk_free_mb",
    "network",
    "outbox",
    "broker",
    "engine",
    "drift",
)
"""Every key, in the order it is published."""
UNKNOWN: Final[dict[str, dict[str, Any]]] = {
    "fps": dict.fromkeys(("capture", "inference", "dropped")),
    "latency_ms": {stage: dict.fromkeys(f"p{percent}" for percent in PERCENTILES) for stage in STAGES},
    "cpu_percent": dict.fromkeys(("process", "system")),
    "memory_mb": dict.fromkeys(("rss", "pss", "available")),
    "outbox": dict.fromkeys(("pending", "dropped", "bytes", "error")),
    "broker": dict.fromkeys(("connected", "reconnects")),
    "engine": dict.fromkeys(("delegate", "restarts")),
    "drift": {},
}
"""What stands where nobody knows: every path a reader may take into the message exists."""

Provider = Callable[[], Any]
"""Returns the value of one key, or None; may raise OSError. Called from the thread of the statistics."""


class Stats:
    """Builds the message from functions that each know one part. One thread calls ``payload``.

    ``providers`` gives a function per key of `KEYS`; further keys are published after them. What a provider leaves out,
    cannot read, or is missing for, is null.
    """

    def __init__(self, device: str, providers: Mapping[str, Provider]) -> None:
        self._device = device
        self._providers = dict(providers)
        self._failing: set[str] = set()

    def payload(self) -> dict[str, Any]:
        """Return the message as a dict; nothing in it is invented."""
        message: dict[str, Any] = {"schema": 1, "device": self._device, "at": now_rfc3339()}
        for key in (*KEYS, *(key for key in self._providers if key not in KEYS)):
            message[key] = self._value(key)
        return message

    def _value(self, key: str) -> Any:
        provider = self._providers.get(key)
        value = None if provider is None else self._call(key, provider)
        unknown = UNKNOWN.get(key)
        if unknown is not None and (value is None or isinstance(value, Mapping)):
            return {**unknown, **(value or {})}
        return value

    def _call(self, key: str, provider: Provider) -> Any:
        try:
            value = provider()
        except OSError as error:
            if key not in self._failing:
                self._failing.add(key)
                log.warning("statistics: %s cannot be read: %s", key, error.strerror or error)
            return None
        self._failing.discard(key)
        return value
