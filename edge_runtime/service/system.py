"""The parts of the system that the service touches: its user, its files, systemd and udev."""

import os
import re
import shutil
from importlib import resources
from pathlib import Path
from typing import Final

from edge_runtime.errors import InstallError
from edge_runtime.service.commands import run, succeeds
from edge_runtime.service.layout import GROUPS, UNIT, USER, Layout

KNOWS_STEPS: Final = 254
"""The first systemd with RestartSteps= (its NEWS)."""
_BOOTED: Final = Path("/run/systemd/system")
"""Is there where systemd runs: sd_booted(3)."""
_SYSUSERS: Final = ("systemd-sysusers", "/usr/bin/systemd-sysusers", "/bin/systemd-sysusers")


def make_user(layout: Layout) -> None:
    """Make the locked user, and let it into the groups of devices that this system has. Raises InstallError."""
    program = next((found for name in _SYSUSERS if (found := shutil.which(name))), None)
    if program is None:
        raise InstallError("systemd-sysusers is missing: edge-infer's service needs systemd")
    lines = [_file("sysusers.conf"), *(f"m {USER} {group}" for group in GROUPS if group in _groups(layout))]
    root = [] if layout.live else [f"--root={layout.root}"]
    run([program, *root, "-"], doing="making the user edge-infer", text="\n".join(lines) + "\n")


def identity(layout: Layout) -> tuple[int, int] | None:
    """Return user and group id of the service below the root, or None."""
    for line in _lines(layout.root / "etc/passwd"):
        words = line.split(":")
        if words[0] == USER and len(words) > 3:
            return int(words[2]), int(words[3])
    return None


def remove_user(layout: Layout) -> None:
    """Remove the user and its group, where they are."""
    root = [] if layout.live else ["--root", str(layout.root)]
    for program, database in (("userdel", "passwd"), ("groupdel", "group")):
        if any(line.startswith(f"{USER}:") for line in _lines(layout.root / "etc" / database)):
            run([program, *root, USER], doing=f"removing {USER}")


def write_files(layout: Layout, *, packaged: bool) -> None:
    """Write unit, udev rule, sysusers and tmpfiles, where no Debian package brings them. Raises InstallError."""
    for name, path in () if packaged else layout.system_files.items():
        _write(path, _file(name))
    if (version := systemd_version(layout)) and version >= KNOWS_STEPS:
        _write(layout.restart_steps, _file("restart-steps.conf"))


def remove_files(layout: Layout, *, packaged: bool) -> None:
    """Remove what `write_files` wrote."""
    for path in (*(() if packaged else layout.system_files.values()), layout.restart_steps):
        path.unlink(missing_ok=True)
    if layout.restart_steps.parent.is_dir() and not any(layout.restart_steps.parent.iterdir()):
        layout.restart_steps.parent.rmdir()


def systemd_version(layout: Layout) -> int | None:
    """Return the version of the root's systemd from the name of its library, or None. Nothing is run."""
    for pattern in ("usr/lib/*/systemd/libsystemd-shared-*.so", "usr/lib/systemd/libsystemd-shared-*.so"):
        for path in layout.root.glob(pattern):
            if match := re.search(r"libsystemd-shared-(\d+)", path.name):
                return int(match[1])
    return None


def enable(layout: Layout) -> None:
    """Start the service with the machine, and tell systemd and udev of the new files."""
    if not layout.live:
        wants = layout.root / "etc/systemd/system/multi-user.target.wants" / UNIT
        wants.parent.mkdir(parents=True, exist_ok=True)
        if not wants.is_symlink():
            wants.symlink_to(f"/usr/lib/systemd/system/{UNIT}")
        return
    if _BOOTED.is_dir():
        run(["systemctl", "daemon-reload"], doing="systemctl")
        run(["systemctl", "enable", "--quiet", UNIT], doing="systemctl")
    else:  # an image that is being made: nobody is there to be told
        run(["systemctl", "--root=/", "enable", "--quiet", UNIT], doing="systemctl")
    # No device manager (a container) is no reason to fail: the rules are read when there is one.
    succeeds(["udevadm", "control", "--reload"])
    succeeds(["udevadm", "trigger", "--subsystem-match=usb", "--subsystem-match=apex", "--action=change"])


def reload() -> None:
    """Tell systemd and udev that files are gone."""
    succeeds(["systemctl", "daemon-reload"])
    succeeds(["udevadm", "control", "--reload"])


def disable(layout: Layout) -> None:
    """Stop the service and do not start it with the machine any more."""
    if layout.live:
        succeeds(["systemctl", "disable", "--now", "--quiet", UNIT])
        succeeds(["systemctl", "reset-failed", UNIT])
    else:
        (layout.root / "etc/systemd/system/multi-user.target.wants" / UNIT).unlink(missing_ok=True)


def own(path: Path, layout: Layout, mode: int, *, writable: bool = False) -> None:
    """Give a path to root and the service's group, or with ``writable`` to the service's user."""
    ids = identity(layout)
    path.chmod(mode)
    if ids is not None and os.geteuid() == 0:
        os.chown(path, ids[0] if writable else 0, ids[1])


def _file(name: str) -> str:
    return (resources.files("edge_runtime.service") / "files" / name).read_text("utf-8")


def default_config() -> str:
    """Return the configuration to begin with."""
    return _file("config.toml")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        path.chmod(0o644)
    except OSError as error:
        raise InstallError(f"cannot write {path}: {error.strerror}") from error


def _groups(layout: Layout) -> set[str]:
    return {line.partition(":")[0] for line in _lines(layout.root / "etc/group")}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
