"""Reads a text table of numbers row by row; what is wrong with a row travels in the row."""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final, TextIO, TypeAlias

from edge_runtime.errors import UsageError

MAX_LINE_CHARS: Final = 1 << 20
"""A longer line is read in pieces, which do not fit the table: reading stays bounded."""
DELIMITERS: Final = "\t;,"
"""In order of precedence, so that ``1,5;2,5`` is two numbers with decimal commas."""

_Line: TypeAlias = tuple[int, list[str]]
"""The line's number, from 1, and its cells; no cells where the line cannot be read at all."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of numbers; where ``error`` is set, ``values`` is empty."""

    values: tuple[float, ...]
    time_s: float | None = None
    error: str | None = None
    """What is wrong and where, as in ``line 7, column 'x': 'n/a' is not a number``."""


class CsvTable:
    """The rows of an open text file; a header is a first line without any number. Memory does not grow with the file.

    ``names`` are those of the columns in use: from the header, else ``0``, ``1``, … Raises UsageError for a file that
    is no table of numbers, or has not the columns asked for.
    """

    def __init__(self, file: TextIO, *, columns: Sequence[str | int] | None, timestamp: str | int | None) -> None:
        sample = file.read(MAX_LINE_CHARS)
        file.seek(0)
        first_line = next((line for line in sample.splitlines() if line.strip()), "")
        self._delimiter = next((mark for mark in DELIMITERS if mark in first_line), ",")
        self._lines = _lines(file, self._delimiter)
        first = next(self._lines, None)
        if first is None or "\0" in sample:
            raise UsageError("the file is empty" if first is None else "not a text file")
        self._header = [cell.strip("# ") for cell in first[1]]
        if any(self._number(cell) is not None for cell in first[1]):
            self._header = [str(index) for index in range(len(first[1]))]
            self._lines = chain([first], self._lines)
        self._time = None if timestamp is None else self._index(timestamp)
        self._columns = self._choose(columns)
        self.names = [self._header[index] for index in self._columns]

    def __iter__(self) -> Iterator[Row]:
        """Iterate over the rows after the header."""
        return map(self._row, self._lines)

    def _index(self, column: str | int) -> int:
        if isinstance(column, int) and 0 <= column < len(self._header):
            return column
        if column in self._header:
            return self._header.index(str(column))
        raise UsageError(f"there is no column {column!r}; there are: {', '.join(self._header)}")

    def _choose(self, columns: Sequence[str | int] | None) -> list[int]:
        if columns is not None:
            if not columns:
                raise UsageError("columns is empty: name at least one")
            return [self._index(column) for column in columns]
        # A column that holds text in the first rows (a date, a name) would break every window: ask, do not guess.
        head = list(islice(self._lines, 2))
        self._lines = chain(head, self._lines)
        chosen = [index for index in range(len(self._header)) if index != self._time]
        for index in chosen:
            cells = [cells[index] for _, cells in head if index < len(cells)]
            if cells and all(cell.strip() and self._number(cell) is None for cell in cells):
                raise UsageError(
                    f"column {self._header[index]!r} holds {cells[0]!r}, not numbers: name the columns to use (columns)"
                )
        if not chosen:
            raise UsageError("no column is left beside the timestamp")
        return chosen

    def _number(self, cell: str) -> float | None:
        try:
            return float(cell if self._delimiter == "," else cell.replace(",", "."))
        except ValueError:
            return None

    def _row(self, line: _Line) -> Row:
        number, cells = line
        if len(cells) != len(self._header):
            return Row((), error=f"line {number}: {len(cells)} columns, expected {len(self._header)}")
        wanted = self._columns if self._time is None else [*self._columns, self._time]
        values = []
        for index in wanted:
            value = self._number(cells[index])
            if value is None or not math.isfinite(value):
                name = self._header[index]
                return Row((), error=f"line {number}, column {name!r}: {cells[index][:40]!r} is not a number")
            values.append(value)
        time_s = None if self._time is None else values.pop()
        return Row(tuple(values), time_s=time_s)


def _lines(file: TextIO, delimiter: str) -> Iterator[_Line]:
    """Give the cells of each line that is not blank."""
    reader = csv.reader(iter(lambda: file.readline(MAX_LINE_CHARS), ""), delimiter=delimiter)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield reader.line_num, []  # an endless cell: one broken row, and the next line may be good
            continue
        if any(cells) or len(cells) > 1:
            yield reader.line_num, cells
