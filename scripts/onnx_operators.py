"""Run ONNX's own node tests through edge-convert and LiteRT, and write the table of operators.

scripts/onnx_operators                       every case, float (--quantize none), and the page docs/onnx-operators.md
scripts/onnx_operators --schemes none,int8   both tables
scripts/onnx_operators resize gru            only the cases whose names contain one of these; nothing is written

What is done is kept in --state, so that a sweep that was stopped goes on where it was; --fresh begins anew.
"""

import argparse
import gc
import json
import multiprocessing
import os
import random
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tqdm import tqdm

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs" / "onnx-operators.md"
STATE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edge-infer" / "onnx-operators"
DEADLINE_S = 300.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="PART", help="of the names of cases")
    parser.add_argument("--schemes", default="none", help="of --quantize, with commas; none and int8 are published")
    parser.add_argument("--inputs", choices=("folded", "all"), default="folded", help="all: weights are inputs too")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--state", type=Path, default=STATE)
    parser.add_argument("--fresh", action="store_true", help="forget what was done")
    parser.add_argument("--again", action="store_true", help="run what has not passed once more")
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1"}  # of the converter
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    args.state.mkdir(parents=True, exist_ok=True)
    found = {scheme: _sweep(scheme, args) for scheme in args.schemes.split(",")}
    for scheme, rows in found.items():
        _tell(scheme, rows, every=bool(args.names))
    if not args.names and args.inputs == "folded":
        from onnx_table import write_page

        write_page(args.page, args.state)
        print(f"written: {args.page}")
    return 0


def _sweep(scheme: str, args: argparse.Namespace) -> list[dict[str, object]]:
    """Return the outcome of every case, running those that are not in the state yet."""
    path = args.state / f"{scheme}-{args.inputs}.jsonl"
    if args.fresh and not args.names:
        path.unlink(missing_ok=True)
    done = {} if args.names else _read(path)
    if args.again:
        done = {name: row for name, row in done.items() if row["outcome"] == "passed"}
    from onnx_cases import cases

    chosen = [case for case in cases(folded=args.inputs == "folded") if case.name not in done]
    if args.names:
        chosen = [case for case in chosen if any(part in case.name for part in args.names)]
    random.Random(1).shuffle(chosen)  # so that a part is a fair sample
    rows = list(done.values())
    with path.open("a") as file, tqdm(total=len(chosen), desc=scheme, unit="case", disable=False) as bar:
        for row in _outcomes(chosen, scheme, workers=max(args.workers, 1)):
            rows.append(row)
            bar.update()
            bar.set_postfix(Counter(str(entry["outcome"]) for entry in rows))
            if not args.names:
                file.write(json.dumps(row) + "\n")
                file.flush()
    return rows


def _read(path: Path) -> dict[str, dict[str, object]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["name"]: row for row in map(json.loads, lines)}


def _outcomes(chosen: Sequence[object], scheme: str, *, workers: int) -> Iterator[dict[str, object]]:
    """Yield outcomes as they come. A worker that dies or hangs costs its case, and is replaced."""
    waiting = list(range(len(chosen)))[::-1]
    running: dict[Connection, tuple[multiprocessing.process.BaseProcess, int]] = {}

    def start() -> None:
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(target=_work, args=(there, chosen, scheme), daemon=True)
        process.start()
        there.close()
        running[here] = (process, -1)
        give(here)

    def give(here: Connection) -> None:
        process, _ = running[here]
        if not waiting:
            here.send(None)  # other workers have inherited this end: closing it would say nothing
            process.join()
            here.close()
            del running[here]
            return
        index = waiting.pop()
        running[here] = (process, index)
        here.send(index)

    for _ in range(min(workers, len(waiting))):
        start()
    while running:
        ready = wait(list(running), timeout=DEADLINE_S)
        for here in ready or list(running):
            assert isinstance(here, Connection)
            process, index = running[here]
            try:
                if not ready:
                    os.kill(process.pid or 0, signal.SIGKILL)
                yield json.loads(here.recv())
            except EOFError:
                del running[here]
                yield _lost(chosen[index], hung=not ready)
                if waiting:
                    start()
                continue
            give(here)


def _work(there: Connection, chosen: Sequence[object], scheme: str) -> None:
    from onnx_sweep import steps_here, sweep

    steps_here()
    gc.collect()
    gc.freeze()  # the cases need no look at every conversion
    while (index := there.recv()) is not None:
        there.send(sweep(chosen[index], scheme).to_json())  # type: ignore[arg-type]


def _lost(case: object, *, hung: bool) -> dict[str, object]:
    from onnx_sweep import Outcome

    reason = f"no answer within {DEADLINE_S:g} s" if hung else "the process died"
    name, operator, expanded = (getattr(case, key) for key in ("name", "operator", "expanded"))
    row: dict[str, object] = json.loads(Outcome(name, operator, expanded, "failed", reason, 0.0).to_json())
    return row


def _tell(scheme: str, rows: Sequence[dict[str, object]], *, every: bool) -> None:
    counts = Counter(str(row["outcome"]) for row in rows)
    share = counts["passed"] / max(len(rows), 1)
    print(f"{scheme}: {len(rows)} cases, {share:.1%} passed: {dict(counts)}")
    for row in sorted(rows, key=lambda row: str(row["name"])):
        if row["outcome"] == "wrong" or (every and row["outcome"] != "passed"):
            print(f"  {row['outcome']} {row['name']}: {row['reason']}")


if __name__ == "__main__":
    sys.exit(main())
