"""Which Python and processor a root has, and whether edge-infer can run there at all; read from files, not run."""

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_runtime.errors import UnsupportedPlatformError

OLDEST_PYTHON: Final = (3, 11)
LAST_WITH_TFLITE_RUNTIME: Final = (3, 11)
"""tflite-runtime, the only interpreter with 32-bit Arm wheels, has none for a newer Python."""
_MACHINES: Final = {(1, 40): "armv7l", (2, 183): "aarch64", (2, 62): "x86_64"}
"""ELF class and e_machine (elf.h: EM_ARM, EM_AARCH64, EM_X86_64) of the interpreter itself: a 32-bit system on a 64-bit
kernel, as Raspberry Pi OS has it, says aarch64 everywhere else."""


@dataclass(frozen=True, slots=True)
class Target:
    """The system's Python below a root."""

    python: Path
    """As seen from inside the root, ``/usr/bin/python3.13``."""
    version: tuple[int, int]
    machine: str

    @property
    def tag(self) -> str:
        """Return what names its wheels: ``cp313-aarch64``."""
        return f"cp{self.version[0]}{self.version[1]}-{self.machine}"

    @property
    def is_32_bit(self) -> bool:
        """Return whether LiteRT has no wheel for it and tflite-runtime takes its place."""
        return self.machine == "armv7l"


def examine(root: Path, *, kernel_machine: str | None = None) -> Target:
    """Return the target below ``root``. Raises UnsupportedPlatformError, in one line, where edge-infer cannot work.

    ``kernel_machine`` is what the running kernel calls the processor (default: ask it, where root is ``/``).
    """
    python = _system_python(root)
    version = _version(python.name)
    machine = _machine(root, python)
    if kernel_machine is None:
        kernel_machine = os.uname().machine if root == Path("/") else machine
    if kernel_machine.startswith("armv6"):
        raise UnsupportedPlatformError(
            "this board's processor is ARMv6 (Raspberry Pi Zero W, 1): no TFLite interpreter is built for it; "
            "a Zero 2 W has the same size and works"
        )
    if version < OLDEST_PYTHON:
        raise UnsupportedPlatformError(
            f"this system's Python is {version[0]}.{version[1]}; edge-infer needs 3.11 or newer: "
            "write a card with Raspberry Pi OS Bookworm or Trixie (64-bit)"
        )
    if machine == "armv7l" and version > LAST_WITH_TFLITE_RUNTIME:
        raise UnsupportedPlatformError(
            f"no TFLite interpreter is built for 32-bit Arm and Python {version[0]}.{version[1]}: "
            "write a card with the 64-bit Raspberry Pi OS, or with 32-bit Bookworm"
        )
    return Target(python, version, machine)


def _system_python(root: Path) -> Path:
    link = root / "usr/bin/python3"
    name = os.readlink(link) if link.is_symlink() else "python3"  # noqa: PTH115 - the link's text, not where it leads
    found = Path("/usr/bin") / Path(name).name
    if not (root / found.relative_to("/")).is_file():
        raise UnsupportedPlatformError(f"{root} has no /usr/bin/python3: `sudo apt install python3`")
    return found


def _version(name: str) -> tuple[int, int]:
    match = re.fullmatch(r"python(\d+)\.(\d+)", name)
    if match is None:
        raise UnsupportedPlatformError(f"/usr/bin/python3 leads to {name}, which does not tell its version")
    return int(match[1]), int(match[2])


def _machine(root: Path, python: Path) -> str:
    with (root / python.relative_to("/")).open("rb") as file:
        head = file.read(20)
    if len(head) < 20 or head[:4] != b"\x7fELF":
        raise UnsupportedPlatformError(f"{python} is no program for Linux")
    kind = (head[4], struct.unpack("<H", head[18:20])[0])
    if kind not in _MACHINES:
        raise UnsupportedPlatformError(
            f"the processor of {python} (ELF machine {kind[1]}) is neither x86-64 nor 64-bit Arm nor ARMv7"
        )
    return _MACHINES[kind]
