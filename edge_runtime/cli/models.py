"""``edge-infer models list|pull``: models from the catalogue."""

import argparse
import sys
from typing import Any

import msgspec

from edge_runtime import config as configuration
from edge_runtime.errors import UsageError
from edge_runtime.store.catalogue import ENVIRONMENT
from edge_runtime.store.models import ModelStore
from edge_runtime.store.state import state_path

DESCRIPTION = "List the models of the catalogue and of this device, or fetch one; the first one fetched becomes active."
EXAMPLE = "  edge-infer models list\n  edge-infer models pull mobilenet_v2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``list|pull``, the name, ``--catalogue``, ``--device-id`` and ``--json``."""
    parser.add_argument("action", choices=("list", "pull"))
    parser.add_argument("name", nargs="?", metavar="NAME", help="the model to pull")
    parser.add_argument("--catalogue", metavar="FILE|URL", help=f"another catalogue than the built-in ({ENVIRONMENT})")
    parser.add_argument("--device-id", metavar="ID", help="whose store; default: the host name")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def run(args: argparse.Namespace) -> int:
    """List or fetch. Raises UsageError, DownloadError, StoreError."""
    flags = {"device_id": args.device_id} if args.device_id else {}
    device = configuration.device_id(configuration.load(None, flags))
    store = ModelStore(state_path(device), catalogue=args.catalogue)
    if args.action == "list":
        if args.name:
            raise UsageError("models list takes no name; to fetch it: edge-infer models pull NAME")
        _write(_listing(store), as_json=args.json)
        return 0
    if not args.name:
        raise UsageError("which model? see: edge-infer models list")
    _write(_pull(store, args.name), as_json=args.json)
    return 0


def _listing(store: ModelStore) -> dict[str, Any]:
    here = {model.name: model for model in store.installed()}
    catalogue = store.catalogue()
    rows = []
    for name in sorted({*here, *catalogue}):
        entry, model = catalogue.get(name), here.get(name)
        rows.append(
            {
                "name": name,
                "description": entry.description if entry else "",
                "task": entry.task if entry else None,
                "size_bytes": model.size_bytes if model else entry.size_bytes if entry else None,
                "licence": entry.licence if entry else None,
                "tried": entry.tried if entry else None,
                "path": str(model.path) if model else None,
                "active": model.active if model else False,
            }
        )
    return {"schema": 1, "models": rows}


def _pull(store: ModelStore, name: str) -> dict[str, Any]:
    progress = _ProgressLine(name)
    try:
        path = store.pull(name, progress if sys.stderr.isatty() else None)
    finally:
        progress.end()
    if store.active() is None:
        store.activate(name)
    return {"schema": 1, "name": name, "path": str(path), "active": store.active() == path}


class _ProgressLine:
    """One line on the terminal that is written again with every percent."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._percent = -1

    def __call__(self, have: int, total: int) -> None:
        percent = 100 * have // total
        if percent != self._percent:
            self._percent = percent
            sys.stderr.write(f"\r{self._name}: {percent:3d} %  {have / 1e6:.1f} of {total / 1e6:.1f} MB")
            sys.stderr.flush()

    def end(self) -> None:
        if self._percent >= 0:
            sys.stderr.write("\n")


def _write(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(result)).decode() + "\n")
    elif "models" in result:
        width = max((len(row["name"]) for row in result["models"]), default=0)
        for row in result["models"]:
            state = "active" if row["active"] else "here" if row["path"] else ""
            size = f"{row['size_bytes'] / 1e6:.1f} MB"
            sys.stdout.write(
                f"{row['name']:{width}}  {state:6}  {size:>8}  {row['task'] or '':8}  {row['description']}\n"
            )
    else:
        use = "active: edge-infer --camera" if result["active"] else f"use it: edge-infer --model {result['name']}"
        sys.stdout.write(f"{result['path']}\n{use}\n")
