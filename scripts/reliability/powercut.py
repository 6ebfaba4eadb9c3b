"""What is left of a folder after a power cut; tests/native/powercut.c keeps account of what was synchronised."""

import ctypes
import random
import shutil
from pathlib import Path

from native_libraries import build_powercut

BLOCK = 4096


class PowerCut:
    """Watches the folder ``live`` of a process that is started with ``environment``. For file systems of Linux.

    The disk has a choice of what it wrote of its own accord since the last synchronisation: ``cut()`` lets it have
    written nothing, ``cut(chance)`` any of the blocks and either state of the names, as ``chance`` falls.
    """

    def __init__(self, folder: Path, live: Path) -> None:
        self._live = live
        self._kept = folder / "kept"
        self._library = build_powercut(folder)
        self._key = ctypes.CDLL(str(self._library)).powercut_key
        for path in (live, self._kept / "files", self._kept / "names"):
            path.mkdir(parents=True, exist_ok=True)
        self._live = live.resolve()
        self._keep_all(self._live, name="root")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(self._library),
            "POWERCUT_LIVE": str(self._live),
            "POWERCUT_KEPT": str(self._kept),
        }

    def cut(self, chance: random.Random | None = None) -> None:
        """Put the folder into the state in which it is found after the cut; the process must have ended."""
        left = self._live.with_name(f"{self._live.name}.left")
        shutil.rmtree(left, ignore_errors=True)
        self._rebuild(left, self._live, name="root", chance=chance)
        shutil.rmtree(self._live)
        left.rename(self._live)
        for kind in ("files", "names"):
            for path in (self._kept / kind).iterdir():
                path.unlink()
        self._keep_all(self._live, name="root")

    def _rebuild(self, into: Path, live: Path, *, name: str, chance: random.Random | None) -> None:
        into.mkdir(mode=0o700)
        for kind, key, entry in self._names(live, name=name, chance=chance):
            path = live / entry
            is_live = path.exists() and self._key_of(path) == key
            if kind == "d":
                self._rebuild(into / entry, path, name=key, chance=chance)
                continue
            kept = self._kept / "files" / key
            data = kept.read_bytes() if kept.exists() else b""
            if chance is not None and is_live:
                data = _mixed(data, path.read_bytes(), chance)
            (into / entry).write_bytes(data)

    def _names(self, live: Path, *, name: str, chance: random.Random | None) -> list[tuple[str, str, str]]:
        """Return ``(kind, key, name)`` of what a folder holds after the cut."""
        kept = self._kept / "names" / name
        listed = [line.split("\t", 2) for line in kept.read_text().splitlines()] if kept.exists() else []
        if chance is not None and live.is_dir() and chance.random() < 0.5:
            listed = [["d" if path.is_dir() else "f", self._key_of(path), path.name] for path in live.iterdir()]
        return [(kind, key, entry) for kind, key, entry in listed]

    def _keep_all(self, folder: Path, *, name: str) -> None:
        """Take what is in the folder now for synchronised."""
        lines = []
        for path in folder.iterdir():
            key = self._key_of(path)
            lines.append(f"{'d' if path.is_dir() else 'f'}\t{key}\t{path.name}\n")
            if path.is_dir():
                self._keep_all(path, name=key)
            else:
                shutil.copyfile(path, self._kept / "files" / key)
        (self._kept / "names" / name).write_text("".join(lines))

    def _key_of(self, path: Path) -> str:
        name = ctypes.create_string_buffer(64)
        self._key(str(path).encode(), name)
        return name.value.decode()


def _mixed(kept: bytes, live: bytes, chance: random.Random) -> bytes:
    """Return a file of which some blocks had reached the disk and others had not; its length is either one."""
    length = chance.choice((len(kept), len(live)))
    parts = []
    for start in range(0, length, BLOCK):
        source = chance.choice((kept, live))
        parts.append(source[start : start + BLOCK].ljust(min(BLOCK, length - start), b"\0"))
    return b"".join(parts)[:length]
