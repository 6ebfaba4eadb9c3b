"""What a power cut leaves on a card that keeps writes in a cache of its own until it is told to flush them.

QEMU writes every request of the machine to a log beside an overlay (its ``blklogwrites``, in the format of Linux's
dm-log-writes). After a cut the overlay is thrown away and the log is carried out on the disk: all that came before the
last flush, and of what came after it only a random part, in pieces of 4 KiB, which flash writes as one.
"""

import random
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SECTOR_BYTES = 512
PAGE_BYTES = 4096
_SUPER = struct.Struct("<QQQL")
_ENTRY = struct.Struct("<QQQQ")
_MAGIC = 0x6A736677736872
_FLUSH, _FUA, _DISCARD = 1, 2, 4


@dataclass(frozen=True, slots=True)
class Written:
    """One request: where on the disk, its bytes, and what the machine asked of it."""

    offset: int
    data: bytes
    flush: bool
    fua: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """How much of a log a cut left."""

    flushed: int
    kept_pages: int
    lost_pages: int

    def said(self) -> str:
        """Return it in words."""
        return f"{self.flushed} writes flushed, of the others {self.kept_pages} pages kept and {self.lost_pages} lost"


def drive(disk: Path, name: str) -> list[str]:
    """Return QEMU's words for a disk behind such a cache, and make its overlay and log, both empty."""
    overlay, log = _beside(disk)
    words = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(disk), str(overlay)]
    subprocess.run(words, check=True)
    log.write_bytes(b"")
    return [
        *("-blockdev", f"driver=qcow2,node-name={name}-overlay,file.driver=file,file.filename={overlay}"),
        *("-blockdev", f"driver=file,node-name={name}-log,filename={log}"),
        *("-blockdev", f"driver=blklogwrites,node-name={name},file={name}-overlay,log={name}-log"),
        *("-device", f"virtio-blk-pci,drive={name},write-cache=on,discard=off,write-zeroes=off"),
    ]


def cut(disk: Path, chance: random.Random) -> Kept:
    """Carry out on the disk what survives, and forget the rest. Raises ValueError for what is no log."""
    overlay, log = _beside(disk)
    requests = list(_requests(log))
    durable = max((number for number, each in enumerate(requests) if each.flush), default=-1) + 1
    kept = lost = flushed = 0
    with disk.open("r+b") as file:
        for number, each in enumerate(requests):
            flushed += number < durable and bool(each.data)
            for offset, page in _pages(each):
                survives = number < durable or each.fua or chance.random() < 0.5
                kept += survives and number >= durable
                lost += not survives
                if survives:
                    file.seek(offset)
                    file.write(page)
    overlay.unlink()
    log.unlink()
    return Kept(flushed, kept, lost)


def _pages(written: Written) -> Iterator[tuple[int, bytes]]:
    """Yield a request in pieces that do not cross a page."""
    start, end = written.offset, written.offset + len(written.data)
    while start < end:
        stop = min(end, (start // PAGE_BYTES + 1) * PAGE_BYTES)
        yield start, written.data[start - written.offset : stop - written.offset]
        start = stop


def _requests(log: Path) -> Iterator[Written]:
    """Yield what is whole in a log; the last request may be cut off, its number of entries is an old one."""
    with log.open("rb") as file:
        head = file.read(SECTOR_BYTES)
        if not any(head):
            return  # nothing was flushed, and the log's own head is written with the first flush
        magic, version, _, sector_bytes = _SUPER.unpack_from(head)
        if (magic, version, sector_bytes) != (_MAGIC, 1, SECTOR_BYTES):
            raise ValueError(f"{log} is no log of writes: {magic:#x}, version {version}, {sector_bytes} bytes a sector")
        while len(entry := file.read(SECTOR_BYTES)) == SECTOR_BYTES:
            sector, sectors, flags, _ = _ENTRY.unpack_from(entry)
            assert not flags & _DISCARD, "the machine was told that the disk cannot discard"
            data = file.read(sectors * SECTOR_BYTES)
            if len(data) < sectors * SECTOR_BYTES:
                return
            yield Written(sector * SECTOR_BYTES, data, bool(flags & _FLUSH), bool(flags & _FUA))


def _beside(disk: Path) -> tuple[Path, Path]:
    return disk.with_suffix(".overlay"), disk.with_suffix(".writes")
