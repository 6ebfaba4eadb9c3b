"""The models of a device: fetched ones with what is known of them beside, and which of them is active."""

import difflib
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from edge_runtime.errors import DownloadError, ModelError, StoreError, UsageError
from edge_runtime.labels import LabelsError, parse_labels
from edge_runtime.manifest_file import SCHEMA, Manifest, sidecar_path
from edge_runtime.store.atomic import replace_file

if TYPE_CHECKING:
    from edge_runtime.store.catalogue import Entry, RemoteFile
    from edge_runtime.store.download import Progress

log = logging.getLogger(__name__)

TRIES: Final = 4
"""A connection that is cut is taken up again where it ended; a device's network is often a poor one."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model that is in the store."""

    name: str
    path: Path
    size_bytes: int
    active: bool


class ModelStore:
    """The folder ``models`` (mode 0700) in a state directory. Called from one thread; nothing is touched before use."""

    def __init__(self, state: Path, *, catalogue: str | None = None) -> None:
        self._folder = state / "models"
        self._catalogue_place = catalogue

    def catalogue(self) -> "dict[str, Entry]":
        """Return what can be fetched, by name. Raises UsageError, ConfigError, DownloadError."""
        # Imported here: a run with the active model needs no HTTP client, which takes longer to load than the model.
        from edge_runtime.store.catalogue import load_catalogue

        return load_catalogue(self._catalogue_place)

    def installed(self) -> list[StoredModel]:
        """Return the models that are here, by name. Raises StoreError."""
        with self._readable():
            active = self._active_name()
            paths = sorted(self._folder.glob("*.tflite"))
            return [StoredModel(path.stem, path, path.stat().st_size, path.stem == active) for path in paths]

    def active(self) -> Path | None:
        """Return the file of the active model, or None when there is none. Raises StoreError when it is gone."""
        with self._readable():
            name = self._active_name()
        if name is None:
            return None
        if not self._path(name).is_file():
            raise StoreError(
                f"the active model {name} is gone from {self._folder}; fetch it: edge-infer models pull {name}"
            )
        return self._path(name)

    def activate(self, name: str) -> None:
        """Make a model of the store the one that runs by default. Raises UsageError when it is not here, StoreError."""
        if not self._path(name).is_file():
            raise UsageError(f"{name} is not in the store; fetch it: edge-infer models pull {name}")
        with self._writable():
            replace_file(self._folder / "active", f"{name}\n".encode())

    def obtain(self, name: str) -> Path:
        """Return the file of a model by name, fetched when it is not here yet. Raises as ``pull`` does."""
        path = self._path(name)
        if path.is_file():
            return path
        log.info("model %s is not here yet: fetching it", name)
        return self.pull(name)

    def pull(self, name: str, progress: "Progress | None" = None) -> Path:
        """Fetch a model of the catalogue, with its labels and task beside it, and return its file.

        What is here already and right is not fetched again. Raises UsageError for an unknown name, DownloadError,
        StoreError, ModelError for labels that are none.
        """
        entry = self._entry(name)
        path = self._path(name)
        with self._writable():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # The model comes last: where its file is, everything is.
            replace_file(sidecar_path(path), _manifest(name, entry, self._labels(entry, path)))
            _download(entry.model, path, progress)
        return path

    def _labels(self, entry: "Entry", path: Path) -> tuple[str, ...] | None:
        if entry.labels is None:
            return None
        file = path.with_suffix(".labels.txt")
        _download(entry.labels, file, None)
        try:
            labels = parse_labels(file.read_bytes())
        except LabelsError as error:
            raise ModelError(f"{entry.labels.url} {error}; the catalogue names a wrong label file") from error
        # A remark after an empty line, as under the Pascal VOC names, is no label.
        return labels[: labels.index("")] if "" in labels else labels

    def _entry(self, name: str) -> "Entry":
        catalogue = self.catalogue()
        if name in catalogue:
            return catalogue[name]
        near = difflib.get_close_matches(name, catalogue, n=1)
        advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(catalogue))}"
        raise UsageError(f"{name!r} is neither a file nor a model of the catalogue; {advice}")

    def _path(self, name: str) -> Path:
        if not name or "/" in name or "\0" in name or name.startswith("."):
            raise UsageError(f"{name!r} cannot be a model's name; see: edge-infer models list")
        return self._folder / f"{name}.tflite"

    def _active_name(self) -> str | None:
        try:
            return (self._folder / "active").read_text("utf-8").strip() or None
        except FileNotFoundError:
            return None

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"the model store {self._folder} cannot be read: {error}") from error

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"the model store {self._folder} cannot be written: {error.strerror or error}; "
                "choose another directory with EDGE_INFER_STATE_DIR"
            ) from error


def _download(file: "RemoteFile", path: Path, progress: "Progress | None") -> None:
    """Fetch what is not here already, going on where a cut connection ended."""
    from edge_runtime.store.download import download

    if _is_here(path, file):
        return
    for left in reversed(range(TRIES)):
        before = _arrived_bytes(path)
        try:
            download(file.url, path, sha256=file.sha256, size_bytes=file.size_bytes, progress=progress)
        except DownloadError as error:
            # Another try only where the last one brought something: a server that is away gets no four visits.
            if not left or not error.retryable or _arrived_bytes(path) <= before:
                raise
            log.info("%s", error)
        else:
            return


def _is_here(path: Path, file: "RemoteFile") -> bool:
    if not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256


def _arrived_bytes(path: Path) -> int:
    from edge_runtime.store.download import part_path

    part = part_path(path)
    return part.stat().st_size if part.exists() else 0


def _manifest(name: str, entry: "Entry", labels: tuple[str, ...] | None) -> bytes:
    manifest = Manifest(
        schema=SCHEMA,
        model_sha256=entry.sha256,
        name=name,
        version=entry.version,
        task=entry.task,
        labels=labels,
        provenance={"source": entry.url, "licence": entry.licence},
    )
    return msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
