"""A disk without room: told as one sentence, whoever met it."""

import errno
import tempfile
from typing import Final

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


_IN_WORDS: Final = ("requested and", "No usable temporary directory")
"""As numpy tells it, "100 requested and 7 written", and as Python does where no folder takes a byte."""


def is_full(error: BaseException) -> bool:
    """Whether a write failed for want of room."""
    return isinstance(error, OSError) and (error.errno in _FULL or any(words in str(error) for words in _IN_WORDS))


def full() -> str:
    """Return the sentence for it."""
    try:
        where = tempfile.gettempdir()
    except FileNotFoundError:
        where = "any folder for temporary files"
    return f"there is no room left in {where} for the work; free some, or set TMPDIR to another folder"
