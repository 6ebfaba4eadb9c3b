"""QoS 1 messages on their way to the broker: one order, a window, and the outbox behind them.

The order is the one in which messages were handed over, and its parts follow one another:

    in flight (sent, not acknowledged) → waiting (in memory) → unread (in the outbox only) → fresh (behind those)

What is in the outbox is always a front part of it. Everything here belongs to the connection's thread.
"""

import time
from collections import deque
from dataclasses import dataclass

from edge_runtime.errors import StoreError
from edge_runtime.mqtt._outbox_schema import Kind
from edge_runtime.mqtt.outbox import Outbox

COMMIT_CONNECTED_S = 0.3
"""An unacknowledged message this old is committed; 0.5 s is promised, and the connection may look every 0.1 s only."""
COMMIT_DISCONNECTED_S = 0.04
"""The same while disconnected, where 0.1 s is promised: a card may take some tens of milliseconds for the commit."""
_LEAST_AGE_S = 0.01  # however slow the commits: not each message by itself
_REMEMBERED = 0.9  # of a slow commit's duration, at the next one
_DELETE_EVERY_S = 0.5
_TRIM_EVERY_S = 60.0
_RETRY_FIRST_S, _RETRY_LAST_S = 1.0, 5.0
"""A kill in such a pause takes what waits in memory although the disk may have room again: no long ones."""
_PAGE = 200
_OVERHEAD_BYTES = 300  # what a message costs in memory beside its payload


