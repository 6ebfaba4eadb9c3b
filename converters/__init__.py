"""Converters: Keras and ONNX models to ``.tflite`` artifacts that have proved themselves; for the workstation.

``convert(Options(source=..., output=..., calibration=...))`` returns a ``ConversionResult``; the command
``edge-convert`` is a thin layer over it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from converters.conversion import convert
    from converters.options import PRESETS, Options
    from converters.result import ConversionResult, GateError

__all__ = ["PRESETS", "ConversionResult", "GateError", "Options", "convert"]

_HOMES = {
    "convert": "conversion",
    "Options": "options",
    "PRESETS": "options",
    "ConversionResult": "result",
    "GateError": "result",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the child processes of a conversion need none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
