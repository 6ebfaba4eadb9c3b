"""Small reads from /proc and /sys, where a missing or odd file is an answer and not an error."""

from pathlib import Path


def read_text(path: Path) -> str | None:
    """Return a small file's text without the white space around it, or None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """Return the whole number a file consists of, or None."""
    text = read_text(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