@dataclass(slots=True, eq=False)
class Message:
    """One message of any kind, from ``publish`` to its acknowledgement."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    handed_s: float
    """Monotonic seconds."""
    row: int | None = None
    """Its id in the outbox, once committed."""
    done: bool = False
    """Acknowledged, refused for good, or given up."""


class Delivery:
    """Holds every QoS 1 message that is not retained until the broker has it.

    ``window`` bounds what is in flight; ``memory_max_bytes`` what is held in memory: beyond it the tail is left to
    the outbox, or, without a working outbox, the oldest messages are dropped and counted.
    """

    def __init__(self, outbox: Outbox | None, *, window: int = 100, memory_max_bytes: int = 8 * 1024 * 1024) -> None:
        self.window = window
        self._outbox = outbox
        self._memory_max_bytes = memory_max_bytes
        self._memory_bytes = 0
        self._in_flight: deque[Message] = deque()
        self._waiting: deque[Message] = deque()
        self._unread = 0
        self._read_to = 0
        self._fresh: deque[Message] = deque()
        self._unsafe: deque[Message] = deque()
        self._dropped = 0
        self._deleted_through = 0
        self._delete_at_s = self._trim_at_s = self._retry_at_s = 0.0
        self._retry_s = _RETRY_FIRST_S
        self._commit_s = 0.0

    @property
    def unacknowledged(self) -> int:
        """Messages the broker has not acknowledged yet, in memory and on disk."""
        return len(self._in_flight) + len(self._waiting) + self._unread + len(self._fresh)

    @property
    def dropped(self) -> int:
        """Messages given up since the start."""
        return self._dropped + (self._outbox.dropped if self._outbox else 0)

    @property
    def idle(self) -> bool:
        """Whether everything handed over has been acknowledged."""
        return not (self._in_flight or self._waiting or self._unread or self._fresh)

    def stats(self) -> dict[str, int | str | None]:
        """Return the contract's ``outbox`` part of ``stats``."""
        return {
            "pending": self.unacknowledged,
            "dropped": self.dropped,
            "bytes": self._outbox.size_bytes if self._outbox else 0,
            "error": self._outbox.error if self._outbox else None,
        }

    def open(self) -> None:
        """Look for what an earlier run left; it goes first. A broken outbox is said in ``stats`` and lived without."""
        if self._outbox is not None:
            try:
                self._outbox.open()
            except StoreError:
                return
            self._unread = self._outbox.count

    def add(self, message: Message) -> None:
        """Take a message; it goes behind all others."""
        (self._fresh if self._unread else self._waiting).append(message)
        self._memory_bytes += len(message.payload) + _OVERHEAD_BYTES
        if self._outbox is not None:
            self._unsafe.append(message)
        if self._memory_bytes > self._memory_max_bytes:
            self._make_room()

    def next(self) -> Message | None:
        """Return the next message to send and count it as in flight; None when the window is full or nothing waits."""
        if len(self._in_flight) >= self.window:
            return None
        if not self._waiting and self._unread:
            self._load()
        if not self._waiting:
            return None
        message = self._waiting.popleft()
        self._in_flight.append(message)
        return message

    def finish(self, message: Message, *, dropped: bool = False) -> None:
        """Take the broker's answer: it has the message, or (``dropped``) refuses it for good."""
        if message.done:
            return
        message.done = True
        self._dropped += dropped
        while self._in_flight and self._in_flight[0].done:
            self._memory_bytes -= len(self._in_flight.popleft().payload) + _OVERHEAD_BYTES

    def rewind(self) -> None:
        """Take a lost connection: what was in flight is to be sent again, before everything else and in order."""
        while self._in_flight:
            message = self._in_flight.pop()
            if message.done:
                self._memory_bytes -= len(message.payload) + _OVERHEAD_BYTES
            else:
                self._waiting.appendleft(message)

    def due_in_s(self, now_s: float, *, connected: bool) -> float | None:
        """Return in how many seconds ``store`` has something to do; None when nothing is foreseen."""
        self._prune()
        due: list[float] = []
        if self._unsafe:
            due.append(self._unsafe[0].handed_s + self._age_s(connected))
        if self._outbox is not None and self._outbox.count:
            due.append(self._delete_at_s if self._deletable() > self._deleted_through else self._trim_at_s)
        if self._outbox is not None and self._outbox.failing:
            due.append(self._retry_at_s)
        return max(0.0, max(min(due), self._retry_at_s) - now_s) if due else None

    def store(self, now_s: float, *, connected: bool, force: bool = False) -> None:
        """Commit what is old enough (``force``: all), forget what was acknowledged, keep within the limits.

        Never raises: an outbox that fails says so in ``stats`` and is tried again, with growing pauses.
        """
        if self._outbox is None or (now_s < self._retry_at_s and not force):
            return
        self._prune()
        try:
            if self._unsafe and (force or now_s - self._unsafe[0].handed_s >= self._age_s(connected)):
                self._commit(self._outbox)
            elif self._outbox.failing and not force:
                self._outbox.probe()
            if force or now_s >= self._delete_at_s:
                self._delete(self._outbox, now_s)
            if now_s >= self._trim_at_s or self._outbox.over_limit:
                self._trim_at_s = now_s + _TRIM_EVERY_S
                self._trim(self._outbox)
        except StoreError:
            self._retry_at_s = now_s + self._retry_s
            self._retry_s = min(self._retry_s * 2, _RETRY_LAST_S)
            self._start_over_if_lost(self._outbox)
        else:
            self._retry_s = _RETRY_FIRST_S

    def close(self, now_s: float) -> int:
        """Commit whatever is unacknowledged, close the outbox, and return how many messages were left."""
        self.rewind()
        self.store(now_s, connected=False, force=True)
        if self._outbox is not None:
            self._outbox.close()
        return self.unacknowledged

    def _age_s(self, connected: bool) -> float:
        """Return how old a message may get before its commit starts: less where commits have lately taken long."""
        if connected:
            return COMMIT_CONNECTED_S
        return max(_LEAST_AGE_S, COMMIT_DISCONNECTED_S - self._commit_s)

    def _prune(self) -> None:
        while self._unsafe and self._unsafe[0].done:
            self._unsafe.popleft()

    def _commit(self, outbox: Outbox) -> None:
        batch = [message for message in self._unsafe if not message.done]
        began_s = time.monotonic()
        rows = outbox.append([(message.topic, message.payload) for message in batch])
        self._commit_s = max(time.monotonic() - began_s, self._commit_s * _REMEMBERED)
        for message, row in zip(batch, rows, strict=True):
            message.row = row
        self._unsafe.clear()
        if self._unread:
            # Behind unread messages these are unread ones themselves now: they come back from the disk in their turn.
            self._unread += len(self._fresh)
            self._forget(self._fresh)
        else:
            self._read_to = outbox.last_id
            self._make_room()

    def _forget(self, messages: deque[Message]) -> None:
        self._memory_bytes -= sum(len(message.payload) + _OVERHEAD_BYTES for message in messages)
        messages.clear()

    def _make_room(self) -> None:
        """Keep memory bounded: committed messages at the tail are left to the disk, else the oldest is dropped."""
        while self._memory_bytes > self._memory_max_bytes * 3 // 4 and not self._fresh and len(self._waiting) > 1:
            last = self._waiting[-1]
            if last.row is None:
                break
            self._waiting.pop()
            self._unread += 1
            self._read_to = last.row - 1
            self._memory_bytes -= len(last.payload) + _OVERHEAD_BYTES
        healthy = self._outbox is not None and not self._outbox.failing
        limit = self._memory_max_bytes * (2 if healthy else 1)  # a healthy outbox takes the tail at its next commit
        while self._memory_bytes > limit and (queue := self._waiting or self._fresh):
            # An event is worth more than the predictions it sums up: it goes only when nothing else is left.
            place = next((i for i, one in enumerate(queue) if Kind.of(one.topic) is Kind.ORDINARY), 0)
            oldest = queue[place]
            del queue[place]
            self._memory_bytes -= len(oldest.payload) + _OVERHEAD_BYTES
            oldest.done = True
            self._dropped += 1

    def _load(self) -> None:
        assert self._outbox is not None
        try:
            rows = self._outbox.load(self._read_to, max_rows=_PAGE)
        except StoreError as error:
            # What cannot be read now must not hold up what can be sent: the file is kept for a person to look at.
            self._outbox.set_aside(str(error))
            self._start_over_if_lost(self._outbox)
            return
        for row in rows:
            self._waiting.append(Message(row.topic, row.payload, 1, retain=False, handed_s=0.0, row=row.id))
            self._memory_bytes += len(row.payload) + _OVERHEAD_BYTES
            self._read_to = row.id
        self._unread = max(0, self._unread - len(rows)) if rows else 0
        if not self._unread:
            self._waiting.extend(self._fresh)
            self._fresh.clear()

    def _deletable(self) -> int:
        """Return the last id of the rows that are all acknowledged."""
        assert self._outbox is not None
        first = next((message for message in self._in_flight if not message.done), None)
        if first is None and self._waiting:
            first = self._waiting[0]
        if first is not None and first.row is not None:
            return first.row - 1
        return self._read_to if self._unread else self._outbox.last_id

    def _delete(self, outbox: Outbox, now_s: float) -> None:
        through = self._deletable()
        if through > self._deleted_through:
            self._delete_at_s = now_s + _DELETE_EVERY_S
            outbox.delete_through(through)
            self._deleted_through = through

    def _trim(self, outbox: Outbox) -> None:
        gone = outbox.trim()
        if not gone:
            return
        waiting, self._waiting = self._waiting, deque()
        for message in waiting:
            if message.row is not None and message.row <= gone.get(Kind.of(message.topic), 0):
                message.done = True
                self._memory_bytes -= len(message.payload) + _OVERHEAD_BYTES
            else:
                self._waiting.append(message)
        if self._unread:
            self._unread = outbox.count_after(self._read_to)

    def _start_over_if_lost(self, outbox: Outbox) -> None:
        """After a file was set aside, nothing in memory is committed any more."""
        if outbox.count:
            return
        self._unread = 0
        self._waiting.extend(self._fresh)
        self._fresh.clear()
        alive = [message for message in (*self._in_flight, *self._waiting) if not message.done]
        self._dropped -= sum(
            message.row is not None for message in alive
        )  # gone from the file, and still sent from here
        for message in alive:
            message.row = None
        self._unsafe = deque(alive)
        self._deleted_through = outbox.last_id
