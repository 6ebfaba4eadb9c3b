"""Configuration: a TOML file, environment variables over it, flags over both; typed, unknown keys refused.

Sections of plugins (``[broker]``, ``[engine]``, ``[[source]]``) stay plain mappings here; their owner types them
with ``section``. Every error names the file, the key, what was expected and what was found.
"""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from edge_runtime.errors import ConfigError, UsageError
from edge_runtime.types import Task, View

S = TypeVar("S", bound=msgspec.Struct)
ENV_PREFIX: Final = "EDGE_INFER_"
ENV_SHORT: Final = {"MODEL": ("model", "path"), "BROKER": ("broker", "url"), "DEVICE_ID": ("device_id",)}
ENV_BROKER: Final = ("url", "username", "password", "ca_file", "cert_file", "key_file")
DEFAULT_BROKER: Final = "mqtt://localhost:1883"
MAX_CONFIG_BYTES: Final = 1_000_000


class ModelSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[model]``: which model, and what its file does not say of itself."""

    path: str | None = None
    """A ``.tflite`` file, a catalogue or store name, or ``none`` for a preview; None is the store's active model."""
    labels: str | None = None
    task: Task | None = None
    top_k: int | None = None
    score_threshold: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    color: Literal["RGB", "BGR", "GRAY"] | None = None
    resize: Literal["stretch", "letterbox", "crop"] | None = None
    layout: Literal["NHWC", "NCHW"] | None = None


class PublishSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[publish]``: which predictions reach the broker, and where else they go."""

    policy: str | None = None
    """``all``, ``change`` or ``RATE/s``; None is ``change`` for live sources and ``all`` for files."""
    jsonl: str | None = None
    frames: int | None = None


class CommandsSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[commands]``: which commands are taken from the broker; whoever may publish there may send them."""

    allow: tuple[Literal["ping", "snapshot", "stop", "restart"], ...] = ("ping",)


class HomeAssistantSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[homeassistant]``: announce the device for Home Assistant."""

    enabled: bool = False
    prefix: str = "homeassistant"
    labels: tuple[str, ...] = ()
    """detect: the labels that get a count and a presence of their own; empty for all of a small model."""


class DashboardSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[dashboard]``: serve the dashboard from this device."""

    listen: str | None = None
    """``HOST:PORT``; None serves none. Addresses other than loopback need a token."""
    token_file: str | None = None


class StatsSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[stats]``: resource statistics."""

    interval_s: float = 10.0


class LimitsSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[limits]``: what the process may use before it is started anew."""

    memory_mb: Annotated[float, msgspec.Meta(ge=100)] | None = None
    """Resident memory of the daemon itself; None is half of the machine's, or 70 % of what its control group allows."""


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration. Only ``daemon`` and ``cli`` see it; every part gets its own section."""

    device_id: str | None = None
    model: ModelSection = ModelSection()
    engine: dict[str, Any] = {}
    broker: dict[str, Any] = {}
    source: tuple[dict[str, Any], ...] = ()
    publish: PublishSection = PublishSection()
    commands: CommandsSection = CommandsSection()
    homeassistant: HomeAssistantSection = HomeAssistantSection()
    dashboard: DashboardSection = DashboardSection()
    stats: StatsSection = StatsSection()
    limits: LimitsSection = LimitsSection()


class SourceCommon(msgspec.Struct, frozen=True, kw_only=True):
    """The keys every ``[[source]]`` has beside its plugin's own."""

    type: str
    name: str | None = None
    fps: float | None = None
    rotate: Literal[0, 90, 180, 270] = 0
    flip: Literal["", "h", "v", "hv"] = ""
    crop: tuple[int, int, int, int] | None = None
    mask: tuple[tuple[int, int, int, int], ...] = ()
    mask_file: str | None = None

    @property
    def view(self) -> View:
        """Return how this stream's picture is turned, hidden and cut."""
        return View(rotate=self.rotate, flip=self.flip, masks=self.mask, mask_file=self.mask_file, crop=self.crop)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a configuration comes from, so that it can be read again: a file, and flags that win over it."""

    path: Path | None
    flags: Mapping[str, Any]

    def load(self) -> Config:
        """Read it as it is now. Raises ConfigError."""
        return load(self.path, self.flags)


def load(path: Path | None, flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Config:
    """Read the file (if any), lay environment variables and flags over it, and validate.

    ``flags`` is nested like the file. Raises ConfigError.
    """
    merged: dict[str, Any] = _read(path) if path else {}
    _merge(merged, _from_environment(environment))
    _merge(merged, flags)
    config = section(Config, merged, where=str(path) if path else "flags")
    if config.device_id is not None:
        check_name(config.device_id, what="device id")
    return config


def section(struct: type[S], values: Mapping[str, Any], *, where: str) -> S:
    """Type one section. Raises ConfigError that names ``where``, the key, what was expected and what was found."""
    try:
        return msgspec.convert(dict(values), struct, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_explain(error, struct)}") from error


def split_source(values: Mapping[str, Any], *, where: str) -> tuple[SourceCommon, dict[str, Any]]:
    """Split a ``[[source]]`` into the keys common to all sources and those of its plugin."""
    common_keys = {field.name for field in msgspec.structs.fields(SourceCommon)}
    own = {key: value for key, value in values.items() if key not in common_keys}
    common = section(SourceCommon, {k: v for k, v in values.items() if k in common_keys}, where=where)
    if common.name is not None:
        check_name(common.name, what="source name")
    return common, own


def device_id(config: Config) -> str:
    """Return the configured device id, else the host name made fit for a topic."""
    if config.device_id:
        return config.device_id
    return re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname()) or "edge"


def check_name(name: str, *, what: str) -> None:
    """Refuse what cannot be one level of a topic and one name of a folder. Raises ConfigError."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", name):
        raise ConfigError(f"{what} {name!r}: use 1 to 64 letters, digits, '_', '-' and '.'")


