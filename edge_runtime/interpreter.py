"""The one place that knows which interpreter package is installed: LiteRT first, else tflite-runtime."""

import contextlib
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Literal

from edge_runtime.errors import ConfigError, UsageError

log = logging.getLogger(__name__)

RuntimeName = Literal["auto", "litert", "tflite-runtime"]
PACKAGES: Final = {
    "litert": ("ai_edge_litert", "ai-edge-litert", "pip install ai-edge-litert"),
    "tflite-runtime": ("tflite_runtime", "tflite-runtime", "pip install tflite-runtime 'numpy<2'"),
}
"""Module, distribution and how to install it, in order of preference: LiteRT is many times faster on int8 models."""
ENVIRONMENT: Final = "EDGE_INFER_RUNTIME"
"""The environment variable that chooses where both are installed; it wins over ``[engine] runtime``."""

NATIVE_ERRORS: Final = (
    *(RuntimeError, ValueError, TypeError, AttributeError, OSError, SystemError, MemoryError),
    *(LookupError, ArithmeticError),
)
"""What the bindings raise for a bad model, a failed delegate or a wrong numpy. The second row is what pybind11 makes of
C++'s own out_of_range and overflow_error, which damaged models have been seen to cause."""
LONGEST_REASON: Final = 300

_stderr_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Runtime:
    """An interpreter package: its ``interpreter`` module, its short name and the name of the distribution."""

    module: Any
    name: str
    distribution: str

    @property
    def version(self) -> str:
        """Return the distribution's name and version, ``ai-edge-litert 2.3.0``."""
        if told := getattr(sys.modules.get(PACKAGES[self.name][0]), "__version__", None):
            return f"{self.distribution} {told}"  # without the 7 ms that importlib.metadata takes
        from importlib.metadata import PackageNotFoundError, version

        try:
            return f"{self.distribution} {version(self.distribution)}"
        except PackageNotFoundError:
            return self.distribution

    def interpreter(self, **options: Any) -> Any:
        """Construct an ``Interpreter``. Raises what its bindings raise, and UsageError where numpy is the reason.

        tflite-runtime is built against numpy 1 and does not say so: it imports beside numpy 2, and the first
        interpreter raises SystemError.
        """
        try:
            return self.module.Interpreter(**options)
        except SystemError as error:
            import numpy as np

            if self.name == "tflite-runtime" and int(np.__version__.partition(".")[0]) >= 2:
                raise UsageError(
                    f"{self.version} does not work with numpy {np.__version__}: pip install 'numpy<2', "
                    "or pip install ai-edge-litert, which works with both"
                ) from error
            raise


def load_runtime(name: RuntimeName = "auto") -> Runtime:
    """Import the interpreter ``name``, the first that loads for ``auto``; ``EDGE_INFER_RUNTIME`` wins over ``name``.

    Raises UsageError that says what to install when there is none that works here, ConfigError for an unknown name.
    """
    asked = os.environ.get(ENVIRONMENT) or name
    if asked != "auto" and asked not in PACKAGES:
        raise ConfigError(f"{ENVIRONMENT}: expected auto, {' or '.join(PACKAGES)}, found {asked!r}")
    return _load(asked)


@cache
def _load(asked: str) -> Runtime:
    failures = []
    for name in PACKAGES if asked == "auto" else (asked,):
        package, distribution, install = PACKAGES[name]
        if find_spec(package) is None:
            continue
        try:
            return Runtime(import_module(f"{package}.interpreter"), name, distribution)
        except (ImportError, SystemError, AttributeError, OSError) as error:
            failures.append(f"{distribution}: {' '.join(str(error).split())}; reinstall it: {install}")
    if failures:
        raise UsageError(f"the interpreter does not load: {'; '.join(failures)}")
    if asked != "auto":
        raise UsageError(f"the runtime {asked} is asked for and not installed: {PACKAGES[asked][2]}")
    raise UsageError(
        f"no interpreter is installed; install one: {' (or '.join(install for _, _, install in PACKAGES.values())})"
    )


def one_line(error: BaseException) -> str:
    """Return what a native error says on one line, at most 300 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    # The layers report one after the other without anything between; what only repeats is left out.
    text = re.sub(r" ?See instructions: \S+", "", text)
    text = re.sub(r"(?<=[^\s.])(?=Encountered unresolved )", ". ", text)
    text = re.sub(r"(?<=.)\.?\s*Node number \d+ \(.*?\) failed to (?:prepare|invoke)\.?$", "", text)
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 3] + "..."


@contextlib.contextmanager
def quiet_native_output() -> Iterator[None]:
    """Send what native code writes to standard error to the debug log instead of the user's terminal.

    What other threads log meanwhile waits until the end, so that it is not taken for the interpreter's.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_stderr_lock)
        for handler in logging.getLogger("edge_runtime").handlers:
            handler.acquire()
            stack.callback(handler.release)
        # In memory: a full or read-only disk must not keep a model from loading.
        with os.fdopen(os.memfd_create("edge-infer-stderr"), "rb") as capture:
            saved = os.dup(2)
            os.dup2(capture.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(saved, 2)
                os.close(saved)
                capture.seek(0)
                lines = capture.read(65536).decode("utf-8", "replace").splitlines()
                stack.close()
                for line in lines:
                    log.debug("interpreter: %s", line)
