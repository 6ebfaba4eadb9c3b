"""Roots of systems that are not there: a Python for some processor, groups, a numpy."""

import struct
from pathlib import Path

MACHINES = {"aarch64": (2, 183), "x86_64": (2, 62), "armv7l": (1, 40), "riscv64": (2, 243)}


def make_root(
    folder: Path,
    *,
    python: str = "python3.13",
    machine: str = "aarch64",
    numpy: str | None = None,
    groups: tuple[str, ...] = ("root", "video", "plugdev"),
    systemd: int | None = 257,
) -> Path:
    """Make the files that the installer looks at below ``folder``, and return it."""
    binaries = folder / "usr/bin"
    binaries.mkdir(parents=True)
    elf_class, number = MACHINES[machine]
    (binaries / python).write_bytes(
        b"\x7fELF" + bytes([elf_class, 1]) + bytes(12) + struct.pack("<H", number) + bytes(8)
    )
    (binaries / "python3").symlink_to(python)
    etc = folder / "etc"
    etc.mkdir()
    (etc / "group").write_text("".join(f"{name}:x:{number}:\n" for number, name in enumerate(groups)))
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (etc / "shadow").write_text("root:*:20000::::::\n")
    if numpy:
        (folder / f"usr/lib/python3/dist-packages/numpy-{numpy}.egg-info").mkdir(parents=True)
    if systemd:
        library = folder / "usr/lib/aarch64-linux-gnu/systemd"
        library.mkdir(parents=True)
        (library / f"libsystemd-shared-{systemd}.so").touch()
    return folder
