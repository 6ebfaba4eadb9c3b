"""Libraries that the tests build with a C compiler."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent / "native"


def build_fake_edgetpu(folder: Path) -> Path:
    """Build the delegate of native/fake_edgetpu.c into ``folder``, named as libedgetpu is; return its path."""
    library = folder / "libedgetpu.so.1"
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror"]
    subprocess.run([_compiler(), *options, "-o", library, SOURCES / "fake_edgetpu.c"], check=True)
    return library


def _compiler() -> str:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        message = "no C compiler is installed; apt install gcc libc6-dev"
        if os.environ.get("EDGE_REQUIRE_E2E") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return compiler
