"""The state directory of one device: where it is, who may read it, and that only one process writes it."""

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from edge_runtime.errors import StoreError, UsageError

_ADVICE = "give a directory that can be written with the environment variable EDGE_INFER_STATE_DIR"


def state_path(device_id: str, environ: Mapping[str, str] | None = None) -> Path:
    """Return where the state of a device is kept, without touching the disk.

    ``EDGE_INFER_STATE_DIR`` where it is set, else ``$XDG_STATE_HOME/edge-infer/<device id>`` (``~/.local/state``).
    Raises UsageError for a device id that is no directory name.
    """
    if device_id in {"", ".", ".."} or "/" in device_id or "\0" in device_id:
        raise UsageError(f"'{device_id}' cannot be a device id; use letters, digits, - and _")
    environ = os.environ if environ is None else environ
    if own := environ.get("EDGE_INFER_STATE_DIR"):
        return Path(own)
    # The XDG specification: a relative path is invalid and to be ignored.
    home = Path(environ.get("XDG_STATE_HOME") or "")
    if not home.is_absolute():
        try:
            home = Path.home() / ".local" / "state"
        except RuntimeError as error:
            raise StoreError(f"this user has no home directory; {_ADVICE}") from error
    return home / "edge-infer" / device_id


class StateDir:
    """The state directory, held by this process from `open` to `close`. ``path`` names it; nothing is read before.

    ``with StateDir(state_path(device_id), device_id) as state: ...``. Called from the main thread.
    """

    def __init__(self, path: Path, device_id: str) -> None:
        self.path = path
        self._device_id = device_id
        self._lock_fd: int | None = None

    def open(self) -> None:
        """Make the directory (mode 0700) and take its lock.

        Raises UsageError when another process holds it, StoreError when it cannot be made or written.
        """
        if self._lock_fd is not None:
            return
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            self._take(fd)
        except BaseException:
            os.close(fd)
            raise
        self._lock_fd = fd

    def close(self) -> None:
        """Let go of the lock; may be called twice. The lock file stays: deleting it would let two processes in."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def __enter__(self) -> Self:
        """Open it."""
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def _take(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            who = f"process {pid}" if pid.isdigit() else "another process"
            raise UsageError(
                f"{who} already runs as device '{self._device_id}' with {self.path}; "
                f"stop it, or give this one another --device-id"
            ) from error
        except OSError as error:
            raise self._unusable(error) from error
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> StoreError:
        return StoreError(f"cannot use the state directory {self.path}: {error.strerror or error}; {_ADVICE}")
