"""Sequence numbers that never repeat, restarts and power cuts included, without a disk write for each.

On disk is, for each stream, the first number that is *not* reserved, and whether a run has it open. A run hands out
reserved numbers, and reserves the next block while there is still half of one left. After a clean stop the file holds
the exact next number; after any other the next run starts above all that may have been used.
"""

import json
import logging
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edge_runtime import clock
from edge_runtime.errors import StoreError
from edge_runtime.store.atomic import replace_file

log = logging.getLogger(__name__)

FILE_NAME: Final = "sequence.json"
BLOCK: Final = 1000
"""Numbers reserved at a time; doubled while a block lasts less than `BLOCK_LASTS_S`, to spare the card."""
BLOCK_MAX: Final = 64_000
BLOCK_LASTS_S: Final = 60.0
MARGIN: Final = 1_000_000
"""Skipped after an unclean stop. So many may be handed out without a reservation, on a disk that has become full or
read-only, before publishing has to stop: a day and a half at 7 a second."""
_RETRY_NS: Final = 5_000_000_000


@dataclass(slots=True)
class _Stream:
    start: int
    """The first number of this run."""
    next: int
    limit: int
    """Numbers below this are reserved on disk."""
    block: int
    reserved_ns: int | None = None
    """When a block was last reserved; None while the disk knows nothing of this run of the stream."""

    @property
    def low(self) -> bool:
        return self.reserved_ns is None or self.limit - self.next < self.block // 2


@dataclass(slots=True)
class _Kept:
    """What the file says."""

    floor: int = 1
    """Where a stream begins that the file does not name."""
    streams: dict[str, int] = field(default_factory=dict)
    """The next number of each stream."""


def run_in_thread(work: Callable[[], None]) -> None:
    """Run ``work`` once, beside everything else."""
    threading.Thread(target=work, name="sequence", daemon=True).start()


