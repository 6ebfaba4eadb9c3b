"""The hand-over points between threads. Each is bounded, and each names what happens when it overflows."""

import threading
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from edge_runtime.types import Frame, Prepared

T = TypeVar("T")


class Intake:
    """Room for one frame per stream, between the capture threads and the prepare threads.

    Overflow rule: ``offer`` replaces the frame that waits (live sources: the oldest is dropped, and counted by the
    caller); ``put`` waits for room (files: none is lost). Streams are served in turn. Every frame taken carries a
    ticket, so that several prepare threads can hand over in the order in which they took.
    """

    def __init__(self, streams: Iterable[str]) -> None:
        self._condition = threading.Condition()
        self._pending: dict[str, tuple[Frame, bool] | None] = dict.fromkeys(streams)
        self._open = set(self._pending)
        self._turn: deque[str] = deque(self._pending)
        self._ticket = 0

    def offer(self, frame: Frame) -> bool:
        """Put a live frame in; True when it displaced an older one."""
        with self._condition:
            displaced = self._pending[frame.stream] is not None
            self._pending[frame.stream] = (frame, True)
            self._condition.notify()
            return displaced

    def put(self, frame: Frame, *, timeout_s: float) -> bool:
        """Put a frame in when its stream has room; False when there was none within ``timeout_s``."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._pending[frame.stream] is None, timeout_s):
                return False
            self._pending[frame.stream] = (frame, False)
            self._condition.notify_all()
            return True

    def take(self, *, timeout_s: float, stream: str | None = None) -> tuple[int, Frame, bool] | None:
        """Take the next frame in turn (or that of ``stream``) as ``(ticket, frame, live)``; None when none came."""
        with self._condition:
            self._condition.wait_for(lambda: self._waiting(stream) or not self._open, timeout_s)
            for name in (stream,) if stream else tuple(self._turn):
                if entry := self._pending[name]:
                    self._pending[name] = None
                    self._turn.remove(name)
                    self._turn.append(name)
                    ticket, self._ticket = self._ticket, self._ticket + 1
                    self._condition.notify_all()
                    return ticket, *entry
            return None

    def has(self, stream: str) -> bool:
        """Whether a frame of ``stream`` waits."""
        return self._pending[stream] is not None

    def finish(self, stream: str) -> None:
        """Say that no more frames of ``stream`` come."""
        with self._condition:
            self._open.discard(stream)
            self._condition.notify_all()

    @property
    def finished(self) -> bool:
        """Whether every stream has ended and its last frame was taken."""
        with self._condition:
            return not self._open and not self._waiting(None)

    def _waiting(self, stream: str | None) -> bool:
        if stream is not None:
            return self._pending[stream] is not None
        return any(self._pending.values())


class ReadySlot:
    """The one prepared tensor that waits for the engine.

    Overflow rule: ``put`` waits for its ticket's turn and for the slot to be free; ``replace`` takes the waiting one's
    place when it is of the same stream (a newer frame of a live source) and gives the old one back.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._value: Prepared | None = None
        self._next_ticket = 0
        self._closed = False

    def put(self, ticket: int, prepared: Prepared | None, *, stop: threading.Event) -> bool:
        """Hand over in ticket order; None passes the turn on (a bad frame). False when stopped before its turn."""
        with self._condition:
            while not (self._next_ticket == ticket and (prepared is None or self._value is None)):
                if stop.is_set() or self._closed:
                    return False
                self._condition.wait(0.1)
            self._next_ticket += 1
            if prepared is not None:
                self._value = prepared
            self._condition.notify_all()
            return True

    def replace(self, ticket: int, prepared: Prepared, *, stop: threading.Event) -> tuple[bool, Prepared | None]:
        """As ``put``, but displace a waiting tensor of the same stream; returns (handed over, the displaced one)."""
        with self._condition:
            while not (self._next_ticket == ticket and (self._value is None or self._same_stream(prepared))):
                if stop.is_set() or self._closed:
                    return False, None
                self._condition.wait(0.1)
            self._next_ticket += 1
            old, self._value = self._value, prepared
            self._condition.notify_all()
            return True, old

    def take(self, *, timeout_s: float) -> Prepared | None:
        """Take the tensor out; None when none came within ``timeout_s`` or the slot is closed and empty."""
        with self._condition:
            self._condition.wait_for(lambda: self._value is not None or self._closed, timeout_s)
            value, self._value = self._value, None
            if value is not None:
                self._condition.notify_all()
            return value

    def wait_free(self, *, timeout_s: float) -> bool:
        """Wait until nothing waits in it; False when something still did after ``timeout_s``."""
        with self._condition:
            return self._condition.wait_for(lambda: self._value is None or self._closed, timeout_s)

    def peek(self) -> Prepared | None:
        """Return what waits, without taking it."""
        return self._value

    def close(self) -> None:
        """Wake everybody; what is in it can still be taken."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    @property
    def finished(self) -> bool:
        """Whether it is closed and empty."""
        with self._condition:
            return self._closed and self._value is None

    def _same_stream(self, prepared: Prepared) -> bool:
        return self._value is not None and self._value.frame.stream == prepared.frame.stream


class BoundedQueue(Generic[T]):
    """A queue of at most ``size`` values, taken in batches.

    Overflow rule: ``put`` waits for room up to its timeout and then gives the value back to the caller to count.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: deque[T] = deque()
        self._condition = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        """Return how many values wait."""
        return len(self._values)

    def put(self, value: T, *, timeout_s: float) -> bool:
        """Append ``value``; False when there was no room within ``timeout_s``, or it is closed."""
        with self._condition:
            if len(self._values) >= self._size and not self._condition.wait_for(
                lambda: len(self._values) < self._size or self._closed, timeout_s
            ):
                return False
            if self._closed:
                return False
            self._values.append(value)
            self._condition.notify_all()
            return True

    def take(self, *, timeout_s: float) -> list[T]:
        """Take everything that waits; empty when nothing came within ``timeout_s`` or it is closed and drained."""
        with self._condition:
            self._condition.wait_for(lambda: bool(self._values) or self._closed, timeout_s)
            values = list(self._values)
            self._values.clear()
            if values:
                self._condition.notify_all()
            return values

    @property
    def finished(self) -> bool:
        """Whether it is closed and drained."""
        with self._condition:
            return self._closed and not self._values

    def close(self) -> None:
        """Wake everybody; nothing more goes in, what is in it can still be taken."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
