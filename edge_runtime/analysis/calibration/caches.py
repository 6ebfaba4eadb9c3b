"""The caches of this machine's cores, as the kernel tells."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

_USUAL_CACHES: Final = (32 * 1024, 512 * 1024)
"""Of a core, where the system does not tell: first and second level of the small Arm cores."""


@dataclass(frozen=True, slots=True)
class Cache:
    """A level of cache: bytes, and how many cores share them."""

    size_bytes: int
    cores: int

    def of(self, threads: int) -> int:
        """Return what so many cores have together."""
        return self.size_bytes * -(-threads // self.cores)


def read_caches(root: Path = Path("/")) -> tuple[Cache, Cache]:
    """Return the first level for data and the second, as the system tells; usual sizes where it does not."""
    found: dict[int, Cache] = {}
    for index in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind = int((index / "level").read_text()), (index / "type").read_text().strip()
            size = (index / "size").read_text().strip()
            sharing = _count((index / "shared_cpu_list").read_text().strip())
            size_bytes = int(size.rstrip("KM")) * {"K": 1024, "M": 1024**2}.get(size[-1:], 1)
        except (OSError, ValueError):
            continue
        if kind != "Instruction" and size_bytes:
            found[level] = Cache(size_bytes, max(1, sharing))
    usual = [Cache(size, 1) for size in _USUAL_CACHES]
    return found.get(1, usual[0]), found.get(2, usual[1])


def _count(listed: str) -> int:
    """Return how many processors ``0-3,5`` are."""
    ends = [part.split("-") for part in listed.split(",") if part]
    return sum(int(part[-1]) - int(part[0]) + 1 for part in ends)
