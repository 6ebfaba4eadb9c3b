"""Passwords given on the command line, taken out of the list of processes that every user of the machine may read.

Between the start of the process and this there is a moment in which they can be seen; a file or the environment has
none (docs/security.md).
"""

import contextlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_PASSWORD: Final = re.compile(rb"://[^/@\0]*?:([^\0]*)@")
"""What lies between the colon and the last @ of an address, in a list of words that end with NUL."""
_ARG_START: Final = 47
"""Field 48 of /proc/PID/stat: where the words begin in memory (proc(5), since Linux 3.5)."""


def found_in(words: Sequence[str]) -> bool:
    """Whether an address with a password stands among the words."""
    return any(_PASSWORD.search(word.encode(errors="surrogateescape")) for word in words)


def hide(proc: Path = Path("/proc/self")) -> bool:
    """Overwrite the passwords in this process's own words with asterisks; tell whether that was possible.

    The words that Python has read stay as they were.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        shown = (proc / "cmdline").read_bytes()
        # The second field is the program's name in brackets and may hold spaces.
        start = int((proc / "stat").read_text().rpartition(")")[2].split()[_ARG_START - 2])
        if not start or not _PASSWORD.search(shown):
            return False
        import ctypes

        for match in _PASSWORD.finditer(shown):
            ctypes.memset(start + match.start(1), ord("*"), match.end(1) - match.start(1))
        return not _has_plain(proc)
    return False


def warn(words: Sequence[str]) -> None:
    """Say what is better, where a password stands among the words."""
    if found_in(words):
        log.warning(
            "a password stands on the command line: it is hidden from the list of processes, but was there for a "
            "moment, and stays in the shell's history; better: EDGE_INFER_BROKER_PASSWORD, or a file in [broker]"
        )


def _has_plain(proc: Path) -> bool:
    found = _PASSWORD.findall((proc / "cmdline").read_bytes())
    return any(password.strip(b"*") for password in found)
