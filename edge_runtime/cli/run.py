"""``edge-infer [run]``: the daemon."""

import argparse
import os
from pathlib import Path
from typing import Any

from edge_runtime.cli import log_setup, source_flags
from edge_runtime.cli.heap import share_one_heap
from edge_runtime.config import Origin
from edge_runtime.types import TASKS

DESCRIPTION = "Frames from cameras, files or sensors through a model to MQTT, until stopped."
EXAMPLE = "  edge-infer --camera --model mobilenet_v2 --broker mqtt://localhost --dashboard"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add every flag of the daemon."""
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="configuration file; flags win over it")
    source_flags.add_arguments(parser)
    add_model_arguments(parser)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--broker",
        metavar="URL",
        help="mqtt[s]://[user[:password]@]host[:port], embedded or none (default mqtt://localhost:1883)",
    )
    output.add_argument("--device-id", metavar="ID", help="name of this device in topics (default: the host name)")
    output.add_argument(
        "--publish", metavar="POLICY", help="all, change or RATE/s (default: change for cameras, all for files)"
    )
    output.add_argument("--jsonl", metavar="FILE", help="each prediction also as a line of JSON; - is standard output")
    output.add_argument("--frames", type=_count, metavar="N", help="stop after N predictions")
    output.add_argument("--homeassistant", action="store_true", help="announce the device for Home Assistant")
    output.add_argument(
        "--dashboard", nargs="?", const="127.0.0.1:8080", metavar="HOST:PORT", help="serve the dashboard"
    )
    output.add_argument("--no-outbox", action="store_true", help="keep nothing on disk while the broker is away")
    parser.add_argument("--list-cameras", action="store_true", help="show the cameras and leave")
    parser.add_argument("--json", action="store_true", help="with --list-cameras: as JSON")
    log_setup.add_arguments(parser)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which model runs and how; ``batch`` and ``bench`` have them too."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", metavar="FILE|NAME", help="a .tflite, a catalogue name (pulled once), or none for a preview"
    )
    group.add_argument("--labels", metavar="FILE", help="one label per line")
    group.add_argument("--task", metavar="TASK", help=f"one of {', '.join(TASKS)} (default: as the file says)")
    group.add_argument("--top-k", type=_count, metavar="K", help="at most K answers (classify: 5)")
    group.add_argument("--score-threshold", type=float, metavar="X", help="leave out answers below X (detect: 0.5)")
    group.add_argument("--mean", type=_numbers, metavar="M[,M,M]", help="subtracted from pixels of 0..255")
    group.add_argument("--std", type=_numbers, metavar="S[,S,S]", help="divides what is left")
    group.add_argument("--color", choices=("RGB", "BGR", "GRAY"), type=str.upper)
    group.add_argument("--resize", choices=("stretch", "letterbox", "crop"))
    group.add_argument("--layout", choices=("NHWC", "NCHW"), type=str.upper)
    group.add_argument(
        "--threads", metavar="N", help="interpreter threads, or auto to measure (default: all cores but one)"
    )
    group.add_argument("--delegate", metavar="NAME", help="auto, cpu, edgetpu or a delegate library")


def run(args: argparse.Namespace) -> int:
    """Run the daemon until its sources end or it is stopped."""
    if args.list_cameras:
        from edge_runtime.cli.cameras import print_cameras

        return print_cameras(json=args.json)
    log_setup.configure(args)
    share_one_heap()
    from edge_runtime import daemon

    # Under systemd the journal has the log; the current answer is for eyes.
    terminal = not args.quiet and "JOURNAL_STREAM" not in os.environ
    return daemon.run(Origin(args.config, flags(args)), terminal=terminal)


def flags(args: argparse.Namespace) -> dict[str, Any]:
    """Return the flags that were given, nested like the configuration file."""
    values: dict[str, Any] = {
        "device_id": args.device_id,
        "model": model_flags(args),
        "engine": engine_flags(args),
        "broker": given(url=args.broker, outbox=False if args.no_outbox else None),
        "publish": given(policy=args.publish, jsonl=args.jsonl, frames=args.frames),
        "homeassistant": given(enabled=args.homeassistant or None),
        "dashboard": given(listen=args.dashboard),
    }
    if sources := source_flags.sections(args):
        values["source"] = sources
    return {key: value for key, value in values.items() if value not in (None, {})}


def model_flags(args: argparse.Namespace) -> dict[str, Any]:
    """Return the ``[model]`` section that the model flags make."""
    keys = ("labels", "task", "top_k", "score_threshold", "mean", "std", "color", "resize", "layout")
    return given(path=args.model, **{key: getattr(args, key) for key in keys})


def engine_flags(args: argparse.Namespace) -> dict[str, Any]:
    """Return the ``[engine]`` section that the model flags make."""
    return given(threads=args.threads, delegate=args.delegate)


def given(**values: Any) -> dict[str, Any]:
    """Return the keywords that are not None."""
    return {key: value for key, value in values.items() if value is not None}


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a number above 0")
    return number


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))
