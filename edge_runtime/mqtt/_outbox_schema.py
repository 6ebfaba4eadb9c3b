"""The tables of the outbox, and what is asked of them; one connection, one thread."""

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3

HIGHEST_ID = 2**63 - 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY,
    stored_ms INTEGER NOT NULL,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL,
    wall_ms INTEGER,
    kind INTEGER NOT NULL DEFAULT 0
)
"""
_ADDED = {"wall_ms": "INTEGER", "kind": "INTEGER NOT NULL DEFAULT 0"}  # since the first version
# length() of a text counts characters, of a blob bytes
_MEASURE = """
SELECT kind, count(*), sum(length(payload) + length(CAST(topic AS BLOB))) FROM message WHERE id <= ? GROUP BY kind
"""
_SIZES = "SELECT id, length(payload) + length(CAST(topic AS BLOB)) FROM message WHERE kind = ? ORDER BY id"


class Kind(IntEnum):
    """What a message is, as far as its limits go."""

    ORDINARY = 0
    EVENT = 1
    """Few, and worth more than the predictions they sum up: they have limits of their own."""

    @classmethod
    def of(cls, topic: str) -> "Kind":
        """Return the kind of the messages on a topic."""
        return cls.EVENT if topic.endswith("/event") else cls.ORDINARY


class Limits(NamedTuple):
    """How much of one kind is kept."""

    max_bytes: int
    """Payloads and topics."""
    max_age_s: float


class Measure(NamedTuple):
    """Messages, and the bytes of their payloads and topics."""

    messages: int
    size_bytes: int


def prepare(db: "sqlite3.Connection", *, check: bool) -> None:
    """Make the table where there is none, with every column that an earlier version did not have.

    ``check`` reads the whole file first; raises sqlite3.DatabaseError.
    """
    if check and (verdict := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        import sqlite3

        raise sqlite3.DatabaseError(f"malformed: {verdict}")
    with db:
        db.execute(_SCHEMA)
        there = {row[1] for row in db.execute("PRAGMA table_info(message)")}
        for column, declaration in _ADDED.items():
            if column not in there:
                db.execute(f"ALTER TABLE message ADD COLUMN {column} {declaration}")


def measure(db: "sqlite3.Connection", last_id: int = HIGHEST_ID) -> dict[Kind, Measure]:
    """Return what is there of each kind, up to an id."""
    rows = db.execute(_MEASURE, (last_id,))
    found = {Kind(kind): Measure(int(count), int(size or 0)) for kind, count, size in rows}
    return {kind: found.get(kind, Measure(0, 0)) for kind in Kind}


def newest(db: "sqlite3.Connection") -> tuple[int, int, int | None] | None:
    """Return id, ``stored_ms`` and ``wall_ms`` of the newest message."""
    row: tuple[int, int, int | None] | None = db.execute(
        "SELECT id, stored_ms, wall_ms FROM message ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return row


def surplus_id(db: "sqlite3.Connection", kind: Kind, *, limits: Limits, held_bytes: int, now_ms: int) -> int:
    """Return the id up to which messages of a kind are too old or too many; 0 where none are."""
    oldest_ms = now_ms - int(limits.max_age_s * 1000)
    too_old = scalar(db, "SELECT max(id) FROM message WHERE kind = ? AND stored_ms < ?", (kind, oldest_ms))
    if held_bytes <= limits.max_bytes:
        return too_old
    surplus = held_bytes - limits.max_bytes * 19 // 20  # a twentieth at once, so that it is not done for each message
    passed = last = 0
    for row_id, size in db.execute(_SIZES, (kind,)):
        if passed >= surplus:
            break
        passed, last = passed + size, row_id
    return max(too_old, last)


def scalar(db: "sqlite3.Connection", statement: str, values: tuple[float, ...] = ()) -> int:
    """Return the one number that a statement gives, 0 for NULL."""
    return int(db.execute(statement, values).fetchone()[0] or 0)


def is_corrupt(error: "sqlite3.DatabaseError") -> bool:
    """Whether an error says that the file is no good, rather than the disk."""
    text = str(error)
    return "malformed" in text or "not a database" in text or "no such column" in text
