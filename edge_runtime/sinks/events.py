"""From predictions, frame by frame, to events: something appeared, is still there, has gone.

A label's event starts when its level has been at ``enter`` or above in ``min_frames`` frames without a gap of
``missing_s``, and ends when it has not been at ``exit`` or above for ``missing_s``; between the two levels nothing
changes, so a score that trembles around one of them makes one event and not a hundred.
"""

import itertools
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from edge_runtime import clock
from edge_runtime.sinks.payloads import SCHEMA, encode
from edge_runtime.types import Anomaly, Classifications, Detections, Prediction

_NS = 1_000_000_000
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Levels and times. A level is the score; for anomaly the score in units of its threshold times ``enter``."""

    enter: float = 0.6
    exit: float = 0.4
    min_frames: int = 2
    """Frames at ``enter`` or above before an event starts."""
    missing_s: float = 2.0
    """An event ends when its label has been away for this long."""
    update_s: float = 10.0
    """An open event is told again this often."""
    rise: float = 0.1
    """It is told at once when its level has risen by this much over what was told."""
    max_open: int = 64
    """Labels followed at a time per stream; the rest waits, so that a model gone wild fills no memory."""

    def __post_init__(self) -> None:
        """Raise ValueError where the levels make no hysteresis."""
        if not 0 < self.exit <= self.enter:
            raise ValueError(f"exit ({self.exit}) must be above 0 and not above enter ({self.enter})")
        if self.min_frames < 1 or self.missing_s < 0 or self.update_s <= 0 or self.rise <= 0 or self.max_open < 1:
            raise ValueError("min_frames and max_open start at 1, update_s and rise above 0, missing_s at 0")


@dataclass(frozen=True, slots=True)
class Event:
    """One message about an event. ``score`` is the best so far; times are RFC 3339 of the frames."""

    type: Literal["start", "update", "end"]
    id: str
    stream: str
    class_id: int | None
    label: str | None
    score: float
    started_at: str
    ended_at: str | None


@dataclass(slots=True)
class _Followed:
    """A label that is there, or may be: an event once ``event`` is set."""

    label: str | None
    since_ns: int
    seen_ns: int
    frames: int = 0
    level: float = 0.0
    score: float = 0.0
    event: Event | None = None
    told_ns: int = 0
    told_level: float = 0.0


@dataclass(slots=True)
class _Stream:
    newest_ns: int = 0
    followed: dict[int | None, _Followed] = field(default_factory=dict)


def event_payload(event: Event, device: str) -> bytes:
    """Return an event as published: UTF-8 JSON."""
    return encode(
        {
            "schema": SCHEMA,
            "device": device,
            "stream": event.stream,
            "type": event.type,
            "id": event.id,
            "class_id": event.class_id,
            "label": event.label,
            "score": event.score,
            "started_at": event.started_at,
            "ended_at": event.ended_at,
        }
    )


class EventTracker:
    """Follows every label of every stream. Time is that of the frames, so a slow sink changes nothing.

    Tasks with events: classify (the top label), detect and audio (every label), anomaly (one, ``anomaly``); the
    others have none. Thread-safe: predictions come from the sink's thread, the end of a stream from another.
    """

    def __init__(self, config: Config | None = None, *, run_id: str | None = None) -> None:
        self._config = config or Config()
        # Time makes ids sort and differ between runs; the random part also where a device boots with a wrong clock.
        self._run_id = run_id or base36(time.time_ns() // _NS) + _random_part()
        self._ids = itertools.count(1)
        self._streams: dict[str, _Stream] = {}
        self._lock = threading.Lock()

    def update(self, prediction: Prediction) -> list[Event]:
        """Take one prediction and return the messages it gives rise to, ends first."""
        if prediction.task not in {"classify", "detect", "audio", "anomaly"}:
            return []
        with self._lock:
            stream = self._streams.setdefault(prediction.stream, _Stream())
            # Frames of several prepare threads may overtake each other by one; time never runs backwards here.
            now_ns = stream.newest_ns = max(stream.newest_ns, prediction.captured_ns)
            for class_id, label, level, score in self._levels(prediction):
                self._see(stream, class_id, label, level, score, now_ns)
            ends = list(self._end_missing(stream, now_ns))
            return ends + list(self._tell(prediction.stream, stream, now_ns))

    def end_stream(self, name: str) -> list[Event]:
        """Forget a stream that has gone, and return the ends of its open events. Any thread."""
        with self._lock:
            stream = self._streams.pop(name, None)
            if stream is None:
                return []
            return [_ended(f.event, f) for f in stream.followed.values() if f.event is not None]

    def end_all(self) -> list[Event]:
        """Return the ends of all open events. Any thread."""
        return [event for name in list(self._streams) for event in self.end_stream(name)]

    def _levels(self, prediction: Prediction) -> Iterator[tuple[int | None, str | None, float, float]]:
        """Yield class, label, level and score of what a prediction holds, each class once, above ``exit``."""
        result = prediction.result
        if isinstance(result, Anomaly):
            if result.threshold is not None and result.threshold > 0:
                yield None, "anomaly", result.score / result.threshold * self._config.enter, result.score
            return
        if not isinstance(result, Classifications | Detections):
            return
        count = min(1, len(result)) if prediction.task == "classify" else len(result)
        done: set[int] = set()
        for index in range(count):
            class_id = int(result.class_ids[index])
            score = float(result.scores[index])
            # Rows are best first: of several boxes of a class the first is the one that counts.
            if score >= self._config.exit and class_id not in done:
                done.add(class_id)
                yield class_id, result.labels[index], score, score

    def _see(
        self, stream: _Stream, class_id: int | None, label: str | None, level: float, score: float, now_ns: int
    ) -> None:
        followed = stream.followed.get(class_id)
        if followed is None:
            if not level >= self._config.enter or len(stream.followed) >= self._config.max_open:
                return
            followed = stream.followed[class_id] = _Followed(label, since_ns=now_ns, seen_ns=now_ns)
        if level >= self._config.exit:
            followed.seen_ns = now_ns
        if level >= self._config.enter:
            followed.frames += 1
        if level > followed.level:
            followed.level, followed.score = level, score

    def _end_missing(self, stream: _Stream, now_ns: int) -> Iterator[Event]:
        gone = [
            class_id
            for class_id, followed in stream.followed.items()
            if now_ns - followed.seen_ns > self._config.missing_s * _NS
        ]
        for class_id in gone:
            followed = stream.followed.pop(class_id)
            if followed.event is not None:
                yield _ended(followed.event, followed)

    def _tell(self, name: str, stream: _Stream, now_ns: int) -> Iterator[Event]:
        for class_id, followed in stream.followed.items():
            if followed.event is None:
                if followed.frames < self._config.min_frames:
                    continue
                event = Event(
                    type="start",
                    id=f"{self._run_id}-{base36(next(self._ids))}",
                    stream=name,
                    class_id=class_id,
                    label=followed.label,
                    score=round(followed.score, 4),
                    started_at=clock.rfc3339(clock.wall_ns(followed.since_ns)),
                    ended_at=None,
                )
            elif self._is_news(followed, now_ns):
                event = replace(followed.event, type="update", score=round(followed.score, 4))
            else:
                continue
            followed.event, followed.told_ns, followed.told_level = event, now_ns, followed.level
            yield event

    def _is_news(self, followed: _Followed, now_ns: int) -> bool:
        # Levels above 1 exist only for anomalies; there a rise is in proportion, so a growing one is told rarely.
        rise = self._config.rise * max(1.0, followed.told_level)
        risen = followed.level >= followed.told_level + rise
        return risen or now_ns - followed.told_ns >= self._config.update_s * _NS


def _ended(event: Event, followed: _Followed) -> Event:
    """Return the end of an event: it ended when its label was last seen, not when that was noticed."""
    ended_at = clock.rfc3339(clock.wall_ns(followed.seen_ns))
    return replace(event, type="end", score=round(followed.score, 4), ended_at=max(ended_at, event.started_at))


def _random_part() -> str:
    """Return four random digits of base 36; from the system, as `secrets` takes 2 ms to import."""
    return base36(int.from_bytes(os.urandom(8), "big") % 36**4).zfill(4)


def base36(number: int) -> str:
    """Write a number, zero or more, with the digits 0-9 and a-z."""
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if number == 0:
            return digits
