"""Cutting a stream of sample rows into the windows a model takes; shared by the sensor sources."""

from collections import deque
from typing import Generic, TypeVar

from edge_runtime.errors import InputMismatchError
from edge_runtime.protocols import WantedInput
from edge_runtime.types import ImageInput

R = TypeVar("R")


def rows_per_window(wants: WantedInput, *, channels: int, window: int | None) -> int:
    """Return how many rows of ``channels`` values fill the model's input.

    A flat input (one channel, 640 values) is filled by any rows that divide it (5 rows of 128 columns); an input of
    several channels takes rows of as many columns, or one value a row, or everything in one row. ``window`` is the
    user's own wish and must agree. Without a model it is ``window``, or 1. Raises InputMismatchError.
    """
    if wants is None:
        return window or 1
    if isinstance(wants, ImageInput):
        raise InputMismatchError(
            "this model takes pictures, and a sensor gives samples: use --camera, --video or --images"
        )
    values = wants.length * wants.channels
    if wants.channels > 1 and channels not in {1, wants.channels, values}:
        raise InputMismatchError(f"the model takes {wants.channels} channels and each row has {channels} values")
    if values % channels:
        raise InputMismatchError(f"the model takes {values} values, which rows of {channels} do not divide")
    rows = values // channels
    if window is not None and window != rows:
        raise InputMismatchError(
            f"a window of {window} rows of {channels} is {window * channels} values and the model takes {values}: "
            f"use window = {rows}, or leave it out"
        )
    return rows


class Windower(Generic[R]):
    """Collects rows and gives a window of ``length`` of them every ``stride`` rows. Used from one thread."""

    def __init__(self, *, length: int, stride: int) -> None:
        self.length = length
        self.stride = stride
        self._rows: deque[R] = deque()
        self._skip = 0

    def push(self, row: R) -> tuple[R, ...] | None:
        """Take the next row; return the window it completes, if it does."""
        if self._skip:
            self._skip -= 1
            return None
        self._rows.append(row)
        if len(self._rows) < self.length:
            return None
        window = tuple(self._rows)
        for _ in range(min(self.stride, self.length)):
            self._rows.popleft()
        self._skip = max(0, self.stride - self.length)
        return window

    @property
    def waiting(self) -> int:
        """How many rows are collected towards the next window."""
        return len(self._rows)

    def clear(self) -> None:
        """Forget what was collected: what comes next does not follow it in time."""
        self._rows.clear()
        self._skip = 0
