"""Kill -9 the real command again and again while the broker is away, then see whether all that was committed arrives.

    scripts/kills 200 --seed 1                 the kernel keeps what was written
    scripts/kills 200 --power-cut nothing      every write since the last fsync is thrown away
    scripts/kills 200 --power-cut some         some of those writes, block by block, as the seed decides
    scripts/kills 20 --power-cut nothing --weak NORMAL   with an outbox that synchronises less: must lose messages

After each kill the outbox is read from a copy. What another reader of it saw committed just before the kill must be in
it, what was in it after the kill before, and everything in the ``--jsonl`` ledger that was handed over more than 0.1 s
before the kill (``--slack-ms inf`` leaves this one out, for a machine that is too busy for it). At the end a broker is
started and all of it must arrive there, and no number may have been given twice. Exit status 1 for any loss (with
``--weak``: for none).
"""

import argparse
import contextlib
import json
import math
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import stand
from account import DISCONNECTED_S, Arrivals, Entry, Key, Kill, Losses, entry_of, find_losses, read_ledger
from powercut import PowerCut

FPS = 30.0
LONGEST_S = 2.0
START_S = 60.0


def stored(state: Path, scratch: Path) -> tuple[set[int], set[Key]]:
    """Return what the outbox holds, read from a copy as the next start would read it: rows, and predictions."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for path in state.glob("outbox.sqlite*"):
        shutil.copyfile(path, scratch / path.name)
    if not (scratch / "outbox.sqlite").exists():
        return set(), set()
    db = sqlite3.connect(scratch / "outbox.sqlite")
    try:
        rows = list(db.execute("SELECT id, payload FROM message ORDER BY id"))
    except sqlite3.DatabaseError as error:  # what a cut left of it; the daemon sets it aside, and it counts as lost
        if "no such table" not in str(error):  # killed before it was made
            print(f"the outbox cannot be read: {error}", file=sys.stderr)
        return set(), set()
    finally:
        db.close()
    return {row for row, _ in rows}, {entry.key for _, payload in rows if (entry := entry_of(payload))}


def visible(state: Path) -> set[int]:
    """Return the rows that the running daemon has committed, as any other reader of its outbox sees them."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{state / 'outbox.sqlite'}?mode=ro", uri=True)) as db:
            return {row for (row,) in db.execute("SELECT id FROM message")}
    except sqlite3.OperationalError:  # not there yet
        return set()


def run_once(
    daemon: stand.Daemon, ledger: Path, state: Path, chance: random.Random, *, after_commits: set[int] | None
) -> tuple[float, set[int]]:
    """Start the daemon and kill it at a random moment, mostly after its first prediction.

    With ``after_commits``, the rows there were before, only after it has committed another one, however long that
    takes. Return the wall time, and the rows that were committed just before.
    """
    size = ledger.stat().st_size if ledger.exists() else 0
    daemon.start()
    if after_commits is not None:
        stand.wait_until(lambda: visible(state) - after_commits, timeout_s=START_S, what="a commit")
        time.sleep(chance.uniform(0.0, LONGEST_S))
    elif chance.random() < 0.9:
        stand.wait_until(lambda: ledger.exists() and ledger.stat().st_size > size, timeout_s=START_S, what="a line")
        time.sleep(chance.uniform(0.0, LONGEST_S))
    else:
        time.sleep(chance.uniform(0.0, 1.0))
    committed = visible(state)
    at_s = time.time()
    daemon.kill()
    return at_s, committed


def drain(daemon: stand.Daemon, broker: Any) -> list[Entry]:
    """Start the broker and the daemon; return what arrives, in order, until nothing waits any more."""
    broker.start()
    record = stand.Record(broker.port)
    daemon.start()

    def is_drained() -> bool:
        stats = record.latest("stats")
        return bool(stats) and stats["broker"]["connected"] and stats["outbox"]["bytes"] == 0

    stand.wait_until(is_drained, timeout_s=300, what="an empty outbox")
    daemon.stop()
    time.sleep(0.5)
    record.close()
    return [
        entry for _, topic, payload in record.messages if topic.endswith("/prediction") and (entry := entry_of(payload))
    ]


