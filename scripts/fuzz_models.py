#!/usr/bin/env python3
"""Feed damaged model files to the whole of ``edge-infer inspect``: each must be refused in one sentence, or read.

Every case is made from its number and the seed alone, so a failure can be made again: ``1 --first N``. A case
fails when anything but a ModelError comes out, when it takes more than a second of processor time, or when the process
grows by more than 200 MB. Without models the bundled one is damaged, and those of the reference set where there is one.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from edge_runtime.analysis.inspection import document, inspect_model  # noqa: E402
from edge_runtime.analysis.page import render  # noqa: E402
from edge_runtime.analysis.profile import Profile, load_profile  # noqa: E402
from edge_runtime.cli.inspect_text import table  # noqa: E402
from edge_runtime.errors import ModelError  # noqa: E402
from edge_runtime.model_file import parse_model  # noqa: E402

MOST_SECONDS = 1.0
MOST_GROWTH_BYTES = 200 * 2**20
LARGEST_MODEL_BYTES = 1_000_000
TELLING = (0, 1, 2, 3, 4, 127, 128, 255, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE)


@dataclass(frozen=True)
class Original:
    """A sound model, and the ranges of its bytes that are structure rather than weights."""

    name: str
    data: bytes
    structure: list[range]


def read_original(path: Path) -> Original:
    data = path.read_bytes()
    model = parse_model(data, str(path))
    weights = []
    for index in range(model.buffer_count):
        content = bytes(model.buffer(index))
        if len(content) > 64 and (begin := data.find(content)) >= 0:
            weights.append((begin, begin + len(content)))
    structure, end = [], 0
    for begin, stop in sorted(weights):
        if begin > end:
            structure.append(range(end, begin))
        end = max(end, stop)
    if end < len(data):
        structure.append(range(end, len(data)))
    return Original(path.name, data, structure)


def damage(original: Original, chance: random.Random) -> bytes:
    """Return a copy with some bytes changed, cut off, repeated or exchanged."""
    data = bytearray(original.data)
    kind = chance.randrange(10)
    if kind == 0:
        return bytes(data[: chance.randrange(len(data))])
    if kind == 1:
        begin, stop = sorted(chance.choices(range(len(data)), k=2))
        del data[begin : min(stop, begin + chance.choice((1, 4, 64, 4096)))]
        return bytes(data)
    if kind == 2:
        begin, source = _place(original, chance), _place(original, chance)
        length = chance.choice((4, 16, 64, 256))
        data[begin : begin + length] = data[source : source + length]
        return bytes(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = _place(original, chance)
        if kind < 5:
            data[at] = chance.randrange(256)
        elif kind < 7:
            data[at] ^= 1 << chance.randrange(8)
        else:
            at -= at % 4
            data[at : at + 4] = chance.choice(TELLING).to_bytes(4, "little")
    return bytes(data)


def _place(original: Original, chance: random.Random) -> int:
    if chance.random() < 0.1:
        return chance.randrange(len(original.data))
    return chance.choice(chance.choice(original.structure))


def look(path: Path, profile: Profile, *, page: bool) -> str:
    """Inspect one file as the command does; return what came of it."""
    try:
        found = inspect_model(path, profiles=(profile,), fps=10, memory_mb=256)
        result = document(found)
        text = table(result)
        if page:
            text += render(found, result)
        return "read" if text else "nothing to say"
    except ModelError as error:
        return "refused" if "\n" not in str(error) else "refused in several lines"


def originals(paths: list[Path]) -> list[Original]:
    if not paths:
        folder = Path(os.environ.get("EDGE_REFERENCE", REPOSITORY.parent / "shared" / "reference")) / "models"
        paths = [*(REPOSITORY / "edge_runtime" / "demo").glob("*.tflite"), *sorted(folder.rglob("*.tflite"))]
        paths = [path for path in paths if path.stat().st_size <= LARGEST_MODEL_BYTES]
    return [read_original(path) for path in paths]


def run(arguments: argparse.Namespace) -> int:
    profile = load_profile("pi-4b-64")
    sound = originals(arguments.models)
    outcomes: Counter[str] = Counter()
    slowest_s, failures = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.tflite"
        path.write_bytes(sound[0].data)
        look(path, profile, page=True)
        before_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        for number in range(arguments.first, arguments.first + arguments.count):
            chance = random.Random(f"{arguments.seed} {number}")
            path.write_bytes(damage(chance.choice(sound), chance))
            began_s = time.process_time()
            try:
                outcome = look(path, profile, page=number % 4 == 0)
            except Exception:  # noqa: BLE001 - whatever comes out is what is looked for
                outcome = "crashed"
                traceback.print_exc()
            taken_s = time.process_time() - began_s
            grown_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before_bytes
            if outcome not in {"read", "refused"} or taken_s > MOST_SECONDS or grown_bytes > MOST_GROWTH_BYTES:
                failures += 1
                print(
                    f"case {number}: {outcome}, {taken_s:.2f} s, grown by {grown_bytes / 2**20:.0f} MB", file=sys.stderr
                )
            outcomes[outcome] += 1
            slowest_s = max(slowest_s, taken_s)
    listed = ", ".join(f"{name} {count}" for name, count in outcomes.most_common())
    print(f"{arguments.count} damaged models from {len(sound)} originals, seed {arguments.seed}: {listed}")
    print(f"slowest {slowest_s:.2f} s, grown by {grown_bytes / 2**20:.0f} MB, {failures} failures")
    return 1 if failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", nargs="?", type=int, default=20_000)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first case")
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
