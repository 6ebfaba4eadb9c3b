"""A table of sensor samples in a text file, as windows of rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, TextIO

import msgspec
import numpy as np

from edge_runtime.clock import monotonic_ns
from edge_runtime.errors import BadFrameError, SourceError, UsageError
from edge_runtime.protocols import WantedInput
from edge_runtime.sources._csv_table import CsvTable, Row
from edge_runtime.sources._windows import Windower, rows_per_window
from edge_runtime.types import Frame, Origin, WindowInput


class CsvSource:
    """Reads ``csv:FILE`` row by row: a file of any size takes the memory of one window.

    The delimiter (tab, semicolon, comma) and a header line are found out; beside tabs and semicolons a decimal comma is
    understood. Rows left over at the end that fill no window are not read. Normalisation is the preprocessor's.
    """

    class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of one ``csv`` source."""

        path: str
        window: Annotated[int, msgspec.Meta(ge=1)] | None = None
        """Rows per window; by default as many as fill the model's input."""
        stride: Annotated[int, msgspec.Meta(ge=1)] | None = None
        """Rows from the start of one window to the start of the next; by default the window's length."""
        columns: tuple[str | int, ...] | None = None
        """Names from the header line, or numbers from 0; by default all but ``timestamp``."""
        timestamp: str | int | None = None
        """A column of seconds: predictions then say from when to when they are."""

    live: ClassVar[bool] = False
    stall_after_s: ClassVar[float | None] = None

    def __init__(self, config: Config, *, stream: str, wants: WantedInput) -> None:
        self._config = config
        self._stream = stream
        self._wants = wants
        self._file: TextIO | None = None
        self._rows: Iterator[Row] = iter(())
        self._windower: Windower[Row] = Windower(length=1, stride=1)
        self._first: tuple[Row, ...] | None = None
        self._columns: list[str] = []
        self._sequence = 0

    def open(self) -> None:
        """Read up to the first window.

        Raises UsageError for no such file, no table of numbers or too few rows for one window, InputMismatchError when
        the columns do not fit the model.
        """
        self.close()
        path = self._config.path
        if not Path(path).is_file():
            raise UsageError(f"{path}: no such file")
        try:
            self._file = open(path, encoding="utf-8-sig", errors="replace", newline="")  # noqa: PTH123, SIM115
            table = CsvTable(self._file, columns=self._config.columns, timestamp=self._config.timestamp)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from error
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
        length = rows_per_window(self._wants, channels=len(table.names), window=self._config.window)
        self._windower = Windower(length=length, stride=self._config.stride or length)
        self._columns = table.names
        self._rows = iter(table)
        self._sequence = 0
        self._first = self._next_window()
        if self._first is None:
            raise UsageError(f"{path}: {self._windower.waiting} rows of numbers, and one window takes {length}")

    def read(self, timeout_s: float) -> Frame | None:  # noqa: ARG002 - a file does not wait
        """Return the next window, None when no whole one is left. Raises BadFrameError for one with a bad cell."""
        window, self._first = self._first or self._next_window(), None
        if window is None:
            return None
        sequence = self._sequence
        self._sequence += 1
        if broken := next((row.error for row in window if row.error), None):
            raise BadFrameError(f"{self._config.path} {broken}")
        now = monotonic_ns()
        return Frame(
            data=np.array([row.values for row in window], dtype=np.float32),
            format="window",
            stream=self._stream,
            sequence=sequence,
            captured_ns=now,
            arrived_ns=now,
            origin=self._origin(window, sequence),
        )

    def close(self) -> None:
        """Close the file."""
        self._rows, self._first = iter(()), None
        if self._file is not None:
            self._file.close()
            self._file = None

    def describe(self) -> dict[str, Any]:
        """Return the path, the names of the columns in use, and window and stride in rows."""
        return {
            "type": "csv",
            "path": self._config.path,
            "columns": self._columns,
            "window": self._windower.length,
            "stride": self._windower.stride,
        }

    def _next_window(self) -> tuple[Row, ...] | None:
        try:
            for row in self._rows:
                if (window := self._windower.push(row)) is not None:
                    return window
        except OSError as error:
            raise SourceError(f"{self._config.path}: {error.strerror or error}") from error
        return None

    def _origin(self, window: tuple[Row, ...], sequence: int) -> Origin:
        """Say when the window is: by its time stamps, else by the sample rate the model names, else not at all."""
        start_s, end_s = window[0].time_s, window[-1].time_s
        rate_hz = self._wants.sample_rate_hz if isinstance(self._wants, WindowInput) else None
        if self._config.timestamp is None and rate_hz:
            start_s = sequence * self._windower.stride / rate_hz
            end_s = start_s + len(window) / rate_hz
        return Origin(path=self._config.path, start_s=start_s, end_s=end_s)
