"""What goes into ``edge-infer/`` on the boot partition: the script, the wheels, and apart from them what is secret."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final

from edge_runtime.errors import ConfigError, UnsupportedPlatformError, UsageError
from edge_runtime.flash.card import PYTHON_OF, Card
from edge_runtime.service.packages import requirements_name

FOLDER: Final = "edge-infer"
PRIVATE: Final = "private"
"""Below it: moved off the FAT partition by the first step of the first boot."""
_FILE_KEYS: Final = (
    "path",
    "labels",
    "fallback_model",
    "ca_file",
    "cert_file",
    "key_file",
    "token_file",
    "mask_file",
    "file",
)
_MODEL: Final = re.compile(r"\.tflite$")
_CLUSTER_BYTES: Final = 32_768
"""FAT gives files whole clusters; this is the largest usual one."""


@dataclass(frozen=True, slots=True)
class Payload:
    """Names below ``edge-infer/`` to where their content is, or the content itself."""

    entries: dict[str, bytes | Path] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """Return how much room it takes on the partition, at most."""
        sizes = (len(data) if isinstance(data, bytes) else data.stat().st_size for data in self.entries.values())
        return sum(-(-size // _CLUSTER_BYTES) * _CLUSTER_BYTES for size in sizes)

    @property
    def secret(self) -> list[str]:
        """Return the names that leave the partition on the first boot."""
        return sorted(name for name in self.entries if name.startswith(f"{PRIVATE}/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the user asked for."""

    config: Path
    model: Path | None = None
    wheelhouse: Path | None = None
    own_wheel: Path
    wifi: str | None = None
    """NetworkManager's file, see `edge_runtime.flash.wifi`."""
    wifi_country: str | None = None


def collect(card: Card, wanted: Wanted) -> Payload:
    """Return what goes onto the card; nothing is written. Raises UsageError, ConfigError, UnsupportedPlatformError."""
    if card.machine == "armv7l" and card.system != "bookworm":
        raise UnsupportedPlatformError(
            f"{card.boot} is a 32-bit system of {card.system}, and no TFLite interpreter is built for that: "
            "write the card with the 64-bit Raspberry Pi OS"
        )
    payload = Payload()
    _scripts(payload)
    _wheels(payload, card, wanted)
    text = read_config(wanted)
    payload.entries[f"{PRIVATE}/config.toml"] = text.encode()
    _named_files(payload, wanted, tomllib.loads(text))
    if wanted.wifi is not None:
        payload.entries[f"{PRIVATE}/wifi.nmconnection"] = wanted.wifi.encode()
        if wanted.wifi_country:
            payload.entries[f"{PRIVATE}/wifi-country"] = wanted.wifi_country.encode()
    if any(source.get("type") == "picamera" for source in tomllib.loads(text).get("source", [])):
        payload.entries[f"{PRIVATE}/debian-packages"] = b"python3-picamera2\n"
        payload.warnings.append(
            "the Raspberry Pi camera needs python3-picamera2; the first boot installs it and needs network"
        )
    return payload


def read_config(wanted: Wanted) -> str:
    """Return the configuration as it goes onto the card: with the model's name where a model is given.

    Comments and order stay. Raises ConfigError.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(wanted.config.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{wanted.config}: cannot be read: {error.strerror}") from error
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise ConfigError(f"{wanted.config}: not valid TOML: {error}") from error
    if wanted.model is not None:
        section = document.setdefault("model", tomlkit.table())
        if not isinstance(section, dict):
            raise ConfigError(f"{wanted.config}: model: expected a table")
        section["path"] = wanted.model.name
    return tomlkit.dumps(document)


def _scripts(payload: Payload) -> None:
    flash, service = resources.files("edge_runtime.flash") / "files", resources.files("edge_runtime.service") / "files"
    payload.entries["first-boot.sh"] = (flash / "first-boot.sh").read_bytes()
    payload.entries["edge-infer-setup.service"] = (flash / "edge-infer-setup.service").read_bytes()
    payload.entries["install.sh"] = (service / "install.sh").read_bytes()


def _wheels(payload: Payload, card: Card, wanted: Wanted) -> None:
    """Add the wheels for the card's Python: all of them from a wheelhouse, else edge-infer's own alone."""
    if wanted.wheelhouse is None:
        payload.entries[f"wheels/{wanted.own_wheel.name}"] = wanted.own_wheel
        payload.warnings.append("no --wheelhouse: the first boot fetches the packages and needs network")
        return
    if card.machine == "armv7l":
        raise UsageError(
            f"{card.boot} is a 32-bit system, whose packages come from piwheels.org on the first boot: "
            "leave --wheelhouse out and give it a network, or write the card with the 64-bit Raspberry Pi OS"
        )
    version = PYTHON_OF[card.system]
    name = requirements_name(f"cp{version[0]}{version[1]}-{card.machine}")
    try:
        listed = (wanted.wheelhouse / name).read_text("utf-8")
    except OSError as error:
        raise UsageError(
            f"{wanted.wheelhouse} has no {name}, which {card.system} needs: edge-infer flash-prep --make-wheelhouse DIR"
        ) from error
    payload.entries[f"wheels/{name}"] = wanted.wheelhouse / name
    for wheel in _listed_wheels(wanted.wheelhouse, listed, version):
        payload.entries[f"wheels/{wheel.name}"] = wheel


def _listed_wheels(wheelhouse: Path, listed: str, version: tuple[int, int]) -> Iterator[Path]:
    """Yield the wheels that a list pins, found by their hashes, and pip's."""
    import hashlib

    hashes = dict(re.findall(r"--hash=sha256:([0-9a-f]{64})()", listed))
    tag = f"cp{version[0]}{version[1]}"
    for wheel in sorted(wheelhouse.glob("*.whl")):
        if wheel.name.startswith("pip-"):
            yield wheel
        elif re.search(rf"-{tag}-|-abi3-|-py[23]", wheel.name):
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            if digest in hashes:
                del hashes[digest]
                yield wheel
    if hashes:
        raise UsageError(
            f"{wheelhouse} lacks {len(hashes)} of the wheels on its list; make it again: --make-wheelhouse"
        )


def _named_files(payload: Payload, wanted: Wanted, values: Mapping[str, Any]) -> None:
    """Add the files that the configuration names relative to itself; warn of those that must be on the device."""
    for key, name in _names(values):
        if key == "path" and not _MODEL.search(name):
            continue  # a name of the catalogue, fetched by the device
        if wanted.model is not None and key == "path" and name == wanted.model.name:
            _add(payload, wanted.model)
            continue
        beside = wanted.config.parent / name
        if Path(name).is_absolute():
            payload.warnings.append(f"{key} = {name!r} is not copied: it must be on the device already")
        elif Path(name).name != name:
            raise ConfigError(
                f"{wanted.config}: {key} = {name!r}: put it beside the configuration and name it without a folder"
            )
        elif beside.is_file():
            _add(payload, beside)
        else:
            raise ConfigError(f"{wanted.config}: {key} = {name!r}: there is no {beside}")


def _add(payload: Payload, path: Path) -> None:
    payload.entries[f"{PRIVATE}/files/{path.name}"] = path
    manifest = path.with_name(f"{path.stem}.manifest.json")
    if _MODEL.search(path.name) and manifest.is_file():
        payload.entries[f"{PRIVATE}/files/{manifest.name}"] = manifest


def _names(values: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from _names(value, str(name))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _names(value, key)
    elif isinstance(values, str) and key in _FILE_KEYS:
        yield key, values
