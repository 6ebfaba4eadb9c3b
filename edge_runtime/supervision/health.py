"""What the process looks after, and the file that says how that is to ``edge-infer doctor``."""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_runtime.clock import now_rfc3339
from edge_runtime.store.atomic import replace_file
from edge_runtime.supervision.memory import MemoryWatch
from edge_runtime.supervision.wall_clock import ClockWatch

log = logging.getLogger(__name__)

FILE_NAME: Final = "health.json"
INTERVAL_S: Final = 10.0
"""It is written when it says something new, and not more often than that: a card wears out."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """Memory and clock of the process, from its first run to its last, and why it was last started anew."""

    memory: MemoryWatch
    clock: ClockWatch
    last_restart: Mapping[str, Any] | None = None


class HealthFile:
    """Writes what ``read`` returns when it has changed. ``tick`` belongs to the supervisor's thread."""

    def __init__(self, state: Path, read: Callable[[], Mapping[str, Any]]) -> None:
        self._path = state / FILE_NAME
        self._read = read
        self._written: Mapping[str, Any] | None = None
        self._due_s = 0.0

    def tick(self) -> None:
        """Write, when there is something new and it is time to."""
        now_s = time.monotonic()
        if now_s < self._due_s or (found := self._read()) == self._written:
            return
        self._due_s = now_s + INTERVAL_S
        document = {"schema": 1, "pid": os.getpid(), "at": now_rfc3339(), **found}
        try:
            replace_file(self._path, json.dumps(document, indent=1).encode())
        except OSError as error:
            log.debug("%s cannot be written: %s", self._path, error)
            return
        self._written = found


def read(state: Path) -> dict[str, Any] | None:
    """Return what the last run wrote; None where it wrote nothing that can be read. Raises PermissionError."""
    try:
        found = json.loads((state / FILE_NAME).read_bytes())
    except PermissionError:
        raise
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("schema") == 1 else None
