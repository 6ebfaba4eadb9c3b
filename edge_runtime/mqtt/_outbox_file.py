"""The file of the outbox: made for its owner only, opened with a write-ahead log, set aside, removed. One thread."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.clock import rfc3339

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

KEEP_BYTES = 4 * 1024 * 1024
"""An emptied file larger than this is given back, and so is what the journal grew to beyond it."""
_WITH_JOURNAL = ("", "-wal", "-shm")


class OutboxFile:
    """One database and its journal. The constructor does no I/O; nothing here knows what is in the file.

    ``limit`` is called with each new connection. All but ``remove`` raise sqlite3.Error and OSError.
    """

    def __init__(self, path: Path, *, limit: "Callable[[sqlite3.Connection], object] | None" = None) -> None:
        self.path = path
        self.db: sqlite3.Connection | None = None
        self._limit = limit
        self._place = (0, 0)

    def connect(self) -> "tuple[sqlite3.Connection, bool]":
        """Return an open database, and whether it is a new one; a missing folder is made. ``keep`` makes it `db`."""
        import sqlite3

        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = not self.path.exists()
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self.path, timeout=1.0, check_same_thread=False)
        try:
            if self._limit is not None:
                self._limit(db)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(f"PRAGMA journal_size_limit={KEEP_BYTES}")
        except BaseException:
            db.close()
            raise
        return db, new

    def keep(self, db: "sqlite3.Connection") -> None:
        """Go on with a database of ``connect``."""
        self._place = self._whereabouts()
        self.db = db

    def disconnect(self) -> None:
        if self.db is not None:
            import sqlite3

            db, self.db = self.db, None
            with suppress(sqlite3.Error):
                db.close()

    def is_where_it_was(self) -> bool:
        """Whether the open file is still the one of that name: SQLite would go on writing where nobody reads.

        A copy on a disk mounted in its place has the same number on another device.
        """
        try:
            return self._whereabouts() == self._place
        except FileNotFoundError:
            return False
        except OSError:
            return True  # the disk does not answer, which the statement will say

    def set_aside(self, wall_ns: int) -> Path:
        """Close and rename the file and its journal, with a time stamp; return the new name. Raises OSError."""
        self.disconnect()
        stamp = rfc3339(wall_ns).replace(":", "").replace("-", "").replace(".", "")
        aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        for suffix in _WITH_JOURNAL:
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        return aside

    def remove(self) -> None:
        """Close and delete the file and its journal, as far as that goes."""
        self.disconnect()
        for suffix in _WITH_JOURNAL:
            with suppress(OSError):
                Path(f"{self.path}{suffix}").unlink()

    def _whereabouts(self) -> tuple[int, int]:
        found = self.path.stat()
        return found.st_dev, found.st_ino
