"""What is plugged in: cameras, a Raspberry Pi camera, an Edge TPU."""

import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from edge_runtime.doctor.check import Check, Status, check
from edge_runtime.doctor.machine import board
from edge_runtime.doctor.software import BUNDLED_MODEL, TryModel, system_package
from edge_runtime.engines import edgetpu
from edge_runtime.engines.delegates import resolve_library
from edge_runtime.engines.trial import Trial, try_model
from edge_runtime.errors import SourceUnavailableError, UsageError
from edge_runtime.interpreter import RuntimeName
from edge_runtime.sources.picamera import import_picamera2
from edge_runtime.sources.v4l2 import NO_CAMERA, CameraInfo, list_cameras

BUSY: Final = "is in use by"


def cameras(
    *, wanted: bool | None, found: Callable[[], Iterable[CameraInfo]] = list_cameras, pi_camera: bool = False
) -> Iterator[Check]:
    """Start every camera for a moment and say what came of it, one check each.

    ``wanted`` is whether the configuration names a camera, None without a configuration; ``pi_camera`` whether a
    Raspberry Pi camera works already, so that none beside it is missed.
    """
    listed = list(found())
    some_work = pi_camera or any(camera.usable for camera in listed)
    for camera in listed:
        if camera.usable:
            yield check(f"camera {camera.device}", "ok", _describe(camera))
        else:
            # One that works makes the others a matter of taste; one in use is most likely in use by us.
            status: Status = "warn" if some_work or BUSY in camera.reason or wanted is False else "fail"
            yield check(f"camera {camera.device}", status, camera.reason)
    if not listed and not pi_camera:
        missing: Status = "fail" if wanted else "none" if wanted is False else "warn"
        yield check("camera", missing, NO_CAMERA, "edge-infer --list-cameras")


def pi_camera(root: Path = Path("/"), *, load: Callable[[], Any] = import_picamera2) -> Check:
    """Say whether picamera2 is there and sees a camera; ``ok`` only then. ``load`` imports picamera2."""
    if not (board(root) or "").startswith("Raspberry Pi"):
        return check("pi-camera", "none", "this is not a Raspberry Pi")
    if load is import_picamera2 and importlib.util.find_spec("picamera2") is None:
        return _picamera2_unseen(root)
    try:
        known = load().Picamera2.global_camera_info()
    except (SourceUnavailableError, RuntimeError) as error:
        return check("pi-camera", "fail", " ".join(str(error).split()))
    found = [str(info.get("Model", "a camera")) for info in known if "usb" not in str(info.get("Id", "")).lower()]
    if not found:
        message = "picamera2 works and sees no camera: check that the cable sits straight and firmly, and restart"
        return check("pi-camera", "none", message, "rpicam-hello --list-cameras")
    return check("pi-camera", "ok", f"{', '.join(found)} through picamera2")


def _picamera2_unseen(root: Path) -> Check:
    if system_package(root, "picamera2"):
        message = "picamera2 is installed in the system, and this environment was made without the system's packages"
        base = f"{sys.base_prefix}/bin/python3"
        return check("pi-camera", "warn", message, f"{base} -m venv --upgrade --system-site-packages {sys.prefix}")
    message = "picamera2 is not installed; a Raspberry Pi camera needs it, a USB camera does not"
    return check("pi-camera", "none", message, "sudo apt install python3-picamera2")


def edge_tpu(
    root: Path = Path("/"),
    *,
    model: str | None = None,
    runtime: RuntimeName = "auto",
    attempt: TryModel = try_model,
) -> Check:
    """Say whether an Edge TPU answers. ``model`` is one that is compiled for it; without one less can be shown."""
    devices, library = edgetpu.find_edgetpus(root), edgetpu.find_library(root)
    which = _library(library, root)
    if not devices and model is None:
        hint = f" ({which} is installed)" if which else ""
        return check("edge-tpu", "none", f"none on USB or PCIe{hint}; models run on the CPU")
    trial = attempt(model or BUNDLED_MODEL, library=library or edgetpu.LIBRARY, runtime=runtime)
    if trial.outcome != "works":
        reason = edgetpu.why_not(devices, library, trial) + (f"; it is {which}" if which else "")
        return check("edge-tpu", "fail", reason, _next_command(devices, library, trial, root))
    # Looked at again: with its firmware loaded the device has appeared anew, at its own speed.
    devices = edgetpu.find_edgetpus(root)
    places = ", ".join(device.place for device in devices) or "it"
    slow = [device for device in devices if device.speed_mbps and device.speed_mbps < edgetpu.USB_3_MBPS]
    if slow:
        link = f"on a link of {slow[0].speed_mbps} Mbit/s: use a USB 3 port (the blue ones)"
        message = f"{slow[0].place} works with {which}, {link}"
        return check("edge-tpu", "warn", message, "lsusb -t")
    if model is None:
        message = (
            f"{places}{_link(devices)}: {which} loads; whether the device answers shows with a model compiled for it"
        )
        return check("edge-tpu", "ok", message)
    took = f"{trial.invoke_ms:.1f} ms at first"
    return check("edge-tpu", "ok", f"{places}{_link(devices)} runs the model ({took}) with {which}")


def _library(library: str | None, root: Path) -> str:
    """Name the library and the package it came with, and say which interpreter it suits; empty where there is none."""
    if library is None:
        return ""
    build = edgetpu.library_build(root)
    return f"{library} ({build.package} {build.version}, {build.suits})" if build else library


def _link(devices: list[edgetpu.EdgeTpu]) -> str:
    speeds = [device.speed_mbps for device in devices if device.speed_mbps]
    return f" ({min(speeds)} Mbit/s)" if speeds else ""


def delegate(library: str, *, model: str | None, runtime: RuntimeName = "auto", attempt: TryModel = try_model) -> Check:
    """Say whether a delegate library that the configuration names loads and runs a model."""
    try:
        resolved = resolve_library(library)
    except UsageError as error:
        return check("delegate", "fail", str(error), f"ls -l {library}")
    trial = attempt(model or BUNDLED_MODEL, library=resolved, runtime=runtime)
    if trial.outcome != "works":
        return check("delegate", "fail", f"{library} does not work here: {trial.reason}", f"ldd {resolved}")
    return check("delegate", "ok", f"{library} runs {'the' if model else 'the bundled'} model")


def _next_command(devices: list[edgetpu.EdgeTpu], library: str | None, trial: Trial, root: Path) -> str:
    quoted = next((device.problem.split("`")[1] for device in devices if "`" in device.problem), None)
    if quoted:
        return quoted
    if library is None or trial.outcome == "crashes":
        return edgetpu.install_command(root)
    return "lsusb -d 18d1:9302 || lsusb -d 1a6e:089a"


def _describe(camera: CameraInfo) -> str:
    offers = []
    for offered in camera.formats:
        largest = max((size.size for size in offered.sizes), default=None, key=lambda size: size[0] * size[1])
        offers.append(offered.name if largest is None else f"{offered.name} up to {largest[0]}x{largest[1]}")
    return f"{camera.name} captures ({', '.join(offers)})"
