"""Break everything around the real command, at random and for minutes, and account for every prediction afterwards.

    scripts/chaos --minutes 30 --seed 1 --ledger chaos.json

A camera on the network and a steady source feed a model on a delegate; every prediction goes to ``--jsonl`` (the
ledger) and at QoS 1 over a wire of ours to a mosquitto with a reader whose session it keeps. One fault follows the
other, in an order that the seed decides: the broker is killed, stopped and frozen, the network cut and frozen, the
daemon killed with the broker there, away and frozen, the disk of the state directory filled (as root: a tmpfs of
8 MiB), the delegate hung and crashed, the camera frozen and killed, and so an RTSP camera (with ffmpeg), whose packets
are spoiled too and whose picture changes its size.

Then it is reconciled. Every prediction in the ledger must have been acknowledged by the broker, except those younger
than the commit interval when the daemon was killed; what the broker acknowledged and the reader never got is the
broker's loss and counted apart. Exit status 1 for a loss of ours, a gap within a run, a number given twice, or a fault
from which there was no recovery. The daemon is not killed while the disk is full: what waits in memory then is lost.
"""

import argparse
import contextlib
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import stand
from account import Arrivals, Entry, find_losses
from faults import FAULTS, Fault
from scene import Scene

PAUSE_S = (1.0, 5.0)
DRAIN_S = 180.0


def cause(scene: Scene, fault: Fault, chance: random.Random) -> dict[str, Any]:
    """Let one fault happen and wait until the daemon has recovered; return what came of it."""
    began_s = time.time()
    try:
        recovered_s, more = fault.cause(scene, chance)
    except stand.StandError as error:
        return {"fault": fault.name, "at": began_s, "recovery_s": None, "stuck": str(error)}
    return {"fault": fault.name, "at": began_s, "recovery_s": round(recovered_s, 3), **more}


def run(args: argparse.Namespace) -> int:
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory(prefix="edge-chaos-", dir=args.folder, ignore_cleanup_errors=True) as name:
        scene = Scene(Path(name))
        possible = [fault for fault in FAULTS if scene.disk.small or not fault.needs_small_disk]
        possible = [fault for fault in possible if scene.rtsp is not None or not fault.needs_rtsp]
        faults = [fault for fault in possible if not args.only or fault.name in args.only]
        happened: list[dict[str, Any]] = []
        with scene.running(), kept_log(scene, args.log):
            end_s = time.monotonic() + args.minutes * 60
            order: list[Fault] = []
            while time.monotonic() < end_s and len(happened) < args.faults:
                if not order:  # each kind once before any comes again
                    order = chance.sample(faults, len(faults))
                time.sleep(chance.uniform(*PAUSE_S))
                happened.append(cause(scene, order.pop(), chance))
                say(happened[-1], quiet=args.quiet)
            drained_s = time.time()
            scene.wait(
                lambda: scene.is_drained() and scene.streams_since(drained_s), timeout_s=DRAIN_S, what="the rest"
            )
            status = scene.daemon.stop()
            time.sleep(1.0)
            result = reconcile(scene, slack_s=args.slack_ms / 1000)
        log = scene.daemon.log.read_text(errors="replace")
        result |= {"machine": stand.machine(), "minutes": args.minutes, "seed": args.seed, "exit_status": status}
        result |= {
            "tracebacks": log.count("Traceback"),
            "left_out": [fault.name for fault in FAULTS if fault not in possible],
        }
        result |= {"recovery_s": summary(happened), "stuck": [one for one in happened if "stuck" in one]}
    if args.ledger:
        args.ledger.write_text(json.dumps(result | {"happened": happened}, indent=1))
    report(result)
    bad = ("lost", "gaps", "repeated", "stuck", "tracebacks", "exit_status")
    return int(any(result[key] for key in bad))


@contextlib.contextmanager
def kept_log(scene: Scene, path: Path | None) -> Iterator[None]:
    """Copy the daemon's log to ``path``, however the run ends."""
    try:
        yield
    finally:
        if path is not None:
            shutil.copyfile(scene.daemon.log, path)


