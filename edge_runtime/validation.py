"""A configuration checked as a whole: every section, those of the plugins too, and the files that it names."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from edge_runtime import assemble
from edge_runtime import config as configuration
from edge_runtime.assemble import StreamPlan
from edge_runtime.config import Config
from edge_runtime.engines.litert import EngineConfig
from edge_runtime.errors import ConfigError, UsageError
from edge_runtime.mqtt.settings import HIDDEN, BrokerConfig
from edge_runtime.sinks.policy import PublishPolicy

SECRET_KEYS: Final = frozenset({"password", "token"})
NO_SOURCE: Final = "name a source: --camera, --video FILE|URL, --images PATH or --sensor csv:FILE|wav:FILE|mqtt:TOPIC"


def effective(config: Config, *, where: str) -> dict[str, Any]:
    """Return the whole configuration with every default filled in and no secret in it. Raises ConfigError."""
    broker = configuration.section(BrokerConfig, config.broker, where=f"{where}: broker")
    engine = configuration.section(EngineConfig, config.engine, where=f"{where}: engine")
    plans = assemble.plan_streams(config.source, where=where, probe=False)
    if config.publish.policy:
        PublishPolicy(config.publish.policy)
    shown: dict[str, Any] = msgspec.to_builtins(config)
    shown["device_id"] = configuration.device_id(config)
    shown["broker"] = msgspec.to_builtins(broker.redacted())
    shown["engine"] = msgspec.to_builtins(engine)
    shown["source"] = [
        msgspec.to_builtins(plan.common) | {"name": plan.name} | _without_secrets(msgspec.to_builtins(plan.settings))
        for plan in plans
    ]
    return shown


def check_surroundings(config: Config, *, where: str) -> None:
    """Read the secrets and look at the files that a run will need; the model's are looked at when it is opened.

    Raises UsageError for the first that is missing or wrong.
    """
    if not config.source:
        raise UsageError(NO_SOURCE)
    broker = configuration.section(BrokerConfig, config.broker, where=f"{where}: broker")
    if broker.url not in ("none", "embedded"):
        broker.endpoint().tls_context()
    for plan in assemble.plan_streams(config.source, where=where, probe=False):
        _check_files(plan, where=where)


def _check_files(plan: StreamPlan, *, where: str) -> None:
    named: list[str] = [*getattr(plan.settings, "paths", ()), getattr(plan.settings, "path", None) or ""]
    if plan.common.type == "video":
        named.append(str(plan.settings.url).removeprefix("file://"))
    for name in filter(None, (*named, plan.common.mask_file or "")):
        if not Path(name).exists():
            raise ConfigError(f"{where}: {plan.name}: {name}: no such file")
    if plan.common.mask_file:
        from edge_runtime.preprocess.masks import read_mask

        read_mask(plan.common.mask_file)


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return which keys differ, like ``publish.policy``; never a value, which may be a secret."""
    flat_before, flat_after = _flat(before), _flat(after)
    return sorted(key for key in {**flat_before, **flat_after} if flat_before.get(key) != flat_after.get(key))


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(values, Mapping):
        items: Sequence[tuple[str, Any]] = [
            (f"{prefix}.{key}" if prefix else key, value) for key, value in values.items()
        ]
    elif isinstance(values, list | tuple) and any(isinstance(value, Mapping) for value in values):
        items = [(f"{prefix}[{number}]", value) for number, value in enumerate(values)]
    else:
        return {prefix: values}
    return {key: value for name, inner in items for key, value in _flat(inner, name).items()}


def _without_secrets(settings: dict[str, Any]) -> dict[str, Any]:
    """Hide what a source's settings may hold of secrets: a password, and the one in an address."""
    return {
        key: HIDDEN if key in SECRET_KEYS and value else without_password(value) if "://" in str(value) else value
        for key, value in settings.items()
    }


def without_password(url: Any) -> str:
    """Return an address without the password in it."""
    return re.sub(r"(://[^/@:]*:)[^/@]*@", rf"\g<1>{HIDDEN}@", str(url))
