"""The hand-over points between threads. Each is bounded, and each names what happens when it overflows."""

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from edge_runtime.types import Frame, Prepared

T = TypeVar("T")
STOP_CHECK_S: Final = 0.1
"""How often a thread that waits for its turn looks whether the run has been stopped."""


class Gate:
    """Lets one waiting thread through, once; ``set`` belongs under the lock of the state that it tells of.

    One lock instead of a condition's three: a hand-over costs a third less CPU (11 against 17 us here, caches warm).
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self, *, is_open: bool) -> None:
        """Open or shut it; the caller holds the lock of the state, so that no two threads are here at once."""
        if is_open:
            if self._lock.locked():
                self._lock.release()
        else:
            self._lock.acquire(blocking=False)

    def wait(self, timeout_s: float) -> None:
        """Wait until it is open, and shut it; or until the time is over."""
        self._lock.acquire(timeout=timeout_s)


class Intake:
    """Room for one frame per stream, between the capture threads and the prepare threads.

    Overflow rule: ``offer`` replaces the frame that waits (live sources: the oldest is dropped, and counted by the
    caller); ``put`` waits for room (files: none is lost). Streams are served in turn. Every frame taken carries a
    ticket, so that several prepare threads can hand over in the order in which they took. A stream is filled by one
    thread.
    """

    def __init__(self, streams: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._pending: dict[str, tuple[Frame, bool] | None] = dict.fromkeys(streams)
        self._open = set(self._pending)
        self._turn: deque[str] = deque(self._pending)
        self._ticket = 0
        self._something = Gate()
        self._room = {stream: Gate() for stream in self._pending}
        self._ended = threading.Event()

    def offer(self, frame: Frame) -> bool:
        """Put a live frame in; True when it displaced an older one."""
        with self._lock:
            displaced = self._pending[frame.stream] is not None
            self._pending[frame.stream] = (frame, True)
            self._something.set(is_open=True)
            return displaced

    def put(self, frame: Frame, *, timeout_s: float) -> bool:
        """Put a frame in when its stream has room; False when there was none within ``timeout_s``."""
        stream = frame.stream
        if self._pending[stream] is not None:
            self._room[stream].wait(timeout_s)
        with self._lock:
            if self._pending[stream] is not None:
                return False
            self._pending[stream] = (frame, False)
            self._room[stream].set(is_open=False)
            self._something.set(is_open=True)
            return True

    def take(self, *, timeout_s: float, stream: str | None = None) -> tuple[int, Frame, bool] | None:
        """Take the next frame in turn as ``(ticket, frame, live)``; None when none came within ``timeout_s``.

        With ``stream`` only a frame of that one which is already there.
        """
        if stream is None and not self._waits():
            self._something.wait(timeout_s)
        with self._lock:
            for name in (stream,) if stream else tuple(self._turn):
                if entry := self._pending[name]:
                    self._pending[name] = None
                    self._turn.remove(name)
                    self._turn.append(name)
                    self._room[name].set(is_open=True)
                    self._something.set(is_open=self._waits() or not self._open)
                    ticket, self._ticket = self._ticket, self._ticket + 1
                    return ticket, *entry
            self._something.set(is_open=not self._open)
            return None

    def has(self, stream: str) -> bool:
        """Whether a frame of ``stream`` waits."""
        return self._pending[stream] is not None

    def finish(self, stream: str) -> None:
        """Say that no more frames of ``stream`` come."""
        with self._lock:
            self._open.discard(stream)
            self._something.set(is_open=self._waits() or not self._open)
            if not self._open:
                self._ended.set()

    def wait_ended(self, timeout_s: float) -> bool:
        """Wait until every stream has ended, its last frame perhaps still in here; False when some go on."""
        return self._ended.wait(timeout_s)

    @property
    def finished(self) -> bool:
        """Whether every stream has ended and its last frame was taken."""
        with self._lock:
            return not self._open and not self._waits()

    def _waits(self) -> bool:
        return any(self._pending.values())


@dataclass(slots=True)
class _Turn:
    """A prepare thread that waits to hand over."""

    prepared: Prepared | None
    over_own: bool
    gate: Gate = field(default_factory=Gate)


class ReadySlot:
    """The one prepared tensor that waits for the engine, and who has the engine.

    Overflow rule: ``put`` waits for its ticket's turn and for the slot to be free; ``replace`` takes the waiting one's
    place when it is of the same stream (a newer frame of a live source) and gives the old one back. The engine belongs
    to the thread that called ``take``, until it calls again, or to one that could ``claim`` it, until ``more`` gives
    it nothing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: Prepared | None = None
        self._next_ticket = 0
        self._closed = False
        self._inferring = False
        self._claimed = False
        self._something = Gate()
        self._free = Gate()
        self._queued: dict[int, _Turn] = {}

    def put(self, ticket: int, prepared: Prepared | None, *, stop: threading.Event) -> bool:
        """Hand over in ticket order; None passes the turn on (a bad frame). False when stopped before its turn."""
        handed, _ = self._hand_over(ticket, prepared, stop, over_own=False)
        return handed

    def replace(self, ticket: int, prepared: Prepared, *, stop: threading.Event) -> tuple[bool, Prepared | None]:
        """As ``put``, but displace a waiting tensor of the same stream; returns (handed over, the displaced one)."""
        return self._hand_over(ticket, prepared, stop, over_own=True)

    def _hand_over(
        self, ticket: int, prepared: Prepared | None, stop: threading.Event, *, over_own: bool
    ) -> tuple[bool, Prepared | None]:
        while True:
            with self._lock:
                if stop.is_set() or self._closed:
                    self._queued.pop(ticket, None)
                    return False, None
                if self._next_ticket == ticket and self._fits(prepared, over_own=over_own):
                    self._queued.pop(ticket, None)
                    self._next_ticket += 1
                    old = None
                    if prepared is not None:
                        old, self._value = self._value, prepared
                    self._settle()
                    return True, old
                turn = self._queued.setdefault(ticket, _Turn(prepared, over_own))
            turn.gate.wait(STOP_CHECK_S)

    def claim(self, ticket: int) -> bool:
        """Pass a tensor by the slot: true when it is its turn, nothing waits and the engine is free.

        The caller then infers it, and what ``more`` gives it until that is None.
        """
        with self._lock:
            busy = self._inferring or self._claimed or self._value is not None
            if busy or self._closed or self._next_ticket != ticket:
                return False
            self._next_ticket += 1
            self._claimed = True
            self._settle()
            return True

    def more(self) -> Prepared | None:
        """Take out what waits now, for a thread that has claimed the engine; None gives the engine back."""
        with self._lock:
            value, self._value = self._value, None
            self._claimed = value is not None
            self._settle()
            return value

    def take(self, *, timeout_s: float) -> Prepared | None:
        """Take the tensor out, when nobody has claimed the engine.

        None when none came within ``timeout_s`` or the slot is closed and empty. One thread calls this.
        """
        with self._lock:
            self._inferring = False
            self._settle()
            ready = self._value is not None and not self._claimed
        if not ready:
            self._something.wait(timeout_s)
        with self._lock:
            if self._claimed:
                return None
            value, self._value = self._value, None
            self._inferring = value is not None
            self._settle()
            return value

    def wait_free(self, *, timeout_s: float) -> bool:
        """Wait until nothing waits in it; False when something still did after ``timeout_s``."""
        if self._value is not None:
            self._free.wait(timeout_s)
        with self._lock:
            self._settle()
            return self._value is None or self._closed

    def peek(self) -> Prepared | None:
        """Return what waits, without taking it."""
        return self._value

    def close(self) -> None:
        """Wake everybody; what is in it can still be taken."""
        with self._lock:
            self._closed = True
            for turn in self._queued.values():
                turn.gate.set(is_open=True)
            self._settle()

    @property
    def finished(self) -> bool:
        """Whether it is closed and empty."""
        with self._lock:
            return self._closed and self._value is None

    def _fits(self, prepared: Prepared | None, *, over_own: bool) -> bool:
        waiting = self._value
        if prepared is None or waiting is None:
            return True
        return over_own and waiting.frame.stream == prepared.frame.stream

    def _settle(self) -> None:
        """Set the gates to what is now so; the lock is held."""
        self._something.set(is_open=(self._value is not None and not self._claimed) or self._closed)
        self._free.set(is_open=self._value is None or self._closed)
        turn = self._queued.get(self._next_ticket)
        if turn is not None and self._fits(turn.prepared, over_own=turn.over_own):
            turn.gate.set(is_open=True)


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
