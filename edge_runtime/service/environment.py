"""Build an environment beside the others: complete and on the disk, or marked as not complete and removed next time.

The skeleton is what ``python3 -m venv --system-site-packages`` makes, written here so that neither python3-venv nor a
processor of the target's kind is needed; the packages are put into it by pip.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_runtime._version import __version__
from edge_runtime.errors import InstallError, UsageError
from edge_runtime.service import packages
from edge_runtime.service.commands import run, succeeds
from edge_runtime.service.layout import Layout
from edge_runtime.service.target import Target

Say = Callable[[str], None]
COMPLETE: Final = ".complete"
_SCRIPT: Final = """#!{python}
import sys
from edge_runtime.cli import main
sys.exit(main())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """Where the packages come from: a wheelhouse alone, or our own wheel and the index for the rest."""

    wheelhouse: Path | None = None
    wheel: Path | None = None
    extras: tuple[str, ...] = ("dashboard",)


def build(layout: Layout, target: Target, source: Packages, *, say: Say) -> Path:
    """Return a new complete environment; the one in use is not touched.

    Raises InstallError, and leaves nothing of it behind.
    """
    remove_incomplete(layout)
    environment = layout.new_environment()
    inside = Path("/") / environment.relative_to(layout.root)
    site = environment / "lib" / f"python{target.version[0]}.{target.version[1]}" / "site-packages"
    try:
        _skeleton(environment, site, target, inside)
        say(f"installing Python packages into {environment} ({target.tag})")
        _install(layout, target, source, environment, site)
        script = environment / "bin/edge-infer"
        script.write_text(_SCRIPT.format(python=inside / "bin/python"))
        script.chmod(0o755)
        os.sync()  # all of it is on the disk before anything says that it is complete
        (environment / COMPLETE).write_text(json.dumps({"version": __version__, "target": target.tag}) + "\n")
        os.sync()
    except OSError as error:
        shutil.rmtree(environment, ignore_errors=True)
        raise InstallError(f"cannot write {environment}: {error.strerror or error}; see: df -h") from error
    except BaseException:
        shutil.rmtree(environment, ignore_errors=True)
        raise
    return environment


def remove_incomplete(layout: Layout) -> None:
    """Remove what an installation left that was cut off."""
    for environment in layout.environments():
        if not (environment / COMPLETE).is_file():
            shutil.rmtree(environment, ignore_errors=True)


def version_of(environment: Path) -> str:
    """Return the version that an environment holds, ``?`` where it does not tell."""
    try:
        return str(json.loads((environment / COMPLETE).read_text())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return "?"


def _skeleton(environment: Path, site: Path, target: Target, inside: Path) -> None:
    site.mkdir(parents=True)
    (environment / "bin").mkdir()
    for name in ("python", "python3", target.python.name):
        (environment / "bin" / name).symlink_to(target.python)
    major, minor = target.version
    lines = ["home = /usr/bin", "include-system-site-packages = true", f"version = {major}.{minor}"]
    lines += [f"executable = {target.python}", f"command = {target.python} -m venv {inside}"]
    (environment / "pyvenv.cfg").write_text("\n".join(lines) + "\n")
    if target.machine != "armv7l":
        (environment / "lib64").symlink_to("lib")


def _install(layout: Layout, target: Target, source: Packages, environment: Path, site: Path) -> None:
    python = target.python if layout.live else Path(sys.executable)
    pip = packages.find_pip(python, source.wheelhouse)
    calls = _calls(layout, target, source, environment)
    always = ["--no-cache-dir", "--no-warn-script-location", "--no-input", "--disable-pip-version-check", "--quiet"]
    quiet = {"PIP_ROOT_USER_ACTION": "ignore"}
    for words in calls:
        if layout.live:
            run([*pip, "--python", str(environment / "bin/python"), *words, *always], doing="pip", environment=quiet)
        else:
            into = ["--target", str(site), "--no-compile", *packages.platform_flags(target)]
            run([*pip, *words, *always, *into], doing="pip", environment=quiet)
    if not layout.live:
        shutil.rmtree(site / "bin", ignore_errors=True)  # scripts for the Python that ran here
        _compile(layout, target, site)


def _compile(layout: Layout, target: Target, site: Path) -> None:
    """Compile an image's modules, where this machine has the same Python: else each start there does it again.

    The service may not write beside its modules, and compiled ones are the same for every processor.
    """
    here = sys.version_info[:2] == target.version
    python = sys.executable if here else shutil.which(target.python.name)
    if python is not None:
        words = ["-m", "compileall", "-q", "-s", str(layout.root), "-p", "/", str(site)]
        succeeds([python, *words])


def _calls(layout: Layout, target: Target, source: Packages, environment: Path) -> list[list[str]]:
    """Return the words of each call of pip. Raises UsageError."""
    held = packages.system_numpy(layout.root, target)
    if source.wheelhouse is not None:
        listed = environment / "requirements.txt"
        listed.write_text(packages.pinned(source.wheelhouse, target, without_numpy=held is not None))
        offline = ["--isolated", "install", "--no-index", "--no-deps", "--require-hashes"]
        return [[*offline, "--find-links", str(source.wheelhouse), "-r", str(listed)]]
    if not layout.live:
        raise UsageError("--root needs --wheelhouse; make one: edge-infer flash-prep --make-wheelhouse DIR")
    if source.wheel is None:
        raise UsageError("name the packages: --wheelhouse DIR or --wheel FILE.whl")
    online = ["install", "--prefer-binary", "--only-binary", ":all:"]
    return [
        [*online, *wanted] for wanted in packages.from_index(source.wheel, target, extras=source.extras, numpy=held)
    ]
