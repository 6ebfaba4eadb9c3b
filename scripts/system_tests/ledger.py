"""What a system test promises, sentence by sentence, and whether it was seen to hold. Needs nothing but Python."""

import sqlite3
import subprocess
from collections.abc import Callable

EXPECTED = (AssertionError, OSError, subprocess.SubprocessError, sqlite3.Error, LookupError, ValueError)
"""How a promise that does not hold shows itself; anything else is a mistake of the test's own, and ends it."""


class Ledger:
    """Says of each sentence whether it was shown. ``more`` are further ways in which one does not hold."""

    def __init__(self, test: str, *more: type[Exception]) -> None:
        self.test = test
        self.failures = 0
        self._expected = (*EXPECTED, *more)

    def show(self, sentence: str, check: Callable[[], str]) -> bool:
        """Do a check, print what came of it, and tell whether it held."""
        try:
            detail = check()
        except self._expected as error:
            self.failures += 1
            print(f"FAILED  {sentence}: {type(error).__name__}: {error}", flush=True)
            return False
        print(f"shown   {sentence} ({detail})", flush=True)
        return True

    def end(self) -> int:
        """Print the last line, and return the test's status."""
        said = "everything was shown" if not self.failures else f"{self.failures} not shown"
        print(f"{self.test}: {said}", flush=True)
        return 1 if self.failures else 0
