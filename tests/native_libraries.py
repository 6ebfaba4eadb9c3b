"""Libraries that the tests build with a C compiler."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent / "native"


def build_fake_edgetpu(folder: Path) -> Path:
    """Build the delegate of native/fake_edgetpu.c into ``folder``, named as libedgetpu is; return its path."""
    return _build(folder / "libedgetpu.so.1", "fake_edgetpu.c")


def build_powercut(folder: Path) -> Path:
    """Build the library of native/powercut.c, for LD_PRELOAD, into ``folder``; return its path."""
    return _build(folder / "powercut.so", "powercut.c")


def _build(library: Path, source: str) -> Path:
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror"]
    subprocess.run([_compiler(), *options, "-o", library, SOURCES / source, "-ldl"], check=True)
    return library


def _compiler() -> str:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        message = "no C compiler is installed; apt install gcc libc6-dev"
        if os.environ.get("EDGE_REQUIRE_E2E") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return compiler