def _read(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
        if len(content) > MAX_CONFIG_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_CONFIG_BYTES} bytes; this is no configuration file")
        return tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for short, keys in ENV_SHORT.items():
        if text := environment.get(ENV_PREFIX + short):
            _set(values, keys, text)
    for key in ENV_BROKER:
        if text := environment.get(f"{ENV_PREFIX}BROKER_{key.upper()}"):
            _set(values, ("broker", key), text)
    for field in msgspec.structs.fields(Config):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            for inner in msgspec.structs.fields(field.type):
                if text := environment.get(f"{ENV_PREFIX}{field.name.upper()}_{inner.name.upper()}"):
                    _set(values, (field.name, inner.name), text)
    return values


def _set(values: dict[str, Any], keys: tuple[str, ...], text: str) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
    values[keys[-1]] = text


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = dict(value) if isinstance(value, Mapping) else value


def _explain(error: msgspec.ValidationError, struct: type[msgspec.Struct]) -> str:
    """Turn msgspec's ``... - at `$.model.top_k` `` into ``model.top_k: ...``; suggest a key for a typing slip."""
    text, _, place = str(error).partition(" - at `$")
    key = place.rstrip("`").lstrip(".")
    text = re.sub(r"\s+", " ", text).replace("Object contains unknown field", "unknown key")
    text = text[:1].lower() + text[1:]
    if match := re.search(r"unknown key `(.+)`", text):
        from difflib import get_close_matches

        if near := get_close_matches(match[1], _known_keys(struct, key), n=1):
            text += f" (did you mean `{near[0]}`?)"
    return f"{key}: {text}" if key else text


def _known_keys(struct: type[msgspec.Struct], key: str) -> list[str]:
    for part in filter(None, key.split(".")):
        for field in msgspec.structs.fields(struct):
            if field.name == part and isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
                struct = field.type
    return [field.name for field in msgspec.structs.fields(struct)]


def parse_mask(text: str) -> dict[str, Any]:
    """Read one ``--mask`` value: ``X,Y,W,H`` or the name of a picture file."""
    if re.fullmatch(r"\s*\d+(\s*,\s*\d+){3}\s*", text):
        return {"mask": [tuple(int(n) for n in text.split(","))]}
    if not Path(text).is_file():
        raise UsageError(f"--mask {text}: neither X,Y,W,H nor a picture file")
    return {"mask_file": text}
