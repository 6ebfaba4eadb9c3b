"""Messages that must survive a power cut, in SQLite: write-ahead log, a full sync per commit, batched commits.

Nothing is imported, created or written before the first message must be kept, unless a file with a backlog is there.
All methods are called from the connection's thread. A failure is a StoreError, and ``error`` says it until a write
succeeds again (that a file was set aside, for the whole run); the caller goes on from memory.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edge_runtime.clock import rfc3339
from edge_runtime.errors import StoreError

if TYPE_CHECKING:
    import sqlite3

_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY,
    stored_ms INTEGER NOT NULL,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL
)
"""
_PLAUSIBLE_MS = 1_735_689_600_000  # 2025-01-01: a clock before that has not been set since boot, and tells no age
_HIGHEST_ID = 2**63 - 1
_KEEP_FILE_BYTES = 4 * 1024 * 1024
_SIDE_FILES = ("", "-wal", "-shm")


class Row(NamedTuple):
    """One stored message. ``id`` grows in the order in which messages were handed over."""

    id: int
    topic: str
    payload: bytes


class Outbox:
    """A file of messages in order. The constructor does no I/O; a missing folder is made with mode 0700.

    ``wall_ns`` gives the wall time, for ages; ``limit`` is called with each new SQLite connection (tests make small
    disks with it).
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        max_age_s: float = 7 * 86_400.0,
        wall_ns: Callable[[], int] = time.time_ns,
        limit: "Callable[[sqlite3.Connection], object] | None" = None,
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_age_ms = max_age_s * 1000
        self._wall_ns = wall_ns
        self._limit = limit
        self._db: sqlite3.Connection | None = None
        self._next_id = 1
        self.count = 0
        """Messages in the file."""
        self.bytes = 0
        """Their payloads and topics."""
        self.dropped = 0
        """Messages given up since the start: too old, too many, or in a file that became unreadable."""
        self._failure: str | None = None
        self._notice: str | None = None

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
        """Whether there is more than ``max_bytes``, so that ``trim`` is due."""
        return self.bytes > self._max_bytes

    def open(self) -> None:
        """Read what an earlier run left; a file that is not there is not made. Raises StoreError.

        A corrupt file is set aside under a name with a time stamp, ``error`` names it, and a new one is begun.
        """
        if self._path.exists():
            with self._guard():
                pass

    def append(self, messages: Sequence[tuple[str, bytes]]) -> range:
        """Commit ``(topic, payload)`` pairs, in order, to the disk itself; return their ids. Raises StoreError."""
        stored_ms = self._wall_ns() // 1_000_000
        first = 0
        with self._guard() as db:
            first = self._next_id
            db.execute("PRAGMA synchronous=FULL")
            with db:
                db.executemany(
                    "INSERT INTO message VALUES (?, ?, ?, ?)",
                    ((first + i, stored_ms, topic, payload) for i, (topic, payload) in enumerate(messages)),
                )
        self._next_id = first + len(messages)
        self.count += len(messages)
        self.bytes += sum(len(topic.encode()) + len(payload) for topic, payload in messages)
        self._failure = None
        return range(first, self._next_id)

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
        if self._db is None or not self.count:
            return
        with self._guard() as db:
            count, size = self._measure(db, last_id)
            db.execute("PRAGMA synchronous=NORMAL")
            with db:
                db.execute("DELETE FROM message WHERE id <= ?", (last_id,))
            self.count -= count
            self.bytes -= size
        if self.count == 0 and self._path.stat().st_size > _KEEP_FILE_BYTES:
            self._remove()

    def trim(self) -> int:
        """Give up what is too old, and the oldest of what is too much; return the last id given up, or 0.

        Ages are told by the wall clock; what was stored before the clock was set has none. Raises StoreError.
        """
        if self._db is None or not self.count:
            return 0
        gone_id = 0
        before = self.count
        with self._guard() as db:
            oldest_ms = self._wall_ns() // 1_000_000 - self._max_age_ms
            gone_id = _scalar(
                db,
                "SELECT max(id) FROM message WHERE stored_ms BETWEEN ? AND ?",
                (_PLAUSIBLE_MS, oldest_ms),
            )
            if self.bytes > self._max_bytes:  # one step gives up a twentieth, so that it is not done for each message
                gone_id = max(gone_id, self._id_where_bytes_pass(db, self.bytes - self._max_bytes * 19 // 20))
        if gone_id:
            self.delete_through(gone_id)
            self.dropped += before - self.count
        return gone_id

    def count_after(self, row_id: int) -> int:
        """Return how many messages are behind ``row_id``. Raises StoreError."""
        if self._db is None:
            return 0
        with self._guard() as db:
            return _scalar(db, "SELECT count(*) FROM message WHERE id > ?", (row_id,))
        raise AssertionError  # the guard passes no error on silently

    def set_aside(self, reason: str) -> None:
        """Rename the file, with a time stamp, and begin a new one at the next write; nothing is deleted."""
        self._disconnect()
        stamp = rfc3339(self._wall_ns()).replace(":", "").replace("-", "").replace(".", "")
        aside = self._path.with_name(f"{self._path.name}.corrupt-{stamp}")
        try:
            for suffix in _SIDE_FILES:
                with suppress(FileNotFoundError):
                    Path(f"{self._path}{suffix}").rename(f"{aside}{suffix}")
        except OSError as error:
            self._failure = f"the outbox {self._path} is unreadable ({reason}) and cannot be renamed: {error.strerror}"
        else:
            self._failure = None
            self._notice = f"the outbox was unreadable ({reason}) and was set aside as {aside}"
        self.dropped += self.count
        self.count = self.bytes = 0

    def close(self) -> None:
        """Close the file; an empty one is removed, so that the next start need not look into it."""
        empty = self._db is not None and not self.count
        self._disconnect()
        if empty:
            self._remove()

    def _disconnect(self) -> None:
        if self._db is not None:
            import sqlite3

            db, self._db = self._db, None
            with suppress(sqlite3.Error):
                db.close()

    def _remove(self) -> None:
        self._disconnect()
        for suffix in _SIDE_FILES:
            with suppress(OSError):
                Path(f"{self._path}{suffix}").unlink()

    @contextmanager
    def _guard(self) -> "Iterator[sqlite3.Connection]":
        """Open if need be, and turn SQLite's and the system's errors into StoreError; set a corrupt file aside."""
        import sqlite3

        try:
            yield self._connected()
        except sqlite3.DatabaseError as error:
            if _is_corrupt(error):
                self.set_aside(str(error))
            else:
                self._fail(str(error))
            raise StoreError(str(self.error)) from error
        except OSError as error:
            self._fail(str(error.strerror))
            raise StoreError(str(self.error)) from error

    def _fail(self, reason: str) -> None:
        self._failure = f"cannot write the outbox {self._path}: {reason}"
        if not self.count:  # nothing is left to be read through it, and a disk that was mounted anew needs a new one
            self._disconnect()

    def _connected(self) -> "sqlite3.Connection":
        if self._db is None:
            self._db = self._connect()
        return self._db

    def _connect(self) -> "sqlite3.Connection":
        import sqlite3

        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = not self._path.exists()
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self._path, timeout=1.0, check_same_thread=False)
        try:
            if self._limit is not None:
                self._limit(db)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(f"PRAGMA journal_size_limit={_KEEP_FILE_BYTES}")
            if not new:
                _check(db)
            with db:
                db.execute(_SCHEMA)
            self.count, self.bytes = self._measure(db, _HIGHEST_ID)
            self._next_id = max(self._next_id, 1 + _scalar(db, "SELECT max(id) FROM message"))
        except BaseException:
            db.close()
            raise
        return db

    @staticmethod
    def _measure(db: "sqlite3.Connection", last_id: int) -> tuple[int, int]:
        # length() of a text counts characters, of a blob bytes
        count, size = db.execute(
            "SELECT count(*), sum(length(payload) + length(CAST(topic AS BLOB))) FROM message WHERE id <= ?", (last_id,)
        ).fetchone()
        return int(count), int(size or 0)

    @staticmethod
    def _id_where_bytes_pass(db: "sqlite3.Connection", surplus: int) -> int:
        passed = last = 0
        for row_id, size in db.execute(
            "SELECT id, length(payload) + length(CAST(topic AS BLOB)) FROM message ORDER BY id"
        ):
            if passed >= surplus:
                break
            passed, last = passed + size, row_id
        return last


def _check(db: "sqlite3.Connection") -> None:
    verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        import sqlite3

        raise sqlite3.DatabaseError(f"malformed: {verdict}")


def _scalar(db: "sqlite3.Connection", statement: str, values: tuple[float, ...] = ()) -> int:
    return int(db.execute(statement, values).fetchone()[0] or 0)


def _is_corrupt(error: "sqlite3.DatabaseError") -> bool:
    text = str(error)
    return "malformed" in text or "not a database" in text or "no such column" in text
