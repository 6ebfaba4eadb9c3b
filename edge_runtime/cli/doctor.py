"""``edge-infer doctor``: what this device has and what is missing."""

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from edge_runtime import config as configuration
from edge_runtime.cli import log_setup
from edge_runtime.doctor import Check, examine, examine_installed

DESCRIPTION = (
    "Look at every part that a run needs: interpreter, cameras, Edge TPU, broker, clock, power, disk and more. "
    "Cameras are started for a moment. The exit status is 0 when nothing fails."
)
EXAMPLE = "  edge-infer doctor\n  edge-infer doctor --config edge.toml --json"
COLORS: Final = {"ok": "32", "warn": "33", "fail": "31", "none": "2"}
NAME_WIDTH: Final = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--config``, what may be looked at instead of it, and ``--json``."""
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="look at its broker, model and sources")
    parser.add_argument("--broker", metavar="URL", help="look at this broker (default mqtt://localhost:1883)")
    parser.add_argument("--model", metavar="FILE|NAME", help="look at this model (default: the active one)")
    parser.add_argument("--device-id", metavar="ID", help="whose state directory (default: the host name)")
    parser.add_argument("--installed", action="store_true", help="only at what is installed: no device, no network")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    log_setup.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the checks as they are done; return 1 when one of them failed. Raises ConfigError."""
    log_setup.configure(args)
    flags: dict[str, Any] = {
        "device_id": args.device_id,
        "broker": {"url": args.broker} if args.broker else None,
        "model": {"path": args.model} if args.model else None,
    }
    config = configuration.load(args.config, {key: value for key, value in flags.items() if value is not None})
    checks = examine_installed(config) if args.installed else examine(config)
    done = list(checks) if args.json else list(_shown(checks))
    good = all(check.status != "fail" for check in done)
    if args.json:
        document = {"schema": 1, "ok": good, "checks": done}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")
    return 0 if good else 1


def _shown(checks: Iterable[Check]) -> Iterable[Check]:
    colors = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for check in checks:
        sys.stdout.write(line(check, colors=colors))
        sys.stdout.flush()
        yield check


def line(check: Check, *, colors: bool) -> str:
    """Return a check as it is shown: status, name, sentence, and below it the next command."""
    status = f"{check.status:4}"
    if colors:
        status = f"\x1b[{COLORS[check.status]}m{status}\x1b[0m"
    text = f"{status}  {check.name:{NAME_WIDTH}}  {check.message}\n"
    return text if check.do is None else f"{text}{'':{NAME_WIDTH + 8}}→ {check.do}\n"
