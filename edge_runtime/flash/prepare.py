"""Put the payload and the hooks onto a boot partition: all of it or nothing, and nothing twice."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_runtime.errors import InstallError, RefusedError
from edge_runtime.flash import hooks
from edge_runtime.flash.card import PRESEED, Card
from edge_runtime.flash.payload import FOLDER, Payload
from edge_runtime.store.atomic import replace_file

MARGIN_BYTES: Final = 4_000_000
"""Kept free: the first boot writes its log, and the firmware updates its own files here later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would change on the card."""

    card: Card
    payload: Payload
    hooks: dict[str, str]
    """File name to its new text, in the order of writing; only those that change."""
    payload_changes: bool
    needed_bytes: int

    @property
    def changes(self) -> bool:
        """Return whether there is anything to do."""
        return self.payload_changes or bool(self.hooks)


def plan(card: Card, payload: Payload) -> Plan:
    """Work out what would be written. Raises UsageError, and RefusedError where it does not fit."""
    changes = not _holds(card.boot / FOLDER, payload)
    needed = payload.size_bytes + MARGIN_BYTES if changes else 0
    if needed > card.free_bytes:
        raise RefusedError(
            f"{card.boot} has {card.free_bytes / 1e6:.0f} MB free of {needed / 1e6:.0f} MB needed: nothing written "
            "(without --wheelhouse it is a few MB, and the first boot fetches the packages)"
        )
    return Plan(card=card, payload=payload, hooks=_hooks(card), payload_changes=changes, needed_bytes=needed)


def apply(prepared: Plan) -> None:
    """Write it: the payload under another name first, then its name, then what has it run.

    Raises InstallError; what was written until then is taken away again.
    """
    boot = prepared.card.boot
    beside, place, old = boot / f"{FOLDER}.new", boot / FOLDER, boot / f"{FOLDER}.old"
    was_there = place.exists()
    written: dict[str, bytes | None] = {}
    try:
        if prepared.payload_changes:
            shutil.rmtree(beside, ignore_errors=True)
            _write_payload(beside, prepared.payload)
            if was_there:
                shutil.rmtree(old, ignore_errors=True)
                place.rename(old)
            beside.rename(place)
        for name, text in prepared.hooks.items():
            path = boot / name
            written[name] = path.read_bytes() if path.exists() else None
            replace_file(path, text.encode("utf-8", errors="surrogateescape"))
        shutil.rmtree(old, ignore_errors=True)
        os.sync()
    except OSError as error:
        _undo(boot, written)
        if not was_there:
            shutil.rmtree(place, ignore_errors=True)
        elif old.exists():
            shutil.rmtree(place, ignore_errors=True)
            old.rename(place)
        shutil.rmtree(beside, ignore_errors=True)
        raise InstallError(f"cannot write {error.filename or boot}: {error.strerror}; the card is as it was") from error


def _hooks(card: Card) -> dict[str, str]:
    edits: list[tuple[str, Callable[[str | None], str]]] = []
    if "preseed" in card.formats:
        edits.append((PRESEED, hooks.preseed))
    if "cloud-init" in card.formats:
        edits.append(("user-data", hooks.cloud_init))
    if "firstrun" in card.formats:
        edits.append(("firstrun.sh", hooks.firstrun))
        edits.append(("cmdline.txt", lambda text: hooks.cmdline(text or "")))
    changed = {}
    for name, edit in edits:
        path = card.boot / name
        before = path.read_bytes().decode("utf-8", errors="surrogateescape") if path.exists() else None
        after = edit(before)
        if after != before:
            changed[name] = after
    return changed


def _holds(folder: Path, payload: Payload) -> bool:
    """Tell whether the folder holds exactly this payload, and maybe the log of a first boot."""
    if not folder.is_dir():
        return False
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"first-boot.log"}
    return there == set(payload.entries) and all(
        (folder / name).stat().st_size == len(data := _bytes(content)) and (folder / name).read_bytes() == data
        for name, content in payload.entries.items()
    )


def _write_payload(folder: Path, payload: Payload) -> None:
    for name, content in payload.entries.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(_bytes(content))
            file.flush()
            os.fsync(file.fileno())


def _bytes(content: bytes | Path) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def _undo(boot: Path, written: dict[str, bytes | None]) -> None:
    for name, before in written.items():
        try:
            if before is None:
                (boot / name).unlink(missing_ok=True)
            else:
                replace_file(boot / name, before)
        except OSError:
            continue
