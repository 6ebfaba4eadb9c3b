"""The seam to the operating system: what V4L2 needs of it and nothing more, so that a test can stand in for it."""

import contextlib
import fcntl
import mmap
import os
import select
from ctypes import Structure, c_int
from pathlib import Path
from typing import Protocol, TypeAlias

Mapping: TypeAlias = mmap.mmap

POLL_LOST = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Kernel(Protocol):
    """System calls on video devices. Every method raises OSError as the system call does."""

    def nodes(self) -> list[str]:
        """Return the paths of all video devices, by number."""
        ...

    def open(self, path: str) -> int:
        """Open a device for reading and writing, not blocking, and return its descriptor."""
        ...

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        ...

    def ioctl(self, descriptor: int, request: int, argument: Structure | c_int) -> None:
        """Do an ioctl, which may change ``argument``; an interrupted one is done again."""
        ...

    def map(self, descriptor: int, *, length: int, offset: int) -> Mapping:
        """Map a buffer of the device for reading."""
        ...

    def poll(self, descriptor: int, timeout_s: float) -> int:
        """Wait for input; return poll's events, 0 when there was none within ``timeout_s``."""
        ...


class Linux:
    """The real one."""

    def nodes(self) -> list[str]:
        """Return ``/dev/video*`` by number."""
        found = [path for path in Path("/dev").glob("video*") if path.name[5:].isdigit()]
        return [str(path) for path in sorted(found, key=lambda path: int(path.name[5:]))]

    def open(self, path: str) -> int:
        """Open not blocking, so that taking a buffer can never hang; a child process does not inherit it."""
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self, descriptor: int) -> None:
        """Close; a device that is gone may complain, and is closed all the same."""
        with contextlib.suppress(OSError):
            os.close(descriptor)

    def ioctl(self, descriptor: int, request: int, argument: Structure | c_int) -> None:
        """Do an ioctl in place, without the interpreter's lock."""
        while True:
            with contextlib.suppress(InterruptedError):
                fcntl.ioctl(descriptor, request, argument, True)
                return

    def map(self, descriptor: int, *, length: int, offset: int) -> Mapping:
        """Map shared and read-only."""
        return mmap.mmap(descriptor, length, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ, offset=offset)

    def poll(self, descriptor: int, timeout_s: float) -> int:
        """Wait with the system call of that name."""
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        events = poller.poll(max(0.0, timeout_s) * 1000)
        return events[0][1] if events else 0


LINUX: Kernel = Linux()
