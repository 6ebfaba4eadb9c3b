"""Telling the service manager how we are: systemd's notification protocol (sd_notify(3)), over its datagram socket."""

import logging
import os
import socket
import time
from collections.abc import Mapping
from typing import Final

log = logging.getLogger(__name__)

LONGEST_STATUS: Final = 200


class Notifier:
    """Sends state to the socket that ``NOTIFY_SOCKET`` names; without one it does nothing.

    Never blocks and never raises: a service manager that does not listen must not hold up a frame. Any thread.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._failed = False
        self.watchdog_s = _watchdog_s(environment) if self._address is not None else None
        """After how long without ``alive`` the manager kills this process; None when it does not watch."""

    @property
    def is_heard(self) -> bool:
        """Whether there is somebody to tell."""
        return self._address is not None

    def ready(self, status: str) -> None:
        """Say that the service is up, after a start or a reload."""
        self._send("READY=1", _status(status))

    def status(self, status: str) -> None:
        """Say in one line what goes on."""
        self._send(_status(status))

    def alive(self) -> None:
        """Pet the watchdog."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Say that the configuration is read anew; ``ready`` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        """Say that the service ends."""
        self._send("STOPPING=1", _status(status))

    def extend(self, seconds: float) -> None:
        """Ask for so much more time for what is under way: a start, or a reload."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._failed:
                log.warning("the service manager cannot be told anything: %s", error.strerror or error)
            self._failed = True
        else:
            self._failed = False


def _address(text: str) -> bytes | None:
    """Return a path, or a name in the abstract name space, which is written with an @ in front."""
    if text.startswith("/"):
        return os.fsencode(text)
    if text.startswith("@"):
        return b"\0" + os.fsencode(text[1:])
    if text:
        log.warning("NOTIFY_SOCKET=%s is not understood: expected a path or @NAME", text)
    return None


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())[:LONGEST_STATUS]}"


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Read ``WATCHDOG_USEC``, which is for the process ``WATCHDOG_PID`` alone (sd_watchdog_enabled(3))."""
    text, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not text.isdecimal() or int(text) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(text) / 1_000_000
