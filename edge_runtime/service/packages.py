"""What pip is told: wheels with hashes from a wheelhouse, or our wheel and the index; numpy held to the system's."""

import re
from importlib import metadata
from pathlib import Path
from typing import Final

from edge_runtime.errors import InstallError, UsageError
from edge_runtime.service.commands import succeeds
from edge_runtime.service.target import Target

NAME: Final = "edge-infer"
_NEEDS_64_BIT: Final = ("ai-edge-litert", "simplejpeg", "tflite-runtime", "numpy")
_PLATFORMS: Final = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
"""Debian 12's glibc is 2.36: whatever asks for 2.28 or less loads on every system that is supported."""


def requirements_name(tag: str) -> str:
    """Return the name of the list of pinned wheels in a wheelhouse for ``cp313-aarch64``."""
    return f"requirements-{tag}.txt"


def pinned(wheelhouse: Path, target: Target, *, without_numpy: bool) -> str:
    """Return the list of a wheelhouse for a target. Raises UsageError when it has none.

    Without numpy where the system's is used: what of the system was built against it (picamera2) breaks with another.
    """
    path = wheelhouse / requirements_name(target.tag)
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        made_for = sorted(found.stem.removeprefix("requirements-") for found in wheelhouse.glob("requirements-*.txt"))
        have = f"it is for {', '.join(made_for)}" if made_for else "it is no wheelhouse"
        do = "make one: edge-infer flash-prep --make-wheelhouse DIR"
        raise UsageError(f"{wheelhouse} has no wheels for {target.tag} ({have}); {do}") from error
    return "\n".join(line for line in lines if not (without_numpy and line.startswith("numpy=="))) + "\n"


def from_index(wheel: Path, target: Target, *, extras: tuple[str, ...], numpy: str | None) -> list[list[str]]:
    """Return what to install from the index, one list per call of pip.

    32-bit Arm: what LiteRT's absence changes is listed here, since the markers ask the kernel, which may be a 64-bit
    one that says aarch64; so our own wheel follows without its dependencies.
    """
    if not target.is_32_bit:
        held = [f"numpy=={numpy}"] if numpy else []
        return [[f"{NAME}[{','.join(extras)}] @ {wheel.resolve().as_uri()}" if extras else str(wheel), *held]]
    wanted = [line for line in _own_requirements(extras) if not line.startswith(_NEEDS_64_BIT)]
    held = [f"numpy=={numpy}" if numpy else "numpy>=1.24,<2"]
    return [[*wanted, "tflite-runtime>=2.14,<3", *held], ["--no-deps", str(wheel)]]


def _own_requirements(extras: tuple[str, ...]) -> list[str]:
    """Return what our package asks for, without markers."""
    found = []
    for line in metadata.requires(NAME) or []:
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        wanted_by = re.search(r"extra == ['\"](.+?)['\"]", marker)
        if wanted_by is None or wanted_by[1] in extras:
            found.append(requirement)
    return found


def system_numpy(root: Path, target: Target) -> str | None:
    """Return the version of the numpy that the system's Python has, or None. Read from names, nothing is imported.

    A 32-bit system works with numpy 1 only, everything else with 1.24 and newer (pyproject.toml).
    """
    for folder in (root / "usr/lib/python3/dist-packages").glob("numpy-*-info"):
        if match := re.fullmatch(r"numpy-(\d+)\.(\d+)(\S*?)\.(?:dist|egg)-info", folder.name):
            major, minor = int(match[1]), int(match[2])
            if (1, 24) <= (major, minor) < ((2, 0) if target.is_32_bit else (3, 0)):
                return f"{major}.{minor}{match[3]}"
    return None


def find_pip(python: Path, wheelhouse: Path | None) -> list[str]:
    """Return the words that start pip: the wheelhouse's own, run from its wheel, else the system's.

    Raises InstallError when there is none.
    """
    carried = sorted(wheelhouse.glob("pip-*.whl")) if wheelhouse else []
    if carried:
        return [str(python), f"{carried[-1]}/pip"]
    if succeeds([str(python), "-m", "pip", "--version"]):
        return [str(python), "-m", "pip"]
    raise InstallError(f"{python} has no pip: `sudo apt install python3-pip`, or install from a wheelhouse")


def platform_flags(target: Target) -> list[str]:
    """Return what lets pip choose wheels for another Python and processor than its own."""
    major, minor = target.version
    flags = ["--python-version", f"{major}.{minor}", "--implementation", "cp", "--only-binary", ":all:"]
    flags += [word for abi in (f"cp{major}{minor}", "abi3", "none") for word in ("--abi", abi)]
    flags += [word for platform in _PLATFORMS for word in ("--platform", f"{platform}_{target.machine}")]
    return flags


def running_in_wheel() -> Path | None:
    """Return the wheel that this very code was imported from, or None."""
    here = Path(__file__)
    return next((parent for parent in here.parents if parent.suffix == ".whl" and parent.is_file()), None)
