"""``edge-infer config check|show``: what a configuration means, before anything runs."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime import assemble
from edge_runtime import config as configuration
from edge_runtime.config import Config
from edge_runtime.engines.litert import EngineConfig
from edge_runtime.mqtt.settings import HIDDEN, BrokerConfig
from edge_runtime.sinks.policy import PublishPolicy

DESCRIPTION = "Check a configuration file, or show it with every default filled in (secrets left out)."
EXAMPLE = "  edge-infer config check edge.toml\n  edge-infer config show edge.toml --json"
SECRET_KEYS = frozenset({"password", "token"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``check|show``, the file and ``--json``."""
    parser.add_argument("action", choices=("check", "show"))
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE.toml", help="default: environment variables alone")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def run(args: argparse.Namespace) -> int:
    """Check, and show if asked. Raises ConfigError."""
    config = configuration.load(args.file, {})
    effective = check(config, where=str(args.file or "environment"))
    if args.action == "show":
        text = msgspec.json.format(msgspec.json.encode(effective)) if args.json else _toml(effective)
        sys.stdout.write((text.decode() if isinstance(text, bytes) else text).rstrip() + "\n")
    elif args.json:
        sys.stdout.write('{"ok": true}\n')
    else:
        sys.stdout.write(f"{args.file or 'environment'}: good\n")
    return 0


def check(config: Config, *, where: str) -> dict[str, Any]:
    """Validate every section, those of the plugins too, and return the whole with defaults. Raises ConfigError."""
    broker = configuration.section(BrokerConfig, config.broker, where=f"{where}: broker")
    engine = configuration.section(EngineConfig, config.engine, where=f"{where}: engine")
    plans = assemble.plan_streams(config.source, where=where, probe=False)
    if config.publish.policy:
        PublishPolicy(config.publish.policy)
    effective: dict[str, Any] = msgspec.to_builtins(config)
    effective["device_id"] = configuration.device_id(config)
    effective["broker"] = msgspec.to_builtins(broker.redacted())
    effective["engine"] = msgspec.to_builtins(engine)
    effective["source"] = [
        msgspec.to_builtins(plan.common) | {"name": plan.name} | _without_secrets(msgspec.to_builtins(plan.settings))
        for plan in plans
    ]
    return effective


def _without_secrets(settings: dict[str, Any]) -> dict[str, Any]:
    """Hide what a source's settings may hold of secrets: a password, and the one in an address."""
    return {
        key: HIDDEN if key in SECRET_KEYS and value else _without_password(value) if "://" in str(value) else value
        for key, value in settings.items()
    }


def _without_password(url: Any) -> str:
    return re.sub(r"(://[^/@:]*:)[^/@]*@", rf"\g<1>{HIDDEN}@", str(url))


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
