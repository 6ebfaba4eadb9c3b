"""Noticing that a file was changed, whatever changed it: an editor, a package, `mv`, a mount."""

from pathlib import Path
from typing import Final

SETTLED_S: Final = 1.0
"""A file that is being written is left alone until it has been the same for so long."""

Signature = tuple[int, int, int] | None


class WatchedFile:
    """Looks at time, size and number of a file instead of subscribing to it: that works everywhere and costs 5 us."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = self._pending = self._signature()
        self._since_s = 0.0

    def has_changed(self, now_s: float) -> bool:
        """Tell, once for each change, that the file is another one than before and has been so for a moment."""
        signature = self._signature()
        if signature != self._pending:
            self._pending, self._since_s = signature, now_s
            return False
        if signature == self._known or now_s - self._since_s < SETTLED_S:
            return False
        self._known = signature
        return True

    def _signature(self) -> Signature:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
