"""Where everything of the service is, below a root: / on the device, another folder while an image is made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

USER: Final = "edge-infer"
UNIT: Final = "edge-infer.service"
GROUPS: Final = ("video", "plugdev", "i2c", "gpio", "apex", "render")
"""Groups that own cameras, USB and PCIe accelerators and sensors; the user joins those that the system has."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of the installed service. ``root`` is ``/`` or the root of an image."""

    root: Path = Path("/")

    @property
    def live(self) -> bool:
        """Return whether this is the system that runs."""
        return self.root == Path("/")

    @property
    def home(self) -> Path:
        """Return the folder of the environments: ``current`` points to the one in use."""
        return self.root / "usr/lib/edge-infer"

    @property
    def current(self) -> Path:
        """Return the link to the environment in use; it is replaced in one step."""
        return self.home / "current"

    @property
    def command(self) -> Path:
        """Return the link that makes ``edge-infer`` a command for everybody."""
        return self.root / "usr/bin/edge-infer"

    @property
    def config_folder(self) -> Path:
        """Return the folder of the configuration and what it refers to; the service works in it."""
        return self.root / "etc/edge-infer"

    @property
    def config(self) -> Path:
        """Return the configuration file."""
        return self.config_folder / "config.toml"

    @property
    def state(self) -> Path:
        """Return the folder of what must last: sequence numbers, outbox, models pulled."""
        return self.root / "var/lib/edge-infer"

    @property
    def setup(self) -> Path:
        """Return the folder of a card that installed edge-infer on its first boot."""
        return self.root / "var/lib/edge-infer-setup"

    @property
    def system_files(self) -> dict[str, Path]:
        """Return where each file of ``edge_runtime.service.files`` belongs."""
        lib = self.root / "usr/lib"
        return {
            "edge-infer.service": lib / "systemd/system" / UNIT,
            "60-edge-infer.rules": lib / "udev/rules.d/60-edge-infer.rules",
            "sysusers.conf": lib / "sysusers.d/edge-infer.conf",
            "tmpfiles.conf": lib / "tmpfiles.d/edge-infer.conf",
        }

    @property
    def restart_steps(self) -> Path:
        """Return the drop-in for a systemd that can lengthen its pauses step by step."""
        return self.root / "usr/lib/systemd/system" / f"{UNIT}.d" / "restart-steps.conf"

    @property
    def packaged(self) -> Path:
        """Return the folder that only the Debian package has."""
        return self.root / "usr/share/edge-infer"

    def environments(self) -> list[Path]:
        """Return the environments that are there, complete or not, the oldest first."""
        found = [path for path in self.home.glob("environment-*") if path.is_dir() and not path.is_symlink()]
        return sorted(found, key=lambda path: _number(path.name))

    def new_environment(self) -> Path:
        """Return a path for the next environment."""
        last = max((_number(path.name) for path in self.environments()), default=0)
        return self.home / f"environment-{last + 1}"


def _number(name: str) -> int:
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0
