"""Which predictions are published: all, those that say something new, or so many a second."""

import re
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import msgspec

from edge_runtime import clock
from edge_runtime.errors import UsageError
from edge_runtime.types import (
    Anomaly,
    Classifications,
    Detections,
    Poses,
    Prediction,
    RawTensors,
    Regression,
    Result,
    Segmentation,
)

_RATE = re.compile(r"(\d+(?:\.\d+)?|\.\d+)/s")
_NS = 1_000_000_000


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What counts as a change under ``change``."""

    score: float = 0.15
    """The best score has moved by more than this since the last one published."""
    relative: float = 0.1
    """regress, anomaly: a value has moved by more than this part of the last one published."""
    heartbeat_s: float = 10.0
    """Published at least this often, changed or not, as long as there are predictions."""
    min_pixels: float = 0.01
    """segment: a class counts as present from this part of the picture on, or its edge pixels would flicker."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What a prediction says, cut down to what may change: exact things and amounts."""

    what: Hashable
    amounts: tuple[float, ...]
    relative: bool = False


@dataclass(slots=True)
class _Last:
    said: _Said | None
    published_ns: int


def default_rule(*, live: bool) -> str:
    """Return the rule where none is given: ``change`` for cameras and streams, ``all`` for files and folders."""
    return "change" if live else "all"


class PublishPolicy:
    """Decides for one prediction after the other; keeps what each stream published last.

    ``rule`` is ``all``, ``change`` or a rate such as ``5/s`` or ``0.2/s``; it holds for each stream by itself. Called
    by one inference thread. Raises UsageError for a rule that is none of these.
    """

    def __init__(
        self, rule: str, *, config: Config | None = None, monotonic_ns: Callable[[], int] = clock.monotonic_ns
    ) -> None:
        self.rule = rule
        self._config = config or Config()
        self._clock = monotonic_ns
        self._interval_ns = 0 if rule in {"all", "change"} else _interval_ns(rule)
        self._last: dict[str, _Last] = {}
        self._due_ns: dict[str, int] = {}

    def wants(self, prediction: Prediction) -> bool:
        """Tell whether this prediction is to be published, and remember it if so."""
        if self.rule == "all":
            return True
        if self._interval_ns:
            return self._is_due(prediction.stream)
        return self._has_changed(prediction)

    def forget(self, stream: str) -> None:
        """Let the next prediction of a stream be published whatever it says: it went offline, or has a new model."""
        self._last.pop(stream, None)
        self._due_ns.pop(stream, None)

    def _is_due(self, stream: str) -> bool:
        now_ns = self._clock()
        due_ns = self._due_ns.get(stream, now_ns)
        if now_ns < due_ns:
            return False
        # Counted from when it was due, not from now, so that 30 frames a second thinned to 7 give 7 and not 6; after
        # a pause from now, so that nothing is made up for in a burst.
        next_ns = due_ns + self._interval_ns
        self._due_ns[stream] = next_ns if next_ns > now_ns else now_ns + self._interval_ns
        return True

    def _has_changed(self, prediction: Prediction) -> bool:
        now_ns = self._clock()
        said = _said(prediction.result, self._config)
        last = self._last.get(prediction.stream)
        if last is None:
            self._last[prediction.stream] = _Last(said, now_ns)
            return True
        if (
            said is not None
            and last.said is not None
            and not _differs(said, last.said, self._config)
            and now_ns - last.published_ns < self._config.heartbeat_s * _NS
        ):
            return False
        last.said = said
        last.published_ns = now_ns
        return True


def _interval_ns(rule: str) -> int:
    match = _RATE.fullmatch(rule)
    rate = float(match[1]) if match else 0.0
    if rate <= 0:
        raise UsageError(f"--publish takes all, change or a rate like 5/s or 0.2/s, not '{rule}'")
    return max(1, round(_NS / rate))


def _said(result: Result, config: Config) -> _Said | None:
    """Return what a result says, or None where every one counts as new (raw tensors)."""
    match result:
        case Classifications():
            if not len(result):
                return _Said(None, ())
            return _Said(int(result.class_ids[0]), (float(result.scores[0]),))
        case Detections():
            counts = frozenset(Counter(result.class_ids.tolist()).items())
            return _Said(counts, (float(result.scores[0]),) if len(result) else ())
        case Poses():
            return _Said(len(result), (float(result.scores[0]),) if len(result) else ())
        case Segmentation():
            total = max(1, int(result.mask.size))
            shares = {int(c): int(n) / total for c, n in zip(result.class_ids, result.pixels, strict=True)}
            present = frozenset(c for c, share in shares.items() if share >= config.min_pixels)
            return _Said(present, (max(shares.values(), default=0.0),))
        case Regression():
            return _Said(result.names, tuple(result.values.tolist()), relative=True)
        case Anomaly():
            anomalous = None if result.threshold is None else result.score > result.threshold
            return _Said(anomalous, (result.score,), relative=True)
        case RawTensors():
            return None


def _differs(now: _Said, last: _Said, config: Config) -> bool:
    if now.what != last.what or len(now.amounts) != len(last.amounts):
        return True
    for amount, before in zip(now.amounts, last.amounts, strict=True):
        allowed = config.relative * abs(before) if now.relative else config.score
        # Written so that a NaN, which compares false with everything, counts as a change.
        if not abs(amount - before) <= allowed:
            return True
    return False
