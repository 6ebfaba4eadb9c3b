"""Edge inference runtime: frames in, predictions out, over MQTT.

Three lines are enough::

    model = edge_runtime.load("m.tflite")
    prediction = model("photo.jpg")
    prediction.result

The names below are imported when they are used, so that the command starts quickly.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edge_runtime._version import __version__

if TYPE_CHECKING:
    from edge_runtime.errors import EdgeRuntimeError
    from edge_runtime.model import Model, load
    from edge_runtime.types import Prediction

__all__ = ["EdgeRuntimeError", "Model", "Prediction", "__version__", "load"]

_HOMES = {"EdgeRuntimeError": "errors", "Model": "model", "Prediction": "types", "load": "model"}


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use."""
    if home := _HOMES.get(name):
        return getattr(import_module(f"edge_runtime.{home}"), name)
    raise AttributeError(f"module 'edge_runtime' has no attribute {name!r}")
