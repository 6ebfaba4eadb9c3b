"""What was predicted (``--jsonl``), what the broker acknowledged, what arrived: and what is missing between them."""

import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

CONNECTED_S = 0.5
DISCONNECTED_S = 0.1
"""The promise: what is older than this at a kill is delivered."""


class Key(NamedTuple):
    """One prediction of the device."""

    stream: str
    seq: int


class Entry(NamedTuple):
    """A line of the ledger. ``handed_s`` is the wall time at which the prediction was handed over for publishing."""

    key: Key
    seq_start: int
    handed_s: float


def entry_of(document: bytes | str) -> Entry | None:
    """Read one prediction; None for a line that a kill cut off, or one that was not published."""
    try:
        content = json.loads(document)
        if content["seq"] is None:
            return None
        captured_s = datetime.fromisoformat(content["captured_at"]).timestamp()
        handed_s = captured_s + content["latency_ms"]["total"] / 1000
        return Entry(Key(content["stream"], content["seq"]), content["seq_start"], handed_s)
    except (ValueError, KeyError, TypeError):
        return None


def read_ledger(path: Path) -> list[Entry]:
    """Read every published prediction of a ``--jsonl`` file, in order."""
    if not path.exists():
        return []
    with path.open("rb") as lines:
        return [entry for line in lines if (entry := entry_of(line))]


@dataclass
class Arrivals:
    """What a reader got, in order: duplicates, gaps inside a run, and what came out of order."""

    entries: Sequence[Entry]
    keys: set[Key] = field(default_factory=set)
    duplicates: int = 0
    disordered: int = 0
    """First arrivals of a stream with a lower ``seq`` than one that came before."""
    gaps: list[str] = field(default_factory=list)
    """Numbers missing between two that arrived, of the same stream and run."""

    def __post_init__(self) -> None:
        """Go through the entries once."""
        newest: dict[str, int] = {}
        last: dict[tuple[str, int], int] = {}
        for entry in self.entries:
            if entry.key in self.keys:
                self.duplicates += 1
                continue
            self.keys.add(entry.key)
            stream, seq = entry.key
            self.disordered += seq < newest.get(stream, 0)
            newest[stream] = max(seq, newest.get(stream, 0))
            last[stream, entry.seq_start] = max(seq, last.get((stream, entry.seq_start), 0))
        for (stream, start), end in last.items():
            missing = [seq for seq in range(start, end) if Key(stream, seq) not in self.keys]
            if missing:
                self.gaps.append(f"{stream} {missing[0]}..{missing[-1]}: {len(missing)} of the run from {start}")


@dataclass(frozen=True, slots=True)
class Kill:
    """An end without warning. ``limit_s``: how old a message may be that is lost to it."""

    at_s: float
    limit_s: float


@dataclass
class Losses:
    """What did not arrive, told apart by whether the promise covers it."""

    lost: dict[Key, float] = field(default_factory=dict)
    """Older than the commit interval when the daemon was killed: its age then in ms; infinite without a kill."""
    too_young: int = 0
    """Younger than the commit interval at a kill: allowed."""
    oldest_lost_ms: float = 0.0
    """The oldest message that a kill took, beside the interval."""


def find_losses(
    ledger: Iterable[Entry], kills: Sequence[Kill], safe: Collection[Key], *, slack_s: float = 0.0
) -> Losses:
    """Compare the ledger with what is safe (arrived, acknowledged, or on the disk)."""
    found = Losses()
    for entry in ledger:
        if entry.key in safe:
            continue
        kill = next((kill for kill in kills if kill.at_s >= entry.handed_s), None)
        if kill is None:
            found.lost[entry.key] = math.inf
            continue
        age_s = kill.at_s - entry.handed_s
        found.oldest_lost_ms = max(found.oldest_lost_ms, round(age_s * 1000, 1))
        if age_s > kill.limit_s + slack_s:
            found.lost[entry.key] = round(age_s * 1000, 1)
        else:
            found.too_young += 1
    return found
