"""What to tell a person when a camera cannot be used: one sentence each, with what to do."""

import contextlib
import errno
import grp
import os
import pwd
from collections.abc import Collection
from pathlib import Path

from edge_runtime.errors import SourceError, SourceUnavailableError, UsageError

LIST_HINT = "see `edge-infer --list-cameras`"
NO_CAMERA = (
    "no camera found: plug one in (a Raspberry Pi camera also needs `sudo apt install python3-picamera2`), "
    "then look with `edge-infer --list-cameras`"
)
PI_SENSOR = (
    "is the raw sensor of a Raspberry Pi camera, which works through picamera2: "
    "`sudo apt install python3-picamera2`, and an environment made with --system-site-packages"
)


def unavailable(path: str, error: OSError) -> SourceError | UsageError:
    """Return the error to raise for a device that could not be opened or started."""
    if error.errno in {errno.ENOTTY, errno.EISDIR}:
        return UsageError(f"{path} is not a camera; {LIST_HINT}; recordings go to --video, pictures to --images")
    return SourceUnavailableError(f"{path} {reason(path, error)}")


def reason(path: str, error: OSError) -> str:
    """Say why ``path`` could not be opened or started; a predicate, without the path."""
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return not_permitted(Path(path))
        case errno.EBUSY:
            return busy(holders(path))
        case errno.ENOENT | errno.ENXIO | errno.ENODEV:
            return f"is not there: plug the camera in, or choose another; {LIST_HINT}"
        case errno.ENOSPC:
            return (
                "does not get enough USB bandwidth beside the other cameras: "
                "lower its size or rate, take format mjpeg, or use another USB port"
            )
        case errno.ENOTTY | errno.EISDIR:
            return "is not a video device"
        case _:
            return f"does not work: {error.strerror or error}; unplug it and plug it in again, and see `dmesg`"


def lost(path: str, error: OSError) -> SourceError:
    """Return the error to raise when a camera goes away while it streams."""
    if error.errno == errno.ENODEV:
        return SourceError(f"{path} was unplugged; it is used again as soon as it is back")
    return SourceError(f"{path} failed while capturing: {error.strerror or error}; it is opened anew")


def not_permitted(path: Path) -> str:
    """Say what the user must do to be allowed to open a device."""
    try:
        status = path.stat()
        user = pwd.getpwuid(os.geteuid()).pw_name
        group = grp.getgrgid(status.st_gid)
    except (OSError, KeyError):
        return "may not be opened by this user: give the user read and write permission on it"
    return permission_sentence(
        user=user,
        group=group.gr_name,
        enters=status.st_mode & 0o060 == 0o060,
        listed=user in group.gr_mem,
        active=status.st_gid in {os.getegid(), *os.getgroups()},
    )


def permission_sentence(*, user: str, group: str, enters: bool, listed: bool, active: bool) -> str:
    """Say why a user may not open a device of ``group``.

    Args:
        user: name of the user.
        group: name of the device's group.
        enters: whether the group may read and write the device.
        listed: whether the group file names the user.
        active: whether this process is in the group.
    """
    if not enters or active or group == "root":
        return f"may not be opened by {user}: a udev rule must give the group video read and write permission on it"
    if listed:
        return f"may not be opened yet: {user} joined group {group} after this login; log out and in again"
    return (
        f"may not be opened by {user}: add yourself to group {group}: "
        f"`sudo usermod -aG {group} {user}`, then log in again"
    )


def busy(programs: Collection[tuple[str, int]]) -> str:
    """Say who uses a device."""
    own = [pid for _, pid in programs if pid == os.getpid()]
    others = [f"{name} (pid {pid})" for name, pid in programs if pid != os.getpid()]
    if others:
        return f"is in use by {', '.join(others)}: stop that program, or choose another camera; {LIST_HINT}"
    if own:
        return f"is in use by another source of this program: give each source its own camera; {LIST_HINT}"
    return "is in use by a program of another user (`sudo fuser -v` on the device names it): stop it, or choose another"


def holders(path: str, *, proc: Path = Path("/proc")) -> list[tuple[str, int]]:
    """Return name and pid of the programs that hold a device open, as far as this user may see."""
    try:
        device = os.stat(path).st_rdev  # noqa: PTH116 - the same call as for the descriptors below
    except OSError:
        return []
    found = []
    for process in proc.iterdir():
        if process.name.isdigit() and _holds(process / "fd", device):
            name = "a program"
            with contextlib.suppress(OSError):
                name = (process / "comm").read_text().strip()
            found.append((name, int(process.name)))
    return sorted(found, key=lambda each: each[1])


def _holds(descriptors: Path, device: int) -> bool:
    # Other users' descriptors cannot be read, and any may vanish while they are looked at.
    with contextlib.suppress(OSError), os.scandir(descriptors) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if device and entry.stat().st_rdev == device:
                    return True
    return False
