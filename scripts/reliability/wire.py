"""Between the daemon and the broker: what the broker acknowledged, and a network that can be cut and frozen.

A broker that is killed may lose what it has acknowledged. Only who listens on the wire can say whose loss that is.
"""

import contextlib
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

from account import Entry, Key, entry_of

CONNACK, PUBLISH, PUBACK = 2, 3, 4
_STOP_CHECK_S = 0.1


class Packets:
    """Cuts a stream of MQTT bytes into packets: kind, flags, body (MQTT 3.1.1, 2.2)."""

    def __init__(self) -> None:
        self._bytes = b""

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        self._bytes += data
        found = []
        while (packet := self._next()) is not None:
            found.append(packet)
        return found

    def _next(self) -> tuple[int, int, bytes] | None:
        length = 0
        for place in range(1, min(5, len(self._bytes))):
            byte = self._bytes[place]
            length |= (byte & 127) << 7 * (place - 1)
            if byte < 128:
                end = place + 1 + length
                if len(self._bytes) < end:
                    return None
                first, body = self._bytes[0], self._bytes[place + 1 : end]
                self._bytes = self._bytes[end:]
                return first >> 4, first & 15, body
        return None


@dataclass
class _Pair:
    """One connection of the daemon and the one to the broker behind it."""

    device: socket.socket
    broker: socket.socket
    sent: dict[int, Entry] = field(default_factory=dict)
    """Predictions by packet identifier, not yet acknowledged."""
    from_device: Packets = field(default_factory=Packets)
    from_broker: Packets = field(default_factory=Packets)
    accepted: bool = False


class Wire:
    """Listens on ``port`` and passes everything on to the broker on ``broker_port``, one thread for all of it."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.acknowledged: dict[Key, float] = {}
        """When the broker acknowledged a prediction first, in seconds of wall time."""
        self._pairs: list[_Pair] = []
        self._frozen = threading.Event()
        self._over = threading.Event()
        self._last_connected_s = 0.0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="wire", daemon=True)
        self._thread.start()

    def was_connected(self, *, within_s: float) -> bool:
        """Tell whether the broker had accepted the daemon, now or a moment ago."""
        with self._lock:
            return any(pair.accepted for pair in self._pairs) or time.time() - self._last_connected_s < within_s

    def cut(self) -> None:
        """Break every connection, as when a router forgets them."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            for end in (pair.device, pair.broker):
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Pass nothing on, in neither direction; new connections are not answered."""
        self._frozen.set()

    def thaw(self) -> None:
        self._frozen.clear()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        for pair in self._pairs:
            pair.device.close()
            pair.broker.close()
        self._listener.close()

    def _run(self) -> None:
        while not self._over.is_set():
            if self._frozen.is_set():
                time.sleep(_STOP_CHECK_S)
                continue
            ends = {end: pair for pair in self._pairs for end in (pair.device, pair.broker)}
            ready, _, _ = select.select([self._listener, *ends], [], [], _STOP_CHECK_S)
            for end in ready:
                if end is self._listener:
                    self._accept()
                elif ends[end] in self._pairs:
                    self._pass_on(end, ends[end])

    def _accept(self) -> None:
        device, _ = self._listener.accept()
        try:
            broker = socket.create_connection(("127.0.0.1", self._broker_port), timeout=1)
        except OSError:
            device.close()
            return
        for end in (device, broker):
            end.settimeout(20)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._pairs.append(_Pair(device, broker))

    def _pass_on(self, end: socket.socket, pair: _Pair) -> None:
        try:
            data = end.recv(65536)
        except OSError:
            data = b""
        try:
            if data and end is pair.device:
                self._note_sent(pair, data)
                pair.broker.sendall(data)
            elif data:
                self._note_answers(pair, data)
                pair.device.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._drop(pair)

    def _drop(self, pair: _Pair) -> None:
        with self._lock:
            self._pairs.remove(pair)
            if pair.accepted:
                self._last_connected_s = time.time()
        pair.device.close()
        pair.broker.close()

    def _note_sent(self, pair: _Pair, data: bytes) -> None:
        for kind, flags, body in pair.from_device.feed(data):
            if kind != PUBLISH or not flags & 2:
                continue
            end = 2 + int.from_bytes(body[:2], "big")
            if body[2:end].endswith(b"/prediction") and (entry := entry_of(body[end + 2 :])):
                pair.sent[int.from_bytes(body[end : end + 2], "big")] = entry

    def _note_answers(self, pair: _Pair, data: bytes) -> None:
        for kind, _, body in pair.from_broker.feed(data):
            if kind == CONNACK:
                pair.accepted = body[1] == 0
            elif kind == PUBACK and (entry := pair.sent.pop(int.from_bytes(body[:2], "big"), None)):
                self.acknowledged.setdefault(entry.key, time.time())
