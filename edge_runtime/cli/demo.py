"""``edge-infer demo``: everything at once, with nothing to configure."""

import argparse
import importlib.resources
import logging
import socket
from typing import Any, Final

from edge_runtime.cli import log_setup
from edge_runtime.cli import run as run_command
from edge_runtime.cli.heap import share_one_heap
from edge_runtime.config import Origin

DESCRIPTION = (
    "An embedded broker, a moving sample, the bundled model and the dashboard. Every flag of `run` may be given."
)
EXAMPLE = "  edge-infer demo\n  edge-infer demo --camera --model mobilenet_v2"
MODEL: Final = "digits.tflite"
HOST: Final = "127.0.0.1"
PORTS: Final = range(8080, 8100)
log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``run``."""
    run_command.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the demo until Ctrl-C. Raises EdgeRuntimeError."""
    log_setup.configure(args)
    from edge_runtime import daemon

    share_one_heap()
    offer_camera(args)
    return daemon.run(Origin(args.config, demo_flags(run_command.flags(args))), terminal=False)


def demo_flags(given: dict[str, Any]) -> dict[str, Any]:
    """Return the flags with everything filled in that was not given."""
    bundled = importlib.resources.files("edge_runtime") / "demo" / MODEL
    return {
        "device_id": given.get("device_id", "demo"),
        "broker": {"url": "embedded"} | given.get("broker", {}),
        "model": {"path": str(bundled)} | given.get("model", {}),
        "source": given.get("source") or [{"type": "demo"}],
        "publish": {"policy": "all"} | given.get("publish", {}),
        "dashboard": {"listen": f"{HOST}:{free_port()}"} | given.get("dashboard", {}),
        "stats": {"interval_s": 2.0},
        "commands": {"allow": ["ping", "snapshot"]},
        **{key: given[key] for key in ("engine", "homeassistant") if key in given},
    }


def free_port() -> int:
    """Return the first port of the dashboard's usual ones that nobody uses, so that the demo starts beside anything."""
    for port in PORTS:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) != 0:
                return port
    return 0


def offer_camera(args: argparse.Namespace) -> None:
    """Say that there is a camera, without touching it."""
    if args.camera or args.video or args.images or args.sensor:
        return
    from edge_runtime.sources.v4l2 import list_cameras

    usable = [camera for camera in list_cameras(try_s=None) if camera.usable]
    if usable:
        log.info("there is a camera (%s); use it with: scripts/demo --camera", usable[0].name)
