"""Messages that must survive a power cut, in SQLite: write-ahead log, a full sync per commit, batched commits.

Nothing is imported, created or written before the first message must be kept, unless a file with a backlog is there.
All methods are called from the connection's thread. A failure is a StoreError, and ``error`` says it until a write
succeeds again (that a file was set aside, for the whole run); the caller goes on from memory.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edge_runtime.errors import StoreError
from edge_runtime.mqtt import _outbox_schema as schema
from edge_runtime.mqtt._outbox_file import KEEP_BYTES, OutboxFile
from edge_runtime.mqtt._outbox_schema import Kind, Limits, Measure
from edge_runtime.mqtt.ages import AgeClock

if TYPE_CHECKING:
    import sqlite3

EVENT_LIMITS = Limits(max_bytes=8 * 1024 * 1024, max_age_s=30 * 86_400.0)


class Row(NamedTuple):
    """One stored message. ``id`` grows in the order in which messages were handed over."""

    id: int
    topic: str
    payload: bytes


class Outbox:
    """A file of messages in order. The constructor does no I/O; a missing folder is made with mode 0700.

    ``max_bytes`` and ``max_age_s`` limit what is kept, ``events`` what is kept of events, which count by themselves.
    ``ages`` tells how old messages are; ``limit`` is called with each new SQLite connection (tests make small disks
    with it).
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        max_age_s: float = 7 * 86_400.0,
        events: Limits = EVENT_LIMITS,
        wall_ns: Callable[[], int] = time.time_ns,
        ages: AgeClock | None = None,
        limit: "Callable[[sqlite3.Connection], object] | None" = None,
    ) -> None:
        self._file = OutboxFile(path, limit=limit)
        self._limits = {Kind.ORDINARY: Limits(max_bytes, max_age_s), Kind.EVENT: events}
        self._wall_ns = wall_ns
        self._ages = ages or AgeClock(wall_ns=wall_ns)
        self._resumed = False
        self._next_id = 1
        self._held = {kind: Measure(0, 0) for kind in Kind}
        self.dropped = 0
        """Messages given up since the start: too old, too many, or in a file that became unreadable."""
        self._failure: str | None = None
        self._notice: str | None = None

    @property
    def count(self) -> int:
        """Messages in the file."""
        return sum(held.messages for held in self._held.values())

    @property
    def size_bytes(self) -> int:
        """Their payloads and topics."""
        return sum(held.size_bytes for held in self._held.values())

    @property
    def error(self) -> str | None:
        """What is wrong with the disk now, else what was set aside in this run, one line; None when all is well."""
        return self._failure or self._notice

    @property
    def failing(self) -> bool:
        """Whether the last write failed."""
        return self._failure is not None

    @property
    def last_id(self) -> int:
        """The id given to the newest message so far, 0 before the first."""
        return self._next_id - 1

    @property
    def over_limit(self) -> bool:
        """Whether there is more of a kind than its limit, so that ``trim`` is due."""
        return any(held.size_bytes > self._limits[kind].max_bytes for kind, held in self._held.items())

    def open(self) -> None:
        """Read what an earlier run left; a file that is not there is not made. Raises StoreError.

        A corrupt file is set aside under a name with a time stamp, ``error`` names it, and a new one is begun.
        """
        if self._file.path.exists():
            with self._guard():
                pass

    def append(self, messages: Sequence[tuple[str, bytes]]) -> range:
        """Commit ``(topic, payload)`` pairs, in order, to the disk itself; return their ids. Raises StoreError."""
        first = 0
        kinds = [Kind.of(topic) for topic, _ in messages]
        with self._guard() as db:
            first = self._next_id
            stored_ms, wall_ms = self._ages.now_ms(), self._ages.wall_ms()
            db.execute("PRAGMA synchronous=FULL")
            with db:
                db.executemany(
                    "INSERT INTO message (id, stored_ms, topic, payload, wall_ms, kind) VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        (first + i, stored_ms, topic, payload, wall_ms, kind)
                        for i, ((topic, payload), kind) in enumerate(zip(messages, kinds, strict=True))
                    ),
                )
        self._next_id = first + len(messages)
        for (topic, payload), kind in zip(messages, kinds, strict=True):
            held = self._held[kind]
            self._held[kind] = Measure(held.messages + 1, held.size_bytes + len(topic.encode()) + len(payload))
        self._failure = None
        return range(first, self._next_id)

    def probe(self) -> None:
        """Write something to a disk that failed, so that ``error`` is over as soon as it is well. Raises StoreError."""
        with self._guard() as db:
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA user_version=0")
        self._failure = None

    def load(self, after_id: int, *, max_rows: int = 200) -> list[Row]:
        """Return the oldest messages behind ``after_id``, in order. Raises StoreError."""
        with self._guard() as db:
            cursor = db.execute(
                "SELECT id, topic, payload FROM message WHERE id > ? ORDER BY id LIMIT ?", (after_id, max_rows)
            )
            return [Row(*row) for row in cursor]
        raise AssertionError  # the guard passes no error on silently

    def delete_through(self, last_id: int) -> None:
        """Forget every message up to ``last_id``. Raises StoreError.

        Without a sync of its own: what a power cut brings back is sent once more, which the promise allows.
        """
        if self._file.db is None or not self.count:
            return
        with self._guard() as db:
            going = schema.measure(db, last_id)
            db.execute("PRAGMA synchronous=NORMAL")
            with db:
                db.execute("DELETE FROM message WHERE id <= ?", (last_id,))
            self._take_off(going)
        if self.count == 0 and self._file.path.stat().st_size > KEEP_BYTES:
            self._file.remove()

    def trim(self) -> dict[Kind, int]:
        """Give up what is too old, and the oldest of what is too much; return the last id given up of each kind.

        Raises StoreError.
        """
        gone: dict[Kind, int] = {}
        if self._file.db is None or not self.count:
            return gone
        with self._guard() as db:
            before, now_ms = self._held, self._ages.now_ms()
            for kind, limits in self._limits.items():
                held_bytes = before[kind].size_bytes
                last_id = schema.surplus_id(db, kind, limits=limits, held_bytes=held_bytes, now_ms=now_ms)
                if last_id:
                    gone[kind] = last_id
                    with db:
                        db.execute("DELETE FROM message WHERE kind = ? AND id <= ?", (kind, last_id))
            if gone:
                self._held = schema.measure(db)
                self.dropped += sum(held.messages for held in before.values()) - self.count
        return gone

    def count_after(self, row_id: int) -> int:
        """Return how many messages are behind ``row_id``. Raises StoreError."""
        if self._file.db is None:
            return 0
        with self._guard() as db:
            return schema.scalar(db, "SELECT count(*) FROM message WHERE id > ?", (row_id,))
        raise AssertionError  # the guard passes no error on silently

    def set_aside(self, reason: str) -> None:
        """Rename the file, with a time stamp, and begin a new one at the next write; nothing is deleted."""
        try:
            aside = self._file.set_aside(self._wall_ns())
        except OSError as error:
            path = self._file.path
            self._failure = f"the outbox {path} is unreadable ({reason}) and cannot be renamed: {error.strerror}"
        else:
            self._failure = None
            self._notice = f"the outbox was unreadable ({reason}) and was set aside as {aside}"
        self._forget()

    def _forget(self) -> None:
        """Count everything in the file as given up."""
        self.dropped += self.count
        self._held = {kind: Measure(0, 0) for kind in Kind}

    def _take_off(self, going: dict[Kind, Measure]) -> None:
        for kind, part in going.items():
            held = self._held[kind]
            self._held[kind] = Measure(held.messages - part.messages, held.size_bytes - part.size_bytes)

    def close(self) -> None:
        """Close the file; an empty one is removed, so that the next start need not look into it."""
        empty = self._file.db is not None and not self.count
        self._file.disconnect()
        if empty:
            self._file.remove()

    @contextmanager
    def _guard(self) -> "Iterator[sqlite3.Connection]":
        """Open if need be, and turn SQLite's and the system's errors into StoreError; set a corrupt file aside."""
        import sqlite3

        try:
            yield self._connected()
        except sqlite3.DatabaseError as error:
            if schema.is_corrupt(error):
                self.set_aside(str(error))
            else:
                self._fail(str(error))
            raise StoreError(str(self.error)) from error
        except OSError as error:
            self._fail(str(error.strerror))
            raise StoreError(str(self.error)) from error

    def _fail(self, reason: str) -> None:
        self._failure = f"cannot write the outbox {self._file.path}: {reason}"
        if not self.count:  # nothing is left to be read through it, and a disk that was mounted anew needs a new one
            self._file.disconnect()

    def _connected(self) -> "sqlite3.Connection":
        if self._file.db is not None and not self._file.is_where_it_was():
            self._file.disconnect()
            self._connect_again()
        return self._file.db or self._connect()

    def _connect_again(self) -> None:
        """Open what lies in the place of the file: the same messages, on a disk that was mounted anew, or others.

        A commit that failed may be there all the same, so there may be more of them.
        """
        last_id, held = self.last_id, self.count
        newest = schema.newest(self._connect())
        if not held or (newest is not None and newest[0] >= last_id):
            return
        self._notice = f"the outbox {self._file.path} was taken away while it was in use, and is begun anew"
        self.dropped += held
        raise StoreError(self._notice)

    def _connect(self) -> "sqlite3.Connection":
        db, new = self._file.connect()
        try:
            schema.prepare(db, check=not new)
            self._held = schema.measure(db)
            if (last := schema.newest(db)) is not None:
                self._next_id = max(self._next_id, last[0] + 1)
                if not self._resumed:
                    self._ages.resume(last[1], last[2])
            self._resumed = True
            self._file.keep(db)
        except BaseException:
            db.close()
            raise
        return db
