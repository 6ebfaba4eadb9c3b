"""QEMU's Pi 3 B of the test ``raspi3b`` from outside: its broker, its power, and what its card holds when it is off.

Arguments: a folder with ``kernel``, ``first.gz``, ``board.dtb``, ``card.img`` and ``edge.toml``, and the broker's port.
"""

import os
import re
import sys
import time
from pathlib import Path

from arm_machine import Broker, CardMachine
from ledger import Ledger

BOOT_S = float(os.environ.get("EDGE_BOOT_PATIENCE_S", "840"))


class Pi3(CardMachine):
    """A Pi 3 B: four Cortex-A53, 1 GB, an SD card, and a network behind its USB."""

    line = "console=ttyS1,115200 root=/dev/mmcblk0p2 rw rootwait panic=-1"

    def board(self, *, network: bool) -> list[str]:
        words = ["-M", "raspi3b", "-m", "1G", "-smp", "4", "-dtb", f"{self.folder}/board.dtb"]
        words += ["-drive", f"file={self.disks[0]},format=raw,if=sd,cache=writeback"]
        # The first UART is the Bluetooth chip's; the second, the small one, is the console.
        words += ["-serial", "null", "-serial", f"file:{self.console}"]
        if network:
            words += ["-netdev", "user,id=network", "-device", "usb-net,netdev=network"]
        return words


def main(folder: Path, port: int) -> int:
    ledger, broker = Ledger("raspi3b"), Broker(folder, port)
    machine, stored = Pi3(folder, (folder / "card.img",)), set()

    def boots() -> str:
        began = time.monotonic()
        machine.power_on()
        machine.wait_for_words("edge-infer: installed", BOOT_S)
        took = time.monotonic() - began
        model = re.search(r"Machine model: (.*?)\r?\n", machine.said())
        assert model, "the kernel does not say which machine it runs on"
        return f"{model[1]}, installed {took:.0f} s after power-on"

    def publishes() -> str:
        broker.wait_for(20, BOOT_S)
        return f"{broker.count} predictions over USB"

    def survives() -> str:
        broker.stop()
        time.sleep(20)
        machine.cut()
        broker.start()
        state = machine.check_disk()
        stored.update(machine.stored())
        assert stored, "the outbox on the card is empty"
        machine.power_on()
        broker.wait_for_run(BOOT_S, besides={start for start, _ in stored})
        lost = broker.lost(stored)
        assert not lost, f"{len(lost)} of {len(stored)} never arrived"
        return f"root {state}; {len(stored)} in the outbox on the card arrived, and it publishes again"

    good = ledger.show("the machine boots from flash-prep's card, and installs from it", boots)
    good = good and ledger.show("predictions arrive at a broker outside", publishes)
    good = good and ledger.show("the power is cut with the broker away, and nothing that was stored is lost", survives)
    if not good:
        print(machine.said()[-3000:], file=sys.stderr)
    machine.cut()
    broker.stop()
    return ledger.end()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
