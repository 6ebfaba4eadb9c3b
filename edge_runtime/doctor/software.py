"""What is installed: interpreter, numpy, picture decoder, and the parts that are extras."""

import contextlib
import importlib.resources
import io
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from edge_runtime.doctor.check import Check, check, pip_install
from edge_runtime.engines.litert import EngineConfig
from edge_runtime.engines.trial import Trial, try_model
from edge_runtime.errors import SourceUnavailableError
from edge_runtime.interpreter import PACKAGES, load_runtime
from edge_runtime.sources.picamera import import_picamera2

BUNDLED_MODEL: Final = str(importlib.resources.files("edge_runtime") / "demo" / "digits.tflite")
TryModel = Callable[..., Trial]


def interpreter(config: EngineConfig, *, attempt: TryModel = try_model) -> Check:
    """Run the bundled model once in a process of its own: importing alone shows little.

    An interpreter that was built for another processor ends the process it is in.
    """
    trial = attempt(BUNDLED_MODEL, runtime=config.runtime)
    if trial.outcome == "works":
        runtime = load_runtime(config.runtime).version
        return check("interpreter", "ok", f"{runtime} runs the bundled model ({trial.invoke_ms:.1f} ms at first)")
    return check("interpreter", "fail", f"no interpreter works here: {trial.reason}", _reinstall(trial, config))


def numpy() -> Check:
    """Say which numpy is used; the interpreter's check tells whether it suits."""
    import numpy as np

    return check("numpy", "ok", f"numpy {np.__version__}")


def jpeg() -> Check:
    """Decode a picture with what decodes the camera's."""
    try:
        from PIL import Image

        buffer = io.BytesIO()
        Image.new("RGB", (32, 16), (200, 100, 50)).save(buffer, "JPEG")
    except (ImportError, OSError) as error:
        return check("jpeg", "fail", f"Pillow does not work: {error}", pip_install("--force-reinstall", "pillow"))
    try:
        import simplejpeg

        size = simplejpeg.decode_jpeg(buffer.getvalue()).shape[:2]
    except (ImportError, ValueError, OSError) as error:
        message = f"Pillow decodes, two to three times slower than simplejpeg would ({error})"
        return check("jpeg", "warn", message, pip_install("simplejpeg"))
    if size != (16, 32):
        message = f"simplejpeg decodes wrongly: a picture of 32x16 became {size[1]}x{size[0]}"
        return check("jpeg", "fail", message, pip_install("--force-reinstall", "simplejpeg"))
    return check("jpeg", "ok", f"simplejpeg {_version('simplejpeg')}, Pillow {_version('pillow')}")


def picamera2(*, load: Callable[[], object] = import_picamera2) -> Check:
    """Import the system's picamera2 where this environment sees it: a numpy it was not built against breaks it."""
    if load is import_picamera2 and find_spec("picamera2") is None:
        return check("picamera2", "none", "not installed; a Raspberry Pi camera needs it, a USB camera does not")
    try:
        load()
    except SourceUnavailableError as error:
        message = " ".join(str(error).split())
        return check("picamera2", "fail", message, "sudo edge-infer service install")
    return check("picamera2", "ok", "the system's picamera2 works with what is installed here")


def video() -> Check:
    """Say whether files, RTSP and HTTP streams can be read."""
    if find_spec("av") is None:
        message = "not installed: --video needs it, cameras and pictures do not"
        return check("video", "none", message, pip_install("'edge-infer[video]'"))
    return check("video", "ok", f"PyAV {_version('av')}")


def dashboard() -> Check:
    """Say whether the page can be served from here."""
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        message = f"not installed ({' and '.join(missing)}): --dashboard needs it"
        return check("dashboard", "none", message, pip_install("'edge-infer[dashboard]'"))
    return check("dashboard", "ok", f"starlette {_version('starlette')}, uvicorn {_version('uvicorn')}")


def system_package(root: Path, name: str) -> bool:
    """Tell whether Debian's Python below ``root`` has a package, seen from here or not."""
    return (root / "usr/lib/python3/dist-packages" / name).exists()


def _reinstall(trial: Trial, config: EngineConfig) -> str:
    if "numpy<2" in trial.reason and config.runtime != "litert" and find_spec(PACKAGES["litert"][0]) is None:
        return pip_install("'numpy<2'")
    name = "litert" if config.runtime == "auto" else config.runtime
    packages = PACKAGES[name][2].removeprefix("pip install ").split()
    return pip_install("--force-reinstall", *packages) if find_spec(PACKAGES[name][0]) else pip_install(*packages)


def _version(distribution: str) -> str:
    with contextlib.suppress(PackageNotFoundError):
        return version(distribution)
    return "of unknown version"
