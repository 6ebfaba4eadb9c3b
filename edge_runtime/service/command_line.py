"""The flags of ``edge-infer service`` and what they do; Python's own modules only, see the package."""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from edge_runtime.errors import UsageError
from edge_runtime.service import packages
from edge_runtime.service.environment import Packages
from edge_runtime.service.examine import doctor
from edge_runtime.service.install import Wishes, install
from edge_runtime.service.layout import Layout
from edge_runtime.service.status import status
from edge_runtime.service.uninstall import uninstall

DESCRIPTION: Final = (
    "Install edge-infer as a service of this system (or of an image below --root), upgrade it, remove it, show it, "
    "or look at the device with the service's own rights (doctor). An upgrade that does not come up goes back to what "
    "was there."
)
EXAMPLE: Final = (
    "  sudo edge-infer service install --config edge.toml --file model.tflite\n"
    "  edge-infer service status\n"
    "  sudo edge-infer service doctor\n"
    "  sudo edge-infer service uninstall --purge"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``install|uninstall|status|doctor`` and their flags."""
    parser.add_argument("action", choices=("install", "uninstall", "status", "doctor"))
    parser.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="the root of an image, not started")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    group = parser.add_argument_group("install")
    group.add_argument("--config", type=Path, metavar="FILE.toml", help="copied to /etc/edge-infer/config.toml")
    group.add_argument(
        "--file", type=Path, action="append", default=[], metavar="FILE", help="copied beside it: a model, labels, keys"
    )
    group.add_argument("--wheelhouse", type=Path, metavar="DIR", help="take every package from here, by its hash")
    group.add_argument("--wheel", type=Path, metavar="FILE.whl", help="edge-infer's own (default: this very copy)")
    group.add_argument("--no-start", action="store_true", help="install, and start with the next boot")
    group.add_argument("--packaged", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--purge", action="store_true", help="uninstall: configuration, state and user too")


def run(args: argparse.Namespace) -> int:
    """Do it and say what came of it. Raises EdgeRuntimeError."""
    layout = Layout(args.root.resolve())
    if args.action == "status":
        return _status(layout, as_json=args.json)
    if args.action == "doctor":
        doctor(layout, as_json=args.json)
    if args.action == "uninstall":
        stays = uninstall(layout, purge=args.purge, packaged=args.packaged)
        _report({"schema": 1, "stays": stays}, as_json=args.json, text=_gone(stays))
        return 0
    for path in (args.config, args.wheelhouse, args.wheel, *args.file):
        if path is not None and not path.exists():
            raise UsageError(f"{path}: no such file or folder")
    with tempfile.TemporaryDirectory() as folder:
        source = Packages(wheelhouse=args.wheelhouse, wheel=args.wheel or _own(args, Path(folder)))
        wishes = Wishes(
            packages=source,
            config=args.config,
            files=tuple(args.file),
            start=not args.no_start,
            packaged=args.packaged,
        )
        outcome = install(layout, wishes, say=_say)
    _report({"schema": 1, **asdict(outcome)}, as_json=args.json, text=_installed(layout, outcome.started, outcome))
    return 0


def _own(args: argparse.Namespace, folder: Path) -> Path | None:
    if args.wheelhouse is not None:
        return None
    if (found := packages.running_in_wheel()) is not None:
        return found
    from edge_runtime.service.own_wheel import pack

    return pack(folder)


def _installed(layout: Layout, started: bool, outcome: Any) -> str:
    lines = [f"edge-infer {outcome.version} is installed in {outcome.environment}"]
    if started:
        lines.append("it runs: journalctl -u edge-infer -f")
    elif not outcome.configured:
        lines.append(f"say what it shall do in {layout.config}, then: sudo systemctl start edge-infer")
    elif layout.live:
        lines.append("it starts with the next boot, or now: sudo systemctl start edge-infer")
    else:
        lines.append("it starts when this image boots")
    return "\n".join(lines)


def _gone(stays: list[str]) -> str:
    if not stays:
        return "edge-infer is removed; nothing of it stays"
    return f"edge-infer is removed; configuration and state stay in {' and '.join(stays)} (--purge removes them)"


def _status(layout: Layout, *, as_json: bool) -> int:
    found = status(layout)
    if as_json:
        _report(found, as_json=True, text="")
    elif not found["installed"]:
        sys.stdout.write("edge-infer is not installed as a service: sudo edge-infer service install\n")
    else:
        service = found["service"] or {}
        state = service.get("ActiveState", "not known here")
        lines = [f"version      {found['version']} in {found['environment']}"]
        lines.append(f"config       {found['config'] or 'none'}")
        lines.append(f"service      {state}, restarts {service.get('NRestarts', '?')}")
        if missing := [name for name, there in found["files"].items() if not there]:
            lines.append(f"missing      {', '.join(missing)}: sudo edge-infer service install")
        sys.stdout.write("\n".join(lines) + "\n")
    return 0 if found["installed"] else 1


def _report(document: dict[str, Any], *, as_json: bool, text: str) -> None:
    sys.stdout.write((json.dumps(document, indent=2) if as_json else text) + "\n")


def _say(sentence: str) -> None:
    sys.stderr.write(f"edge-infer: {sentence}\n")
    sys.stderr.flush()
