"""``edge-infer flash-prep``: a card that installs edge-infer by itself."""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from edge_runtime.errors import UsageError

DESCRIPTION = "Prepare the boot partition of a freshly written Raspberry Pi OS card, or collect the wheels for it."
EXAMPLE = "  edge-infer flash-prep --make-wheelhouse wheels"
MACHINES: Final = ("aarch64", "x86_64")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is prepared and with what."""
    parser.add_argument("--make-wheelhouse", type=Path, metavar="DIR", help="collect every wheel a device needs")
    parser.add_argument(
        "--machine", action="append", choices=MACHINES, help="for these processors (default: aarch64); may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def run(args: argparse.Namespace) -> int:
    """Do it. Raises EdgeRuntimeError."""
    if args.make_wheelhouse is None:
        raise UsageError("give --make-wheelhouse DIR")
    return _wheelhouse(args)


def _wheelhouse(args: argparse.Namespace) -> int:
    from edge_runtime.flash.wheelhouse import make_wheelhouse

    lists = make_wheelhouse(args.make_wheelhouse, machines=args.machine or ["aarch64"], say=_say)
    if args.json:
        document = {
            "schema": 1,
            "wheelhouse": str(args.make_wheelhouse),
            "lists": [{"tag": made.tag, "wheels": made.wheels, "size_bytes": made.size_bytes} for made in lists],
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        for made in lists:
            sys.stdout.write(f"{made.tag}: {len(made.wheels)} wheels, {made.size_bytes / 1e6:.0f} MB\n")
    return 0


def _say(sentence: str) -> None:
    sys.stderr.write(f"edge-infer: {sentence}\n")
    sys.stderr.flush()
