"""The latest picture of each stream, and how often a new one may be asked for."""

from collections import OrderedDict
from typing import Final

TOTAL_BYTES: Final = 64 << 20
INTERVAL_S: Final = 1.0
STREAMS: Final = 2048

Key = tuple[str, str]
"""Device id and stream name."""


class Snapshots:
    """JPEG bytes by stream, at most ``total_bytes`` together: the one not renewed for longest makes room."""

    def __init__(self, *, total_bytes: int = TOTAL_BYTES) -> None:
        self._pictures: OrderedDict[Key, bytes] = OrderedDict()
        self._total_bytes = total_bytes
        self._size_bytes = 0

    def put(self, key: Key, jpeg: bytes) -> None:
        """Keep a picture in place of the stream's last one."""
        self.remove(key)
        self._pictures[key] = jpeg
        self._size_bytes += len(jpeg)
        while self._size_bytes > self._total_bytes:
            _, oldest = self._pictures.popitem(last=False)
            self._size_bytes -= len(oldest)

    def get(self, key: Key) -> bytes | None:
        """Return the stream's latest picture, None when there is none (any more)."""
        return self._pictures.get(key)

    def remove(self, key: Key) -> None:
        """Forget a stream's picture."""
        self._size_bytes -= len(self._pictures.pop(key, b""))

    def remove_device(self, device: str) -> None:
        """Forget the pictures of all streams of a device."""
        for key in [key for key in self._pictures if key[0] == device]:
            self.remove(key)


class Pace:
    """Lets one request per stream and second through, however many pages are open. Not thread-safe."""

    def __init__(self, *, interval_s: float = INTERVAL_S, streams: int = STREAMS) -> None:
        self._last_s: OrderedDict[Key, float] = OrderedDict()
        self._interval_s = interval_s
        self._streams = streams

    def allows(self, key: Key, *, now_s: float) -> bool:
        """Whether a snapshot of this stream may be asked for now; if so, that counts as asked."""
        last_s = self._last_s.get(key)
        if last_s is not None and now_s - last_s < self._interval_s:
            return False
        self._last_s[key] = now_s
        self._last_s.move_to_end(key)
        while len(self._last_s) > self._streams:
            self._last_s.popitem(last=False)
        return True
