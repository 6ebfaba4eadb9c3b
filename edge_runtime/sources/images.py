"""Picture files and folders of them, one frame each, in the order given."""

import os
import stat
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import msgspec

from edge_runtime.clock import monotonic_ns
from edge_runtime.errors import BadFrameError, InputMismatchError, UsageError
from edge_runtime.protocols import WantedInput
from edge_runtime.types import Frame, Origin, WindowInput

PICTURE_SUFFIXES: Final = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""What counts as a picture inside a folder; a file named by itself may be called anything."""


class ImagesSource:
    """Reads pictures as bytes; decoding, and judging whether it is a picture at all, is the preprocessor's.

    Folders are sorted by name and not descended into; hidden files are passed over.
    """

    class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of one ``images`` source."""

        paths: tuple[str, ...]
        """Files and folders, in this order."""
        max_bytes: Annotated[int, msgspec.Meta(ge=1)] = 64 * 1024 * 1024
        """A larger file is taken for a mistake and skipped as a bad frame."""

    live: ClassVar[bool] = False
    stall_after_s: ClassVar[float | None] = None

    def __init__(self, config: Config, *, stream: str, wants: WantedInput) -> None:
        self._config = config
        self._stream = stream
        self._wants = wants
        self._found: list[str] = []
        self._next = 0

    def open(self) -> None:
        """List what there is to read. Raises UsageError for a missing path or a folder without pictures."""
        if isinstance(self._wants, WindowInput):
            raise InputMismatchError("this model takes samples, not pictures: use --sensor csv:FILE or wav:FILE")
        if not self._config.paths:
            raise UsageError("no pictures were named: give files or folders")
        self._found = [found for path in self._config.paths for found in picture_paths(path)]
        self._next = 0

    def read(self, timeout_s: float) -> Frame | None:  # noqa: ARG002 - a file is there or it is not
        """Return the next picture's bytes, None after the last. Raises BadFrameError for one that cannot be read."""
        if self._next >= len(self._found):
            return None
        path = self._found[self._next]
        sequence = self._next
        self._next += 1
        data = _read(path, self._config.max_bytes)
        now = monotonic_ns()
        return Frame(
            data=data,
            format="picture",
            stream=self._stream,
            sequence=sequence,
            captured_ns=now,
            arrived_ns=now,
            origin=Origin(path=path),
        )

    def close(self) -> None:
        """Forget the list; no file is held open between reads."""
        self._found = []

    def describe(self) -> dict[str, Any]:
        """Return the paths as given and how many pictures were found."""
        return {"type": "images", "paths": list(self._config.paths), "pictures": len(self._found)}


def picture_paths(path: str) -> list[str]:
    """Return a picture's path, or those of a folder in name order. Raises UsageError."""
    try:
        if not Path(path).is_dir():
            Path(path).stat()
            return [path]
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in entries if _looks_like_picture(entry))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}; name a picture file or a folder of them") from error
    if not names:
        raise UsageError(f"{path}: no pictures in this folder ({', '.join(sorted(PICTURE_SUFFIXES))}; not recursive)")
    return [os.path.join(path, name) for name in names]  # noqa: PTH118 - Path would drop a leading "./"


def _looks_like_picture(entry: "os.DirEntry[str]") -> bool:
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - one Path per entry is slow in a large folder
    return suffix in PICTURE_SUFFIXES and not entry.name.startswith(".") and not entry.is_dir()


def _read(path: str, max_bytes: int) -> bytes:
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise BadFrameError(f"{path}: not a regular file")  # opening a FIFO would wait for ever
        with Path(path).open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise BadFrameError(f"{path}: {error.strerror or error}") from error
    if not data:
        raise BadFrameError(f"{path}: the file is empty")
    if len(data) > max_bytes:
        raise BadFrameError(f"{path}: larger than {max_bytes} bytes (max_bytes)")
    return data