def reconcile(scene: Scene, *, slack_s: float) -> dict[str, Any]:
    """Account for every prediction of the ledger."""
    ledger, arrived = scene.ledger(), Arrivals(scene.arrived())
    keys = {entry.key for entry in ledger}
    acknowledged = set(scene.wire.acknowledged)
    safe = arrived.keys | acknowledged
    losses = find_losses(ledger, scene.kills, safe, slack_s=slack_s)
    runs = _starts(ledger) | _starts(arrived.entries)
    unified = Arrivals([Entry(key, runs[key], 0.0) for key in sorted(safe & runs.keys())])
    return {
        "predictions": len(ledger),
        "acknowledged": len(acknowledged),
        "arrived": len(arrived.keys),
        "duplicates": arrived.duplicates,
        "disordered": arrived.disordered,
        "kills": len(scene.kills),
        "lost": [[*key, age_ms] for key, age_ms in sorted(losses.lost.items())],
        "younger_than_the_interval": losses.too_young,
        "oldest_lost_ms": losses.oldest_lost_ms,
        "gaps": unified.gaps,
        "gaps_for_the_reader": arrived.gaps,
        "lost_by_the_broker": len(safe - arrived.keys),
        "repeated": len(ledger) - len(keys),
    }


def _starts(entries: Any) -> dict[Any, int]:
    return {entry.key: entry.seq_start for entry in entries}


def summary(happened: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return, for each kind of fault, how often it happened and how long recovery took."""
    taken: dict[str, list[float]] = defaultdict(list)
    for one in happened:
        if one["recovery_s"] is not None:
            taken[one["fault"]].append(one["recovery_s"])
    return {
        name: {
            "count": len(times),
            "p50": round(statistics.median(times), 2),
            "p95": round(sorted(times)[max(0, -(-95 * len(times) // 100) - 1)], 2),
            "max": max(times),
        }
        for name, times in sorted(taken.items())
    }


def say(one: dict[str, Any], *, quiet: bool) -> None:
    if not quiet or "stuck" in one:
        took = one.get("stuck") or f"{one['recovery_s']:.2f} s"
        more = {key: value for key, value in one.items() if key not in ("fault", "at", "recovery_s", "stuck")}
        print(f"{one['fault']:>44}: {took} {more or ''}", flush=True)


def report(result: dict[str, Any]) -> None:
    print(f"{result['minutes']:g} minutes, seed {result['seed']}")
    print(f"{'fault':>44}  times  recovery p50, p95, longest (s)")
    for name, times in result["recovery_s"].items():
        print(f"{name:>44}  {times['count']:5}  {times['p50']:.2f}, {times['p95']:.2f}, {times['max']:.2f}")
    for name in result["left_out"]:
        print(f"{name:>44}  left out: it needs root, or ffmpeg")
    print(
        f"{result['predictions']} predictions, {result['acknowledged']} acknowledged, {result['arrived']} arrived, "
        f"{result['duplicates']} more than once, {result['disordered']} out of order"
    )
    print(
        f"{result['kills']} kills of the daemon took {result['younger_than_the_interval']} younger than the interval; "
        f"the oldest lost was {result['oldest_lost_ms']:g} ms old"
    )
    print(f"acknowledged and then lost by the broker: {result['lost_by_the_broker']}")
    print(f"gaps within a run: {len(result['gaps'])}; numbers given twice: {result['repeated']}")
    print(f"no recovery: {len(result['stuck'])}; tracebacks in the log: {result['tracebacks']}")
    print(f"LOST AGAINST THE PROMISE: {len(result['lost'])}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--faults", type=int, default=sys.maxsize, metavar="N", help="stop after so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="everything as JSON")
    parser.add_argument("--log", type=Path, metavar="FILE", help="keep the daemon's log")
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    parser.add_argument("--only", action="append", choices=[f.name for f in FAULTS], metavar="FAULT", help="repeatable")
    parser.add_argument("--slack-ms", type=float, default=0.0, help="added to the interval, for a machine that is busy")
    parser.add_argument("--quiet", action="store_true", help="only the summary")
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
