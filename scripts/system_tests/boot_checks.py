"""The machine of the test ``boot`` from outside: its broker, its power, and what its disk holds when it is off.

Arguments: a folder with ``kernel``, ``first.gz``, ``disk.img`` and ``edge.toml``, and the broker's port.
"""

import os
import random
import sys
import time
from pathlib import Path

from arm_machine import Broker, Ledger, Machine

BOOT_S = float(os.environ.get("EDGE_BOOT_PATIENCE_S", "300"))
CUTS_S = 60 * float(os.environ.get("EDGE_BOOT_MINUTES", "15"))
"""No further cut after this; what was cut until then is still checked to its end."""
CUTS = int(os.environ.get("EDGE_BOOT_CUTS", "10"))
SEED = int(os.environ.get("EDGE_SEED", "1"))


def examine(machine: Machine, stored: set[tuple[int, int]]) -> str:
    """Check what a cut left on the disk, and note in ``stored`` what its outbox holds."""
    state = machine.check_disk()
    config = machine.folder / "config"
    assert machine.file("/etc/edge-infer/config.toml", config), "the configuration is gone"
    assert config.read_bytes() == (machine.folder / "edge.toml").read_bytes(), "another configuration"
    found = machine.stored()
    stored |= found
    return f"{state}, {len(found)} stored"


def main(folder: Path, port: int) -> int:
    broker, machine = Broker(folder, port), Machine(folder, (folder / "disk.img",))
    ledger, chance, stored = Ledger(), random.Random(SEED), set()

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

    def cuts() -> str:
        began, number = time.monotonic(), 0
        while number < CUTS and time.monotonic() - began < CUTS_S:
            kind = ("publishing", "broker away", "starting")[number % 3]
            if kind != "starting":
                broker.wait_for(1, BOOT_S)
            if kind == "broker away":
                broker.stop()  # what is cut off then is in the outbox alone
            moment_s = chance.uniform(2, 60 if kind == "starting" else 15)
            time.sleep(moment_s)
            machine.cut()
            if kind == "broker away":
                broker.start()
            number += 1
            print(f"        cut {number}: {kind}, {moment_s:.1f} s: {examine(machine, stored)}", flush=True)
            machine.power_on()
        assert number, "no cut in the time there was"
        broker.wait_for(20, BOOT_S)
        checks = "e2fsck, the outbox's integrity_check and the configuration each time"
        return f"{number} of {CUTS} cuts, seed {SEED}; {checks}"

    def nothing_lost() -> str:
        give_up = time.monotonic() + BOOT_S
        while (lost := broker.lost(stored)) and time.monotonic() < give_up:
            broker.wait_for(1, BOOT_S)
        assert not lost, f"{len(lost)} of {len(stored)} stored ones never arrived: {sorted(lost)[:3]}"
        return (
            f"{len(broker.runs)} runs, {sum(map(len, broker.runs.values()))} predictions, no gap within a run; "
            f"all {len(stored)} that were stored at a cut arrived"
        )

    if ledger.show("the machine boots, and the service publishes by itself", boots):
        ledger.show("the broker goes away and comes back", away)
        ledger.show("the power is cut at random moments", cuts)
        ledger.show("nothing that was committed is lost", nothing_lost)
    if ledger.failures:
        print(machine.said()[-1500:], file=sys.stderr)
    machine.cut()
    broker.stop()
    print("boot: everything was shown" if not ledger.failures else f"boot: {ledger.failures} not shown", flush=True)
    return 1 if ledger.failures else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
