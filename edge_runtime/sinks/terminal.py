"""The current answer, live: one line per stream that is written over on a terminal, few plain lines elsewhere."""

import logging
import os
import shutil
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TextIO

from edge_runtime import clock
from edge_runtime.protocols import Handed
from edge_runtime.sinks.answer import answer, fit, headline, printable
from edge_runtime.types import Prediction

_NS = 1_000_000_000
REDRAW_NS: Final = _NS // 5
"""A person reads no faster; a terminal over SSH is slow."""
CHANGE_NS: Final = _NS
SAME_NS: Final = 60 * _NS
"""Plain lines per stream: at most this often when the answer changed, and when it did not."""
_RATE_WINDOW: Final = 64
_CURSOR_UP, _ERASE_BELOW = "\x1b[{}A", "\x1b[J"


@dataclass(slots=True)
class _Stream:
    latest: Prediction
    times_ns: deque[int] = field(default_factory=lambda: deque(maxlen=_RATE_WINDOW))
    printed_ns: int | None = None
    headline: str = ""
    path: str | None = None
    stands: bool = False
    """The latest has a line of its own, and needs no status line."""


class TerminalSink:
    """Shows the latest prediction of every stream; each picture file gets a line that stays.

    With ``stdout_taken`` (``--jsonl -``) standard output is left alone and standard error is written. What cannot be
    written is dropped: this sink is for eyes, not for records. All methods belong to the sink's thread.
    """

    def __init__(
        self,
        *,
        stdout_taken: bool = False,
        out: TextIO | None = None,
        monotonic_ns: Callable[[], int] = clock.monotonic_ns,
    ) -> None:
        self._out = out or (sys.stderr if stdout_taken else sys.stdout)
        self._clock = monotonic_ns
        self._streams: dict[str, _Stream] = {}
        self._drawn = 0
        self._drawn_ns: int | None = None
        self._live = False
        self._broken = False
        self._handlers: list[logging.Handler] = []
        self._lock = threading.Lock()

    def open(self) -> None:
        """Find out what the output is, and keep log lines from being written into the middle of a status line."""
        self._live = self._out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        if self._live:
            self._handlers = list(logging.getLogger("edge_runtime").handlers)
            for handler in self._handlers:
                handler.addFilter(self._make_room)

    def write(self, batch: Sequence[Handed]) -> None:
        """Take predictions; the newest of each stream is what is shown."""
        now_ns = self._clock()
        with self._lock:
            for handed in batch:
                self._take(handed.prediction, now_ns)
            if self._live and (self._drawn_ns is None or now_ns - self._drawn_ns >= REDRAW_NS):
                self._draw(now_ns)

    def close(self) -> None:
        """Leave the last answers standing."""
        for handler in self._handlers:
            handler.removeFilter(self._make_room)
        self._handlers = []
        with self._lock:
            if self._live and self._streams:
                self._draw(self._clock())
            self._streams.clear()
            self._drawn = 0

    def _take(self, prediction: Prediction, now_ns: int) -> None:
        stream = self._streams.get(prediction.stream)
        if stream is None:
            stream = self._streams[prediction.stream] = _Stream(prediction)
        stream.latest = prediction
        stream.times_ns.append(prediction.captured_ns)
        path = prediction.origin.path
        stream.stands = path is not None and path != stream.path
        if path is not None and stream.stands:
            stream.path = path
            self._print(f"{printable(path)}  {answer(prediction.result)}")
        elif not self._live and self._is_worth_a_line(stream, now_ns):
            self._print(self._status(stream))

    def _is_worth_a_line(self, stream: _Stream, now_ns: int) -> bool:
        now = headline(stream.latest.result)
        if stream.printed_ns is not None:
            age_ns = now_ns - stream.printed_ns
            if age_ns < (CHANGE_NS if now != stream.headline else SAME_NS):
                return False
        stream.printed_ns, stream.headline = now_ns, now
        return True

    def _status(self, stream: _Stream) -> str:
        prediction = stream.latest
        times = stream.times_ns
        span_ns = times[-1] - times[0]
        rate = f"{(len(times) - 1) * _NS / span_ns:.1f}/s" if span_ns > 0 else ""
        at = prediction.origin.position_s
        place = f"{prediction.stream} {at:.1f} s" if at is not None else prediction.stream
        return f"{place}  {answer(prediction.result)}  {rate}  {prediction.latency.total:.1f} ms"

    def _print(self, line: str) -> None:
        self._write(self._erased() + line + "\n")

    def _draw(self, now_ns: int) -> None:
        columns = shutil.get_terminal_size().columns
        lines = [fit(self._status(stream), columns - 1) for stream in self._streams.values() if not stream.stands]
        self._write(self._erased() + "".join(line + "\n" for line in lines))
        self._drawn, self._drawn_ns = len(lines), now_ns

    def _erased(self) -> str:
        """Return what takes the status lines off the terminal, and count them as gone; the lock is held."""
        drawn, self._drawn = self._drawn, 0
        return _CURSOR_UP.format(drawn) + _ERASE_BELOW if drawn else ""

    def _make_room(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - a logging filter
        """Take the status lines away before a log line is written; the next redraw brings them back below it."""
        with self._lock:
            self._write(self._erased())
            self._drawn_ns = None
        return True

    def _write(self, text: str) -> None:
        if not text or self._broken:
            return
        encoding = self._out.encoding or "utf-8"
        try:
            self._out.write(text.encode(encoding, "replace").decode(encoding))
            self._out.flush()
        except (OSError, ValueError):  # the reader has left, or the stream was closed
            self._broken = True