def run(args: argparse.Namespace) -> int:
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory(prefix="edge-kills-", dir=args.folder) as name:
        folder = Path(name)
        state, ledger = folder / "state", folder / "ledger.jsonl"
        broker = stand.broker(folder / "broker")
        source = {"type": "demo", "fps": FPS}
        config = stand.write_config(
            folder / "kills.toml", broker_url=broker.url, sources=[source], publish={"jsonl": str(ledger)}
        )
        power = PowerCut(folder, state) if args.power_cut else None
        words = (str(Path(__file__).with_name("weak.py")), args.weak) if args.weak else ()
        environment = {} if power is None else power.environment
        daemon = stand.Daemon(folder, config, state=state, words=words, **environment)
        with stand.ended(daemon, broker):
            rounds = Rounds(folder, state, ledger)
            for _ in range(args.count):
                after_commits = rounds.rows if math.isinf(args.slack_ms) else None
                killed_s, committed = run_once(daemon, ledger, state, chance, after_commits=after_commits)
                if power is not None:
                    power.cut(chance if args.power_cut == "some" else None)
                rounds.look(killed_s, committed, slack_s=args.slack_ms / 1000)
            arrived = Arrivals(drain(daemon, broker))
        result = rounds.result(arrived, slack_s=args.slack_ms / 1000)
    result = {"machine": stand.machine(), "seed": args.seed, "power_cut": args.power_cut, "weak": args.weak} | result
    if args.ledger:
        args.ledger.write_text(json.dumps(result, indent=1))
    report(result)
    failed = bool(result["lost"] or result["rows_gone_after_kills"] or result["repeated"] or result["gaps"])
    return int(failed != bool(args.weak))


class Rounds:
    """Compares the outbox with the ledger after each kill, and what arrived with both at the end."""

    def __init__(self, folder: Path, state: Path, ledger: Path) -> None:
        self._folder, self._state, self._ledger = folder, state, ledger
        self.rows: set[int] = set()
        """What the outbox held after the last kill."""
        self._kills: list[Kill] = []
        self._before: set[Key] = set()
        self._ever: set[Key] = set()
        self._checked = 0
        self._committed = self._uncommitted = 0
        self._vanished: set[Key] = set()
        self._losses = Losses()

    def look(self, killed_s: float, committed: set[int], *, slack_s: float) -> None:
        kill = Kill(killed_s, DISCONNECTED_S)
        self._kills.append(kill)
        self.rows, now = stored(self._state, self._folder / "copy")
        self._committed += len(committed)
        self._uncommitted += len(committed - self.rows)
        self._vanished |= self._before - now
        entries = read_ledger(self._ledger)
        losses = find_losses(entries[self._checked :], [kill], now, slack_s=slack_s)
        self._checked = len(entries)
        self._losses.lost |= losses.lost
        self._losses.too_young += losses.too_young
        self._losses.oldest_lost_ms = max(self._losses.oldest_lost_ms, losses.oldest_lost_ms)
        self._before = now
        self._ever |= now

    def result(self, arrived: Arrivals, *, slack_s: float) -> dict[str, Any]:
        entries = read_ledger(self._ledger)
        late = find_losses(entries, self._kills, arrived.keys, slack_s=slack_s)
        vanished = self._vanished | (self._ever - arrived.keys)
        lost = dict.fromkeys(vanished, math.inf) | late.lost | self._losses.lost
        return {
            "kills": len(self._kills),
            "predictions": len(entries),
            "repeated": len(entries) - len({entry.key for entry in entries}),
            "committed": len(self._ever),
            "rows_committed_at_kills": self._committed,
            "rows_gone_after_kills": self._uncommitted,
            "arrived": len(arrived.keys),
            "duplicates": arrived.duplicates,
            "disordered": arrived.disordered,
            "gaps": arrived.gaps,
            "younger_than_the_interval": self._losses.too_young,
            "oldest_lost_ms": self._losses.oldest_lost_ms,
            "lost_after_it_was_committed": len(vanished),
            "lost": [[*key, age_ms] for key, age_ms in sorted(lost.items())],
        }


def report(result: dict[str, Any]) -> None:
    how = {None: "the kernel goes on", "nothing": "unsynchronised writes gone", "some": "unsynchronised writes torn"}
    weak = f", synchronous={result['weak']}" if result["weak"] else ""
    print(f"{result['kills']} kills, {how[result['power_cut']]}{weak}")
    print(f"{result['predictions']} predictions, {result['committed']} in the outbox, {result['arrived']} arrived")
    print(
        f"duplicates {result['duplicates']}, out of order {result['disordered']}, gaps {len(result['gaps'])}, "
        f"numbers given twice {result['repeated']}"
    )
    print(f"lost within the interval (allowed): {result['younger_than_the_interval']}")
    print(f"the oldest lost was {result['oldest_lost_ms']:g} ms old, {DISCONNECTED_S * 1000:g} are allowed")
    print(
        f"lost after it was committed: {result['lost_after_it_was_committed']}; of {result['rows_committed_at_kills']} "
        f"rows that a reader saw just before the kills {result['rows_gone_after_kills']} were gone after them"
    )
    print(f"lost against the promise: {len(result['lost'])}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", nargs="?", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--power-cut", choices=("nothing", "some"), help="what the disk has of unsynchronised writes")
    parser.add_argument("--weak", choices=("OFF", "NORMAL"), help="what the outbox does instead of synchronous=FULL")
    parser.add_argument("--slack-ms", type=float, default=0.0, help="added to the interval, for a machine that is busy")
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="everything as JSON")
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
