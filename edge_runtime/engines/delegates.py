"""Delegate libraries: which one is meant, and loading it. Whether it works is found out in ``trial`` first."""

import ctypes
import os
from pathlib import Path
from typing import Any, Final

from edge_runtime.errors import DelegateError, UsageError
from edge_runtime.interpreter import NATIVE_ERRORS, Runtime, one_line, quiet_native_output

SYMBOLS: Final = ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate")
"""What makes a library a delegate (TensorFlow Lite, delegates/external/external_delegate_interface.h)."""


def resolve_library(name: str) -> str:
    """Return the library that ``--delegate`` names: an absolute path, or a name that the loader searches.

    Raises UsageError for a path that is not there.
    """
    path = Path(name)
    if path.is_file():
        return str(path.resolve())
    if os.sep in name or not _loads(name):
        raise UsageError(f"--delegate {name}: no such library; give auto, cpu, edgetpu or the path of a delegate's .so")
    return name


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def load_delegate(library: str, runtime: Runtime) -> Any:
    """Load a delegate library and let it construct its delegate. Raises DelegateError.

    The symbols are looked up first: the interpreter's own loader reports a missing library or symbol a second time
    from a finalizer, where it can only be printed as a traceback.
    """
    try:
        with quiet_native_output():
            handle = ctypes.CDLL(library)
    except OSError as error:
        raise DelegateError(f"the delegate {library} does not load: {one_line(error)}") from error
    missing = [symbol for symbol in SYMBOLS if not hasattr(handle, symbol)]
    if missing:
        raise DelegateError(f"{library} is not a TFLite delegate: it has no {missing[0]}")
    try:
        with quiet_native_output():
            return runtime.module.load_delegate(library)
    except NATIVE_ERRORS as error:
        reason = one_line(error).removeprefix(f"Failed to load delegate from {library}").strip()
        raise DelegateError(f"the delegate {library} does not start: {reason or 'it gives no reason'}") from error
