"""``edge-infer --list-cameras``."""

import sys
from typing import Any

import msgspec

from edge_runtime.sources.picamera import pi_cameras
from edge_runtime.sources.v4l2 import NO_CAMERA, CameraInfo, list_cameras


def print_cameras(*, json: bool) -> int:
    """Print every camera, what it offers and whether it really captures; return 0 when one can be used, else 1."""
    pi, others = pi_cameras(), list_cameras()
    usable = [camera.device for camera in others if camera.usable]
    if json:
        found = [_describe_pi(info) for info in pi] + [camera.describe() for camera in others]
        document = {"cameras": found, "default": "picamera" if pi else next(iter(usable), None)}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")
    else:
        lines = [f"Raspberry Pi camera {info['Num']}  {info.get('Model', '')}" for info in pi]
        lines += [line for camera in others for line in _lines(camera)]
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        if not lines:
            sys.stderr.write(f"{NO_CAMERA}\n")
    return 0 if pi or usable else 1


def _lines(camera: CameraInfo) -> list[str]:
    if not camera.usable:
        return [f"{camera.device} {camera.reason}"]
    lines = [f"{camera.device}  {camera.name}  ({camera.driver}, {camera.bus})"]
    for offered in camera.formats:
        sizes = [f"{each.size[0]}x{each.size[1]}" + _rate(each.rates_hz) for each in offered.sizes]
        lines.append(f"    {offered.name:5}  {' '.join(sizes)}".rstrip())
    return lines


def _rate(rates_hz: tuple[float, ...]) -> str:
    return f"@{rates_hz[0]:g}" if rates_hz else ""


def _describe_pi(info: dict[str, Any]) -> dict[str, Any]:
    return {
        "device": f"picamera {info['Num']}",
        "name": info.get("Model", ""),
        "driver": "picamera2",
        "bus": info.get("Id", ""),
        "formats": [],
        "usable": True,
        "reason": "",
    }
