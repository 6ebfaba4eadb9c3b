"""``edge-infer config check|show``: what a configuration means, before anything runs."""

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime import config as configuration
from edge_runtime import validation

DESCRIPTION = "Check a configuration file, or show it with every default filled in (secrets left out)."
EXAMPLE = "  edge-infer config check edge.toml\n  edge-infer config show edge.toml --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``check|show``, the file and ``--json``."""
    parser.add_argument("action", choices=("check", "show"))
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE.toml", help="default: environment variables alone")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def run(args: argparse.Namespace) -> int:
    """Check, and show if asked. Raises ConfigError."""
    config = configuration.load(args.file, {})
    effective = validation.effective(config, where=str(args.file or "environment"))
    if args.action == "show":
        text = msgspec.json.format(msgspec.json.encode(effective)) if args.json else _toml(effective)
        sys.stdout.write((text.decode() if isinstance(text, bytes) else text).rstrip() + "\n")
    elif args.json:
        sys.stdout.write('{"ok": true}\n')
    else:
        sys.stdout.write(f"{args.file or 'environment'}: good\n")
    return 0


def _toml(values: dict[str, Any]) -> str:
    scalars = [
        f"{key} = {_value(value)}" for key, value in values.items() if not _is_table(value) and value is not None
    ]
    lines = [*scalars]
    for key, value in values.items():
        for header, table in _tables(key, value):
            entries = [f"{name} = {_value(entry)}" for name, entry in table.items() if entry is not None]
            lines += ["", header, *entries]
    return "\n".join(lines)


def _tables(key: str, value: Any) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        return [(f"[{key}]", value)]
    return [(f"[[{key}]]", table) for table in value] if _is_table(value) else []


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _value(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {_value(entry)}" for key, entry in value.items() if entry is not None)
        return f"{{ {inner} }}"
    return msgspec.json.encode(value).decode()
