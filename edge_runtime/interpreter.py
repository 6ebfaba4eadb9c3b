"""The one place that knows which interpreter package is installed: LiteRT first, else tflite-runtime."""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from edge_runtime.errors import UsageError

log = logging.getLogger(__name__)

PACKAGES = (("ai_edge_litert", "ai-edge-litert"), ("tflite_runtime", "tflite-runtime"))
"""Module and distribution, in order of preference: LiteRT is two to twenty times faster on int8 models."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """An interpreter package: its ``interpreter`` module and the name of the distribution."""

    module: Any
    distribution: str

    @property
    def version(self) -> str:
        """Return the distribution's name and version, ``ai-edge-litert 2.3.0``."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            return f"{self.distribution} {version(self.distribution)}"
        except PackageNotFoundError:
            return self.distribution


@cache
def load_runtime() -> Runtime:
    """Import the interpreter. Raises UsageError that says what to install when there is none that works here."""
    failures = []
    for package, distribution in PACKAGES:
        if find_spec(package) is None:
            continue
        try:
            return Runtime(import_module(f"{package}.interpreter"), distribution)
        except (ImportError, SystemError, AttributeError) as error:
            failures.append(f"{distribution}: {error}")
    if failures:
        raise UsageError(
            f"the interpreter does not load ({'; '.join(failures)}); reinstall it: pip install ai-edge-litert"
        )
    raise UsageError(
        "no interpreter is installed; install one: pip install ai-edge-litert (or tflite-runtime 'numpy<2')"
    )


@contextlib.contextmanager
def quiet_native_output() -> Iterator[None]:
    """Send what native code writes to standard error to the debug log instead of the user's terminal."""
    saved = os.dup(2)
    with tempfile.TemporaryFile() as capture:
        os.dup2(capture.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            capture.seek(0)
            for line in capture.read(65536).decode("utf-8", "replace").splitlines():
                log.debug("interpreter: %s", line)
