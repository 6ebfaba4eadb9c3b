#!/usr/bin/env python3
"""Feed damaged model files to the whole of ``edge-infer inspect``: each must be refused in one sentence, or read.

Every case is made from its number and the seed alone, so a failure can be made again: ``1 --first N``. A case
fails when anything but a ModelError comes out, when it takes more than a second of processor time, or when it needs
more than 200 MB: both are hard limits. Without models the bundled one is damaged, those of the reference set where
there is one, and three made for it: many subgraphs, subgraphs that call each other, thousands of operators.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from fuzz_damage import Original, damage, deep_originals, read_original  # noqa: E402

from edge_runtime.analysis.document import document  # noqa: E402
from edge_runtime.analysis.inspection import inspect_model  # noqa: E402
from edge_runtime.analysis.page import render  # noqa: E402
from edge_runtime.analysis.profile import Profile, load_profile  # noqa: E402
from edge_runtime.cli.inspect_text import table  # noqa: E402
from edge_runtime.errors import ModelError  # noqa: E402

MOST_SECONDS = 1.0
MOST_GROWTH_BYTES = 200 * 2**20
LARGEST_MODEL_BYTES = 1_000_000


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
    return [*map(read_original, paths), *deep_originals(paths[0])]


class TookTooLong(Exception):  # noqa: N818 - what happened is its name
    """The processor time of one model ran out."""


def _time_is_up(*_: object) -> None:
    raise TookTooLong


def limited(path: Path, profile: Profile, *, page: bool) -> str:
    """Look at one file within its limits of time and memory."""
    try:
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        outcome = look(path, profile, page=page)
        signal.setitimer(signal.ITIMER_PROF, 0)
    except TookTooLong:
        return "too slow"
    except MemoryError:
        return "too large"
    except Exception:  # noqa: BLE001 - whatever comes out is what is looked for
        traceback.print_exc()
        return "crashed"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return outcome


def limit_memory() -> None:
    """Let this process grow by no more than a model may take: beyond that allocations fail."""
    size_pages = int(Path("/proc/self/statm").read_text().split()[0])
    most_bytes = size_pages * resource.getpagesize() + MOST_GROWTH_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))


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
        grown_bytes = 0
        limit_memory()
        signal.signal(signal.SIGPROF, _time_is_up)
        for number in range(arguments.first, arguments.first + arguments.count):
            chance = random.Random(f"{arguments.seed} {number}")
            path.write_bytes(damage(chance.choice(sound), chance))
            began_s = time.process_time()
            outcome = limited(path, profile, page=number % 4 == 0)
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
