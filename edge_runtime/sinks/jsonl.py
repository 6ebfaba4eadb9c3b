"""Predictions as lines of JSON, to a file or to standard output."""

import logging
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from edge_runtime.errors import UsageError
from edge_runtime.protocols import Handed
from edge_runtime.sinks.payloads import prediction_payload

log = logging.getLogger(__name__)

STDOUT: Final = 1


class JsonlSink:
    """Appends each prediction, published or not, as one line; a line is out before `write` returns.

    ``path`` is a file or ``-`` for standard output. A full disk loses lines, is logged once for each time it begins,
    and is counted in ``failed``; writing goes on when there is room again. ``on_reader_gone`` is called once when the
    reader of a pipe has left (``edge-infer --jsonl - | head -1``). All methods belong to the sink's thread.
    """

    def __init__(self, path: str, *, device: str, on_reader_gone: Callable[[], None] | None = None) -> None:
        self._path = path
        self._device = device
        self._on_reader_gone = on_reader_gone
        self._fd: int | None = None
        self._torn = False
        self._failing = False
        self.written = 0
        """Lines written."""
        self.failed = 0
        """Lines lost to a full disk or a reader that has left."""

    def open(self) -> None:
        """Open the file for appending. Raises UsageError when it cannot be written."""
        if self._path == "-":
            self._fd = STDOUT
            return
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._torn = _ends_within_a_line(self._path)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UsageError(f"cannot write {self._path}: {reason}; give --jsonl a file that can be written") from error

    def write(self, batch: Sequence[Handed]) -> None:
        """Write a batch in one go; never raises."""
        if self._fd is None:
            self.failed += len(batch)
            return
        lines = [prediction_payload(handed, self._device) for handed in batch]
        data = b"\n".join([*lines, b""])
        if self._torn:
            data = b"\n" + data
        try:
            left = self._write_all(self._fd, data)
        except BrokenPipeError:
            self._reader_gone(len(lines))
            return
        lost = min(len(lines), left.count(b"\n"))
        self.written += len(lines) - lost
        self.failed += lost

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._fd is not None and self._fd != STDOUT:
            os.close(self._fd)
        self._fd = None

    def _write_all(self, fd: int, data: bytes) -> bytes:
        """Write and return what could not be written; a line that was cut is finished before the next one begins."""
        start = data
        try:
            while data:
                data = data[os.write(fd, data) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            if not self._failing:
                text = "cannot write %s: %s; lines are lost until it can be written again"
                log.error(text, self._path, error.strerror)
            self._failing = True
            if len(data) < len(start):
                self._torn = not start[: len(start) - len(data)].endswith(b"\n")
            return data
        if self._failing:
            log.warning("%s is written again; %d lines were lost", self._path, self.failed)
        self._failing = self._torn = False
        return data

    def _reader_gone(self, lines: int) -> None:
        log.info("the reader of %s has left", "standard output" if self._path == "-" else self._path)
        self.failed += lines
        self.close()
        if self._on_reader_gone is not None:
            self._on_reader_gone()


def _ends_within_a_line(path: str) -> bool:
    """Tell whether a power cut left a file without its last line end, which the next line must not join."""
    info = Path(path).stat()
    if not stat.S_ISREG(info.st_mode) or info.st_size == 0:
        return False
    with Path(path).open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
