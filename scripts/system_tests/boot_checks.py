"""The machine of the test ``boot`` from outside: its broker, its power, and what its disk holds when it is off.

Arguments: a folder with ``kernel``, ``first.gz``, ``disk.img`` and ``edge.toml``, and the broker's port.
"""

import os
import random
import sys
import time
from pathlib import Path

from arm_machine import Broker, Machine
from ledger import Ledger

BOOT_S = float(os.environ.get("EDGE_BOOT_PATIENCE_S", "300"))
CUTS_S = 60 * float(os.environ.get("EDGE_BOOT_MINUTES", "15"))
"""No further cut after this; what was cut until then is still checked to its end."""
CUTS = int(os.environ.get("EDGE_BOOT_CUTS", "10"))
SEED = int(os.environ.get("EDGE_SEED", "1"))
KINDS = ("publishing", "starting", "broker away", "starting")
"""What the machine is doing when its power is cut, in turn."""
MOMENT_S = {"publishing": (0.0, 10.0), "starting": (2.0, 45.0), "broker away": (5.0, 15.0)}
"""From when to when after the machine was switched on, was heard for the first time, or the broker went away."""


class Cuts:
    """One power cut after another, and what each left."""

    def __init__(self, machine: Machine, broker: Broker, chance: random.Random) -> None:
        self.machine, self.broker, self.chance = machine, broker, chance
        self.stored: set[tuple[int, int]] = set()
        self.number = 0
        self.heard = True  # the first one is switched on and heard before

    def cut(self) -> None:
        """Cut the power at a random moment, look at the card, and switch on again. Raises AssertionError."""
        kind = KINDS[self.number % len(KINDS)]
        if kind != "starting":
            self.await_run()
        if kind == "broker away":
            self.broker.stop()  # what is cut off then is in the outbox alone
        moment_s = self.chance.uniform(*MOMENT_S[kind])
        time.sleep(moment_s)
        self.machine.cut()
        if kind == "broker away":
            self.broker.start()
        self.number += 1
        print(f"        cut {self.number}: {kind}, {moment_s:.1f} s: {self._examine()}", flush=True)
        self.machine.power_on()
        self.heard = False

    def await_run(self) -> None:
        """Wait until what was switched on last publishes predictions of its own. Raises AssertionError."""
        if not self.heard:
            self.broker.wait_for_run(BOOT_S, besides={start for start, _ in self.stored})
            self.heard = True

    def _examine(self) -> str:
        state = self.machine.check_disk()
        config = self.machine.folder / "config"
        assert self.machine.file("/etc/edge-infer/config.toml", config), "the configuration is gone"
        assert config.read_bytes() == (self.machine.folder / "edge.toml").read_bytes(), "another configuration"
        found = self.machine.stored()
        self.stored |= found
        return f"{self.machine.kept}; {state}, {len(found)} in the outbox"


def main(folder: Path, port: int) -> int:
    ledger, broker = Ledger("boot"), Broker(folder, port)
    machine = Machine(folder, (folder / "disk.img",), losing=random.Random(SEED))
    cuts = Cuts(machine, broker, random.Random(SEED))

    def boots() -> str:
        began = time.monotonic()
        machine.power_on()
        broker.wait_for(1, BOOT_S)
        return f"first prediction {time.monotonic() - began:.0f} s after power-on"

    def away() -> str:
        broker.stop()
        time.sleep(10)
        broker.start()
        broker.wait_for(30, BOOT_S)
        return f"{broker.count} predictions so far"

    def power() -> str:
        began = time.monotonic()
        while cuts.number < CUTS and time.monotonic() - began < CUTS_S:
            cuts.cut()
        cuts.await_run()
        assert cuts.number == CUTS, f"{cuts.number} of {CUTS} cuts in the time there was"
        checks = "each time e2fsck, the outbox's integrity_check and the configuration; then it publishes again"
        return f"{cuts.number} cuts in {(time.monotonic() - began) / 60:.1f} minutes, seed {SEED}; {checks}"

    def nothing_lost() -> str:
        give_up = time.monotonic() + BOOT_S
        while (lost := broker.lost(cuts.stored)) and time.monotonic() < give_up:
            broker.wait_for(1, BOOT_S)
        assert not lost, f"{len(lost)} of {len(cuts.stored)} stored ones never arrived: {sorted(lost)[:3]}"
        assert cuts.stored, "no outbox held anything at a cut"
        return (
            f"{len(broker.runs)} runs, {sum(map(len, broker.runs.values()))} predictions, no gap within a run; "
            f"all {len(cuts.stored)} that an outbox held at a cut arrived"
        )

    if ledger.show("the machine boots, and the service publishes by itself", boots):
        ledger.show("the broker goes away and comes back", away)
        ledger.show("the power is cut at random moments, and the card loses what was not flushed", power)
        ledger.show("nothing that was committed is lost", nothing_lost)
    if ledger.failures:
        print(machine.said()[-1500:], file=sys.stderr)
    machine.cut()
    broker.stop()
    return ledger.end()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
