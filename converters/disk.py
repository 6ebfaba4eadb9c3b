"""A disk without room: told as one sentence, whoever met it."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Final

WORK_PREFIX: Final = "edge-convert-"
"""Of the name of the folder that a conversion works in."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_IN_WORDS: Final = ("requested and", "No usable temporary directory")
"""As numpy tells it, "100 requested and 7 written", and as Python does where no folder takes a byte."""


def is_full(error: BaseException) -> bool:
    """Whether a write failed for want of room."""
    return isinstance(error, OSError) and (error.errno in _FULL or any(words in str(error) for words in _IN_WORDS))


def full() -> str:
    """Return the sentence for it."""
    return f"there is no room left in {_where()} for the work; free some, or set TMPDIR to another folder"


def _where() -> str:
    """Return the folder for temporary files; a child's own is the one its conversion works in."""
    given = os.environ.get("TMPDIR")  # Python passes over it when it is full, and would name another
    if given is None:
        try:
            return tempfile.gettempdir()
        except FileNotFoundError:
            return "any folder for temporary files"
    path = Path(given)
    return str(next((one.parent for one in (path, *path.parents) if one.name.startswith(WORK_PREFIX)), path))
