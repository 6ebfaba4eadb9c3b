"""A service manager's end of the notification socket, and what it is told."""

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

DEADLINE_S = 30.0


class ServiceManager:
    """Listens where ``NOTIFY_SOCKET`` points: a file, or with ``abstract`` a name without one."""

    def __init__(self, folder: Path, *, abstract: bool = False) -> None:
        self.address = f"@edge-infer-test-{os.getpid()}-{time.monotonic_ns()}" if abstract else str(folder / "notify")
        self.told: list[tuple[float, dict[str, str]]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:] if abstract else self.address)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def environment(self, *, watchdog_s: float | None = None) -> dict[str, str]:
        """What the manager sets for the service."""
        watched = {} if watchdog_s is None else {"WATCHDOG_USEC": str(int(watchdog_s * 1e6))}
        return {"NOTIFY_SOCKET": self.address, **watched}

    def times(self, key: str, value: str | None = None) -> list[float]:
        """When ``key`` was told, monotonic seconds."""
        return [at for at, fields in list(self.told) if key in fields and value in (None, fields[key])]

    def values(self, key: str) -> list[str]:
        return [fields[key] for _, fields in list(self.told) if key in fields]

    def wait(self, condition: Callable[[], object], *, what: str) -> None:
        end = time.monotonic() + DEADLINE_S
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f"{what} did not come; told: {[fields for _, fields in self.told][-10:]}")
            time.sleep(0.01)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while data := self._socket.recv(4096):
            pairs = (line.partition("=") for line in data.decode().splitlines())
            self.told.append((time.monotonic(), {key: value for key, _, value in pairs}))
