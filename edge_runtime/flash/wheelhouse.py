"""A wheelhouse: every wheel that a device needs, for each Python of its system, pinned with hashes; made anywhere."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zipfile import BadZipFile, ZipFile

from edge_runtime.errors import DownloadError, InstallError, UsageError
from edge_runtime.service.commands import last_words
from edge_runtime.service.own_wheel import pack
from edge_runtime.service.packages import NAME, find_pip, platform_flags, requirements_name
from edge_runtime.service.target import Target

if TYPE_CHECKING:
    from packaging.requirements import Requirement

Say = Callable[[str], None]
PYTHONS: Final = ((3, 11), (3, 13))
"""Of Raspberry Pi OS Bookworm and Trixie."""
EXTRAS: Final = ("dashboard",)
_MOST_ROUNDS: Final = 5
_QUIET: Final = ("--quiet", "--disable-pip-version-check", "--no-input")
_DRY_RUN: Final = ("install", "--dry-run", "--ignore-installed", "--report", "-", "--target", "nowhere")


@dataclass(frozen=True, slots=True)
class Made:
    """One list of a wheelhouse."""

    tag: str
    wheels: tuple[str, ...]
    size_bytes: int


def make_wheelhouse(
    folder: Path, *, machines: Sequence[str] = ("aarch64",), pythons: Sequence[tuple[int, int]] = PYTHONS, say: Say
) -> list[Made]:
    """Collect the wheels into a folder, new or a wheelhouse already, and return what each list holds.

    The folder holds pip's wheel too: a device needs nothing but Python. It appears when everything is there, and not
    before. Raises UsageError, DownloadError, InstallError.
    """
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or _is_wheelhouse(folder))):
        raise UsageError(f"{folder} is neither empty nor a wheelhouse; name another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".wheelhouse-", dir=folder.parent) as made:
        work = Path(made)
        own = pack(work)
        _pip([*_download(work), "pip"])
        lists = []
        for machine in machines:
            for version in pythons:
                target = Target(Path(f"/usr/bin/python{version[0]}.{version[1]}"), version, machine)
                say(f"collecting wheels for {target.tag}")
                lists.append(_collect(work, own, target))
        if folder.exists():
            shutil.rmtree(folder)
        work.chmod(0o755)
        work.rename(folder)
        work.mkdir()  # the temporary folder's own end wants to find it
    return lists


def resolve(
    *, machines: Sequence[str] = ("aarch64",), pythons: Sequence[tuple[int, int]] = PYTHONS, say: Say
) -> list[Made]:
    """Find out what a wheelhouse would hold, from the index's metadata alone. Raises DownloadError, InstallError."""
    with tempfile.TemporaryDirectory() as folder:
        own = pack(Path(folder))
        lists = []
        for machine in machines:
            for version in pythons:
                target = Target(Path(f"/usr/bin/python{version[0]}.{version[1]}"), version, machine)
                say(f"resolving wheels for {target.tag}")
                lists.append(_resolve(own, target))
    return lists


def _resolve(own: Path, target: Target) -> Made:
    wanted = [f"{NAME}[{','.join(EXTRAS)}] @ {own.as_uri()}"]
    for _ in range(_MOST_ROUNDS):
        report = _pip([*_DRY_RUN, *_QUIET, *platform_flags(target), *wanted])
        found = json.loads(report)["install"]
        needs = {each["metadata"]["name"]: each["metadata"].get("requires_dist") or [] for each in found}
        missing = sorted(set(_missing(needs, target)))
        if not missing:
            names = (each["download_info"]["url"].rpartition("/")[2] for each in found)
            return Made(target.tag, tuple(sorted(names)), 0)
        wanted += missing
    raise DownloadError(f"the wheels for {target.tag} do not come to an end; still asked for: {missing}")


def _is_wheelhouse(folder: Path) -> bool:
    return any(folder.glob("requirements-*.txt")) and all(path.suffix in {".whl", ".txt"} for path in folder.iterdir())


def _collect(work: Path, own: Path, target: Target) -> Made:
    """Download what one target needs and write its list.

    pip decides by the markers of the Python that it runs under; what the target's markers ask for beyond that is found
    in the wheels and asked for in a further round.
    """
    wanted = [f"{NAME}[{','.join(EXTRAS)}] @ {own.as_uri()}"]
    with tempfile.TemporaryDirectory(dir=work) as at:
        place = Path(at)
        for _ in range(_MOST_ROUNDS):
            _pip([*_download(place), *platform_flags(target), "--find-links", str(work), *wanted])
            found = {wheel.name: wheel for wheel in place.glob("*.whl")}
            needs = {wheel.name.split("-")[0]: _requires(wheel) for wheel in found.values()}
            missing = sorted(set(_missing(needs, target)))
            if not missing:
                break
            wanted += missing
        else:
            raise DownloadError(f"the wheels for {target.tag} do not come to an end; still asked for: {missing}")
        lines, size_bytes = [], 0
        for wheel in sorted(found.values()):
            name, version = wheel.name.split("-")[:2]
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            lines.append(f"{name.replace('_', '-').lower()}=={version} --hash=sha256:{digest}")
            size_bytes += wheel.stat().st_size
            if not (work / wheel.name).exists():
                shutil.move(wheel, work / wheel.name)
    (work / requirements_name(target.tag)).write_text("\n".join(lines) + "\n", "utf-8")
    return Made(target.tag, tuple(sorted(found)), size_bytes)


def _missing(needs: Mapping[str, Sequence[str]], target: Target) -> Iterator[str]:
    """Yield what the distributions ask for under the target's markers and none of them is.

    ``needs`` has for each distribution the lines ``Requires-Dist`` of its metadata.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    have = {canonicalize_name(name) for name in needs}
    for name, lines in needs.items():
        extras = EXTRAS if canonicalize_name(name) == NAME else ("",)
        for requirement in map(Requirement, lines):
            if canonicalize_name(requirement.name) not in have and _applies(requirement, target, extras):
                requirement.marker = None
                yield str(requirement)


def _requires(wheel: Path) -> list[str]:
    """Return the lines ``Requires-Dist`` of a wheel. Raises DownloadError."""
    try:
        with ZipFile(wheel) as archive:
            name = next(each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
            headers = HeaderParser().parsestr(archive.read(name).decode("utf-8"))
    except (BadZipFile, OSError, StopIteration) as error:
        raise DownloadError(f"{wheel.name} is no wheel: {error}") from error
    return headers.get_all("Requires-Dist") or []


def _applies(requirement: "Requirement", target: Target, extras: Sequence[str]) -> bool:
    if requirement.marker is None:
        return True
    version = f"{target.version[0]}.{target.version[1]}"
    there = {
        "implementation_name": "cpython",
        "implementation_version": f"{version}.0",
        "os_name": "posix",
        "platform_machine": target.machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{version}.0",
        "python_version": version,
        "sys_platform": "linux",
    }
    return any(requirement.marker.evaluate({**there, "extra": extra}) for extra in extras)


def _download(folder: Path) -> list[str]:
    return ["download", *_QUIET, "--only-binary", ":all:", "--dest", str(folder)]


def _pip(words: Sequence[str]) -> str:
    """Run pip and return what it prints. Raises InstallError, DownloadError."""
    try:
        pip = find_pip(Path(sys.executable), None)
    except InstallError as error:
        raise InstallError("this environment has no pip to collect wheels with: python3 -m ensurepip") from error
    done = subprocess.run(
        [*pip, *words],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )
    if done.returncode != 0:
        raise DownloadError(f"the wheels could not be collected: {last_words(done.stderr)}")
    return done.stdout
