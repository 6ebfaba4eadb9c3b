"""Starting this very program anew in the same process: nothing of what it held in memory is left."""

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn

from edge_runtime.clock import now_rfc3339
from edge_runtime.stopping import Stop

log = logging.getLogger(__name__)

STOP_S: Final = 5.0
"""How long the run may take to finish what it has begun."""
VARIABLE: Final = "EDGE_INFER_RESTARTED"
"""Tells the new program when and why."""
SOONEST_S: Final = 60.0
"""A program that lasted for less is not started anew by itself: a limit that is too low would do it for ever."""
_started_s = time.monotonic()


class Overdraft:
    """Ends the run, and with it the process, when that holds too much memory."""

    def __init__(self) -> None:
        self.reason: str | None = None
        """Why it is to be started anew; None as long as all is well."""
        self._run: tuple[Stop, Callable[[dict[str, Any]], None]] | None = None

    def attach(self, stop: Stop, tell: Callable[[dict[str, Any]], None]) -> None:
        """Let ``stop`` end the run, after ``tell`` was given when and why."""
        self._run = (stop, tell)

    def take(self, reason: str) -> None:
        """Say it, and end the run; the supervisor's thread."""
        log.error("%s: everything is committed and started anew", reason)
        self.reason = reason
        if self._run is not None:
            stop, tell = self._run
            tell({"at": now_rfc3339(), "reason": reason})
            stop.hurry(STOP_S)


def last_restart() -> dict[str, Any] | None:
    """Return when and why the program before started this one; None when it did not."""
    try:
        found = json.loads(os.environ.pop(VARIABLE, ""))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def may_start_anew() -> bool:
    """Tell whether this program lasted long enough; if not, that is logged, and for the service manager to decide."""
    lasted = time.monotonic() - _started_s >= SOONEST_S
    if not lasted:
        log.error("that took less than %g s: not started anew; raise memory_mb in [limits]", SOONEST_S)
    return lasted


def start_anew(reason: str) -> NoReturn:
    """Replace this program by itself, with the words it was started with."""
    os.environ[VARIABLE] = json.dumps({"at": now_rfc3339(), "reason": reason})
    logging.shutdown()
    sys.stdout.flush()
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - this program, no shell