class SequenceStore:
    """Hands out ``seq`` per stream. ``next`` is for the inference threads and does not wait for the disk.

    ``directory`` is an open `StateDir`'s path. ``write`` and ``background`` are seams for tests.
    """

    def __init__(
        self,
        directory: Path,
        *,
        write: Callable[[Path, bytes], None] = replace_file,
        background: Callable[[Callable[[], None]], None] = run_in_thread,
        monotonic_ns: Callable[[], int] = clock.monotonic_ns,
    ) -> None:
        self._path = directory / FILE_NAME
        self._write = write
        self._background = background
        self._clock = monotonic_ns
        self._lock = threading.Lock()
        # Held around a disk write, so that an older state never lands on top of a newer one. Taken before _lock.
        self._disk = threading.Lock()
        self._kept = _Kept()
        self._streams: dict[str, _Stream] = {}
        self._reserving = False
        self._failed_ns: int | None = None
        self._opened = self._closed = False

    def open(self, streams: Iterable[str] = ()) -> None:
        """Read where the last run ended and reserve a block for each stream; called again, only for new streams.

        A file that cannot be understood is set aside, and numbering goes on from the clock's milliseconds since 1970:
        above everything that fewer than a thousand a second can have reached. Raises StoreError when the directory
        cannot be read or written.
        """
        try:
            if not self._opened:
                self._kept = _read(self._path)
                self._opened = True
            with self._lock:
                for stream in streams:
                    self._add(stream)
            self._save()
        except OSError as error:
            reason = error.strerror or error
            raise StoreError(
                f"cannot keep sequence numbers in {self._path}: {reason}; free or mend its disk"
            ) from error

    def start_of(self, stream: str) -> int:
        """Return ``seq_start``: the first number of this run, used or not. Any thread."""
        with self._lock:
            return self._add(stream).start

    def next(self, stream: str) -> int:
        """Return the next number of a stream. Any thread.

        Waits for the disk only for a stream not named to `open`, or when a block was used up before the next could
        be reserved. Raises StoreError when the disk has refused for so long that a number might repeat.
        """
        with self._lock:
            state = self._add(stream)
            reserved = state.next < state.limit and not self._closed
            # While the disk refuses, it is tried again in the background and the margin is used up meanwhile.
            wait = not reserved and (self._failed_ns is None or state.reserved_ns is None)
            wake = not wait and state.low and self._begin_reserving()
            number = state.next
            state.next += reserved
        if wake:
            self._background(self._reserve)
        if reserved:
            return number
        if wait and not self._closed:
            self._reserve()
        return self._take_unreserved(state, stream)

    def close(self) -> None:
        """Write the exact next numbers; a failure only makes the next run jump ahead. No number is given after it."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            self._save()
        except OSError as error:
            log.warning("cannot write %s: %s; seq will jump ahead at the next start", self._path, error.strerror)

    def _take_unreserved(self, state: _Stream, stream: str) -> int:
        with self._lock:
            if self._closed or state.reserved_ns is None or state.next >= state.limit + MARGIN:
                why = "it is closed" if self._closed else f"{self._path} cannot be written; free or mend its disk"
                raise StoreError(f"no sequence number for '{stream}': {why}")
            number = state.next
            state.next += 1
            return number

    def _add(self, stream: str) -> _Stream:
        """Return a stream, made known if it is new; the lock is held. A new one has no reservation yet."""
        state = self._streams.get(stream)
        if state is None:
            start = self._kept.streams.get(stream, self._kept.floor)
            state = self._streams[stream] = _Stream(start=start, next=start, limit=start, block=BLOCK)
        return state

    def _begin_reserving(self) -> bool:
        """Tell whether the caller is to reserve in the background; the lock is held."""
        resting = self._failed_ns is not None and self._clock() - self._failed_ns < _RETRY_NS
        if self._reserving or resting or self._closed:
            return False
        self._reserving = True
        return True

    def _reserve(self) -> None:
        """Reserve for every stream that runs low; never raises, `next` copes with what is left."""
        failure: OSError | None = None
        try:
            self._save()
        except OSError as error:
            failure = error
        with self._lock:
            self._reserving = False
            before, self._failed_ns = self._failed_ns, None if failure is None else self._clock()
        if failure is not None and before is None:
            log.error("cannot reserve sequence numbers in %s: %s", self._path, failure.strerror or failure)
        elif failure is None and before is not None:
            log.warning("sequence numbers are reserved in %s again", self._path)

    def _save(self) -> None:
        """Write the file: with a new block for every stream that runs low, or, once closed, with the exact next."""
        with self._disk:
            with self._lock:
                clean = self._closed
                low = [] if clean else [state for state in self._streams.values() if state.low]
                if not clean and not low and self._streams:
                    return
                now_ns = self._clock()
                for state in low:
                    _adapt_block(state, now_ns)
                limits = {id(state): state.next + state.block for state in low}
                kept = dict(self._kept.streams)
                opened = {}
                for name, state in self._streams.items():
                    kept[name] = state.next if clean else limits.get(id(state), state.limit)
                    opened[name] = not clean
                data = _document(_Kept(self._kept.floor, kept), opened)
            self._write(self._path, data)
            with self._lock:
                for state in low:
                    state.limit = limits[id(state)]
                    state.reserved_ns = now_ns


def _adapt_block(state: _Stream, now_ns: int) -> None:
    if state.reserved_ns is not None and now_ns - state.reserved_ns < BLOCK_LASTS_S * 1e9:
        state.block = min(BLOCK_MAX, state.block * 2)


def _document(kept: _Kept, opened: dict[str, bool]) -> bytes:
    streams = {name: {"next": number, "open": opened.get(name, False)} for name, number in kept.streams.items()}
    content = {"schema": 1, "floor": kept.floor, "streams": streams}
    return json.dumps({**content, "crc32": _checksum(content)}, indent=1).encode()


def _checksum(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def _read(path: Path) -> _Kept:
    """Return where each stream goes on. Raises OSError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return _Kept()
    try:
        return _parse(data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return _Kept(_set_aside(path, data, error))


def _parse(data: bytes) -> _Kept:
    content = json.loads(data)
    if content.pop("crc32") != _checksum(content):
        raise ValueError("its checksum does not match")
    streams = {
        str(name): int(entry["next"]) + (MARGIN if entry["open"] else 0) for name, entry in content["streams"].items()
    }
    return _Kept(int(content["floor"]), streams)


def _set_aside(path: Path, data: bytes, error: Exception) -> int:
    """Move a damaged file away and return a number above everything that can have been used."""
    aside = path.with_suffix(".damaged")
    newest_ns = max(time.time_ns(), path.stat().st_mtime_ns)
    path.replace(aside)
    # A device without a clock may think it is 1970; what still reads as a number in the file then says more.
    found = [int(digits) for digits in re.findall(rb"[0-9]{1,15}", data)]
    floor = max(newest_ns // 1_000_000, max(found, default=0) + MARGIN)
    log.warning("%s is damaged (%s) and was set aside as %s; seq goes on from %d", path, error, aside.name, floor)
    return floor
