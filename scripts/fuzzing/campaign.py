"""One seeded campaign of hostile inputs: what counts, what fails, and what it prints at the end."""

import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

MOST_GROWTH_BYTES = 200 * 2**20
TELLING = (0, 1, 2, 3, 4, 127, 128, 255, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE)


@dataclass(frozen=True)
class Campaign:
    """``look(number, chance)`` makes one case, lets the product have it, and returns what came of it in a word or two.

    Whatever it raises is a failure, and so is a word that is not in ``fine``, and a case that takes more than
    ``most_s`` of processor time.
    """

    what: str
    fine: frozenset[str]
    look: Callable[[int, Random], str]
    most_s: float = 1.0


def run(campaign: Campaign, *, count: int, first: int, seed: int) -> int:
    """Run the cases, each made from its number and the seed alone; return the exit status."""
    outcomes: Counter[str] = Counter()
    slowest_s, slowest, failures = 0.0, first, 0
    campaign.look(first, Random(f"{seed} {first}"))  # imports and pools
    before_bytes = _peak_bytes()
    for number in range(first, first + count):
        began_s = time.process_time()
        try:
            outcome = campaign.look(number, Random(f"{seed} {number}"))
        except Exception:  # noqa: BLE001 - whatever comes out is what is looked for
            outcome = "crashed"
            traceback.print_exc()
        taken_s = time.process_time() - began_s
        grown_bytes = _peak_bytes() - before_bytes
        if outcome not in campaign.fine or taken_s > campaign.most_s or grown_bytes > MOST_GROWTH_BYTES:
            failures += 1
            print(f"case {number}: {outcome}, {taken_s:.2f} s, grown by {grown_bytes / 2**20:.0f} MB", file=sys.stderr)
        outcomes[outcome] += 1
        if taken_s > slowest_s:
            slowest_s, slowest = taken_s, number
    listed = ", ".join(f"{name} {number}" for name, number in outcomes.most_common())
    print(f"{count} {campaign.what}, seed {seed}: {listed}")
    print(f"slowest {slowest_s:.2f} s (case {slowest}), grown by {grown_bytes / 2**20:.0f} MB, {failures} failures")
    return 1 if failures else 0


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def damage(data: bytes, chance: Random, *, place: Callable[[], int] | None = None) -> bytes:
    """Return a copy with some bytes changed, cut off, repeated or exchanged, where ``place`` says or anywhere."""
    where = place or (lambda: chance.randrange(len(data)))
    changed = bytearray(data)
    kind = chance.randrange(10)
    if kind == 0:
        return bytes(changed[: chance.randrange(len(changed))])
    if kind == 1:
        begin, stop = sorted(chance.choices(range(len(changed)), k=2))
        del changed[begin : min(stop, begin + chance.choice((1, 4, 64, 4096)))]
        return bytes(changed)
    if kind == 2:
        begin, source = where(), where()
        length = chance.choice((4, 16, 64, 256))
        changed[begin : begin + length] = changed[source : source + length]
        return bytes(changed)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = where()
        if kind < 5:
            changed[at] = chance.randrange(256)
        elif kind < 7:
            changed[at] ^= 1 << chance.randrange(8)
        else:
            at -= at % 4
            changed[at : at + 4] = chance.choice(TELLING).to_bytes(4, "little")
    return bytes(changed)


def verdict(error: Exception) -> str:
    """Return what a typed error counts as: its message must be one line, fit for a terminal."""
    return "refused" if "\n" not in str(error) else "refused in several lines"
