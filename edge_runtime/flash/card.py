"""A mounted boot partition: is it one, which first-boot customisation it takes, has it booted before, how much fits."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edge_runtime.errors import UsageError

Format = Literal["cloud-init", "preseed", "firstrun"]
System = Literal["trixie", "bookworm"]
Machine = Literal["aarch64", "armv7l"]
PYTHON_OF: Final[dict[System, tuple[int, int]]] = {"trixie": (3, 13), "bookworm": (3, 11)}
PRESEED: Final = "rpi-preseed.toml"
_KERNELS_32_BIT: Final = ("kernel.img", "kernel7.img", "kernel7l.img")
"""On the card of a 32-bit system alone; kernel8.img is on both, since a 32-bit system may run on a 64-bit kernel."""
_FIRST_BOOT: Final = re.compile(r"(?:^| )(?:init=/usr/lib/raspberrypi-sys-mods/firstboot|resize)(?= |$)")
"""In cmdline.txt until the first boot has made the root file system as large as the card: Bookworm, Trixie (pi-gen)."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a boot partition says of itself."""

    boot: Path
    formats: tuple[Format, ...]
    """More than one where a card has the files of more: what is put there does nothing the second time it is run."""
    system: System
    machine: Machine
    booted: bool
    free_bytes: int


def recognise(boot: Path, *, system: System | None = None) -> Card:
    """Look at a boot partition; nothing is written. Raises UsageError when it is none.

    ``system`` is the release, where it is known better than the files tell.
    """
    if not boot.is_dir():
        raise UsageError(f"--boot {boot}: no such folder; mount the card's boot partition (its name is bootfs)")
    if (boot / "etc").is_dir() and (boot / "usr").is_dir():
        raise UsageError(f"--boot {boot} is the root partition; give the small FAT one, its name is bootfs")
    missing = [name for name in ("config.txt", "cmdline.txt") if not (boot / name).is_file()]
    if missing or not (any(boot.glob("kernel*.img")) or (boot / "overlays").is_dir()):
        what = f"no {' and no '.join(missing)}" if missing else "no kernel"
        raise UsageError(f"--boot {boot} is no boot partition of Raspberry Pi OS ({what}): write the card first")
    preseed, cloud_init = (boot / PRESEED).is_file(), (boot / "user-data").is_file() or (boot / "meta-data").is_file()
    found: System = system or ("trixie" if preseed or cloud_init else "bookworm")
    formats: tuple[Format, ...] = (*(("preseed",) if preseed else ()), *(("cloud-init",) if cloud_init else ()))
    return Card(
        boot=boot,
        formats=formats or ("firstrun",),
        system=found,
        machine="armv7l" if any((boot / name).is_file() for name in _KERNELS_32_BIT) else "aarch64",
        booted=_FIRST_BOOT.search(_text(boot / "cmdline.txt")) is None,
        free_bytes=shutil.disk_usage(boot).free,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
