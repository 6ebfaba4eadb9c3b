"""Install or upgrade the service: build beside, examine, switch in one step, start, and go back when it fails."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import InstallError, UsageError
from edge_runtime.service import environment as environments
from edge_runtime.service import health, system
from edge_runtime.service.commands import run
from edge_runtime.service.environment import Packages, Say
from edge_runtime.service.layout import Layout
from edge_runtime.service.target import examine


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is installed. ``config`` and ``files`` are copied to /etc/edge-infer; without them what is there stays."""

    packages: Packages
    config: Path | None = None
    files: tuple[Path, ...] = ()
    """A model, labels, certificates: what the configuration names relative to its folder."""
    start: bool = True
    packaged: bool = False
    """The Debian package brings the system's files itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an installation came to."""

    environment: str
    version: str
    previous: str | None
    started: bool
    configured: bool
    """Whether somebody has said what to run; otherwise the configuration to begin with lies there, not started."""


def install(layout: Layout, wishes: Wishes, *, say: Say) -> Outcome:
    """Install, or upgrade what is there. Raises UnsupportedPlatformError, UsageError, InstallError.

    Whatever fails, and a power cut, leaves the environment in use as it was; the same call then does all of it again.
    """
    target = examine(layout.root)
    need_root(layout)
    os.umask(0o022)  # the service's own user reads what is installed, whatever the caller's habit is
    if layout.packaged.is_dir() and not wishes.packaged:
        raise UsageError("the Debian package installed this; upgrade it with: sudo apt install ./edge-infer_*.deb")
    with _alone(layout):
        previous = current(layout)
        new = environments.build(layout, target, wishes.packages, say=say)
        try:
            if layout.live:
                say("examining the new environment")
                health.probe(new)
            system.make_user(layout)
            configured = _configure(layout, wishes, new)
            system.write_files(layout, packaged=wishes.packaged)
            switch(layout, new)
            system.enable(layout)
        except BaseException:
            if current(layout) == new:
                _back(layout, previous)
            shutil.rmtree(new, ignore_errors=True)
            raise
        started = wishes.start and layout.live and configured
        if started:
            say("starting the service")
            _start(layout, new, previous, say)
        _forget(layout, keep={new, previous})
    return Outcome(
        environment=str(new),
        version=environments.version_of(new),
        previous=str(previous) if previous else None,
        started=started,
        configured=configured,
    )


def need_root(layout: Layout) -> None:
    """Refuse what will fail half-way. Raises UsageError."""
    if layout.live and os.geteuid() != 0:
        raise UsageError("this changes the system: run it with sudo")
    if not layout.root.is_dir():
        raise UsageError(f"--root {layout.root}: no such folder")


def current(layout: Layout) -> Path | None:
    """Return the environment in use."""
    try:
        found = layout.home / os.readlink(layout.current)  # noqa: PTH115 - the name alone, whatever the root
    except OSError:
        return None
    return found if found.is_dir() else None


def switch(layout: Layout, environment: Path) -> None:
    """Make ``current`` point to an environment: the old one or the new one, never neither. Raises InstallError."""
    _link(layout.current, environment.name)
    _link(layout.command, f"/{layout.current.relative_to(layout.root)}/bin/edge-infer")
    os.sync()


def _link(path: Path, to: str) -> None:
    beside = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        beside.symlink_to(to)
        beside.replace(path)
    except OSError as error:
        raise InstallError(f"cannot write {path}: {error.strerror}") from error


def _back(layout: Layout, previous: Path | None) -> None:
    if previous is not None:
        switch(layout, previous)
    else:
        layout.current.unlink(missing_ok=True)
        layout.command.unlink(missing_ok=True)


def _start(layout: Layout, new: Path, previous: Path | None, say: Say) -> None:
    """Start it; go back to the previous environment where it does not come up. Raises InstallError."""
    reason = health.start()
    if reason is None:
        return
    if previous is None:
        raise InstallError(
            f"installed, and it does not come up yet ({reason}); it goes on trying. See: journalctl -u edge-infer -e"
        )
    say(f"it does not come up ({reason}); going back to {previous.name}")
    switch(layout, previous)
    shutil.rmtree(new, ignore_errors=True)
    again = health.start()
    state = "which runs again" if again is None else f"which does not come up either ({again})"
    raise InstallError(f"the new version does not come up ({reason}): back to {previous.name}, {state}")


def _configure(layout: Layout, wishes: Wishes, environment: Path) -> bool:
    """Put the configuration and its files in place; return whether there is one that somebody wrote."""
    folder, state = layout.config_folder, layout.state
    for path in (folder, state):
        path.mkdir(parents=True, exist_ok=True)
    system.own(folder, layout, 0o750)
    system.own(state, layout, 0o700, writable=True)
    for source in wishes.files:
        _place(source, folder / source.name, layout)
    if wishes.config is not None:
        if layout.live:
            command = [str(environment / "bin/edge-infer"), "config", "check", str(wishes.config)]
            run(command, doing=f"checking {wishes.config}")
        if layout.config.is_file() and layout.config.read_bytes() != wishes.config.read_bytes():
            _place(layout.config, folder / "config.toml.previous", layout)
        _place(wishes.config, layout.config, layout)
        return True
    begin = system.default_config()
    if not layout.config.is_file():
        layout.config.write_text(begin, "utf-8")
        system.own(layout.config, layout, 0o640)
    return layout.config.read_text("utf-8", errors="replace") != begin


def _place(source: Path, destination: Path, layout: Layout) -> None:
    """Copy a file so that it is whole or not there, readable for the service alone. Raises InstallError."""
    beside = destination.with_name(f"{destination.name}.new")
    try:
        shutil.copyfile(source, beside)
        system.own(beside, layout, 0o640)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(destination)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InstallError(f"cannot copy {source} to {destination}: {error.strerror}") from error


def _forget(layout: Layout, *, keep: set[Path | None]) -> None:
    for environment in layout.environments():
        if environment not in keep:
            shutil.rmtree(environment, ignore_errors=True)


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """Let one installation run at a time. Raises InstallError."""
    try:
        layout.home.mkdir(parents=True, exist_ok=True)
        file = (layout.home / ".lock").open("w")
    except OSError as error:
        raise InstallError(f"cannot write {layout.home}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InstallError("another installation runs; wait for it to end") from error
        yield
