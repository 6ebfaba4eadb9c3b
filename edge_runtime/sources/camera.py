"""Which camera ``--camera`` without a device means."""

from typing import Any

from edge_runtime.sources.picamera import pi_cameras


def pick_camera() -> tuple[str, dict[str, Any]]:
    """Return source type and settings: a Raspberry Pi camera where there is one, else the first other that captures.

    Nothing is opened: a camera that turns out to be busy or missing is the source's to report. Raises nothing.
    """
    if pi_cameras():
        return "picamera", {}
    return "v4l2", {}
