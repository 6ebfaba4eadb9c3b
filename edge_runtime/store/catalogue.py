"""The list of models that can be fetched: the package's own, or another one from a file or an address."""

import os
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Final
from urllib.parse import urljoin

import msgspec

from edge_runtime.errors import ConfigError, UsageError
from edge_runtime.store.download import fetch_small
from edge_runtime.types import Task

ENVIRONMENT: Final = "EDGE_INFER_CATALOGUE"
MAX_CATALOGUE_BYTES: Final = 1024 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class RemoteFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file at a public address; ``url`` may be relative to the catalogue's own address."""

    url: str
    size_bytes: int
    sha256: str


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model of the catalogue."""

    url: str
    size_bytes: int
    sha256: str
    description: str = ""
    task: Task | None = None
    version: str | None = None
    licence: str | None = None
    labels: RemoteFile | None = None
    """None where the model carries its labels itself, or has none."""
    tried: bool = True
    """Whether the address has been tried."""

    @property
    def model(self) -> RemoteFile:
        """Return where the model file is."""
        return RemoteFile(url=self.url, size_bytes=self.size_bytes, sha256=self.sha256)


class _Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    schema: int
    models: dict[str, Entry]


def load_catalogue(where: str | None = None) -> dict[str, Entry]:
    """Return the catalogue's entries by name.

    ``where`` is a file or an http(s) address; None is ``EDGE_INFER_CATALOGUE``, else the package's own. Raises
    UsageError when it cannot be read, ConfigError when it does not validate, DownloadError when it cannot be fetched.
    """
    where = where or os.environ.get(ENVIRONMENT)
    if not where:
        content = files("edge_runtime.store").joinpath("catalogue.toml").read_bytes()
        return _parse(content, "the built-in catalogue")
    if where.startswith(("http://", "https://")):
        return _parse(fetch_small(where, limit_bytes=MAX_CATALOGUE_BYTES), where, base=where)
    try:
        with Path(where).open("rb") as file:
            content = file.read(MAX_CATALOGUE_BYTES)
    except OSError as error:
        raise UsageError(f"the catalogue {where} cannot be read: {error.strerror or error}") from error
    return _parse(content, where)


def _parse(content: bytes, where: str, base: str = "") -> dict[str, Entry]:
    try:
        catalogue = msgspec.convert(tomllib.loads(content.decode("utf-8")), _Catalogue)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{where} is no catalogue: it is not valid TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where} is no catalogue: {str(error).replace('`', '')}") from error
    if catalogue.schema != 1:
        raise ConfigError(f"{where}: key schema: expected 1, found {catalogue.schema}")
    return {name: _checked(name, entry, where=where, base=base) for name, entry in catalogue.models.items()}


def _checked(name: str, entry: Entry, *, where: str, base: str) -> Entry:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: model name {name!r}: use 1 to 64 letters, digits, '_', '-' and '.'")
    model = _checked_file(entry.model, where=f"{where}: {name}", base=base)
    labels = _checked_file(entry.labels, where=f"{where}: {name}: labels", base=base) if entry.labels else None
    return msgspec.structs.replace(entry, url=model.url, labels=labels)


def _checked_file(file: RemoteFile, *, where: str, base: str) -> RemoteFile:
    url = urljoin(base, file.url)
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{where}: key url: expected an http or https address, found {file.url!r}")
    if not _SHA256.fullmatch(file.sha256):
        raise ConfigError(f"{where}: key sha256: expected 64 lower-case hex digits, found {file.sha256[:70]!r}")
    if file.size_bytes < 1:
        raise ConfigError(f"{where}: key size_bytes: expected a number above 0, found {file.size_bytes}")
    return msgspec.structs.replace(file, url=url)
