"""Run a program of the system and turn its failure into one line."""

import os
import subprocess
from collections.abc import Mapping, Sequence

from edge_runtime.errors import InstallError


def run(
    command: Sequence[str], *, doing: str, environment: Mapping[str, str] | None = None, text: str | None = None
) -> str:
    """Run it to its end and return its standard output. Raises InstallError with what it said last.

    ``text`` is its standard input; ``environment`` is laid over ours.
    """
    try:
        done = subprocess.run(
            command,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, **(environment or {})},
            check=False,
        )
    except OSError as error:
        raise InstallError(f"{doing}: cannot run {command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise InstallError(f"{doing} failed (status {done.returncode}): {last_words(done.stderr or done.stdout)}")
    return done.stdout


def succeeds(command: Sequence[str]) -> bool:
    """Run it quietly and return whether it ended with 0."""
    try:
        return subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def last_words(text: str) -> str:
    """Return the last lines that say what went wrong, as one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "e:"))]
    return " ".join(errors[:2] or lines[-2:]) or "it said nothing"
