"""Edge inference runtime: frames in, predictions out, over MQTT."""

from edge_runtime._version import __version__

__all__ = ["__version__"]
