"""The machines of the test ``firstboot-arm64`` from outside: three cards that ``flash-prep`` wrote, each booted.

Arguments: a folder with ``kernel``, ``first.gz``, ``wheels`` and each card as ``NAME.img``; the ports of two brokers,
of the package index; the cards' names.
"""

import functools
import http.server
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from arm_machine import FAT_MB, ROOT_MB, Broker, CardMachine
from ledger import Ledger

INSTALL_S = float(os.environ.get("EDGE_BOOT_PATIENCE_S", "780"))
SECRET = b"not-on-the-card-any-more"
INSTALLED = "edge-infer: installed"


class Card(CardMachine):
    """A machine with one card of two partitions (`arm_card`)."""

    line = "console=ttyAMA0 root=/dev/vda2 rw panic=-1"

    def __init__(self, folder: Path, name: str) -> None:
        self.card = folder / f"{name}.img"
        super().__init__(folder, (self.card,))

    def on_fat(self) -> set[str]:
        """Return the names on the FAT partition that are ours."""
        listed = self._mtools("mdir", "-/", "-b", "::").splitlines()
        names = {name.removeprefix("::/").rstrip("/") for name in listed}
        return {name.removeprefix("edge-infer/") for name in names if name.startswith("edge-infer/")}

    def fat_text(self, name: str) -> str:
        return self._mtools("mtype", f"::/{name}")

    def _mtools(self, program: str, *words: str) -> str:
        at = ["-i", f"{self.card}@@{FAT_MB}M"]
        return subprocess.run([program, *at, *words], capture_output=True, text=True, check=True).stdout

    def holds_secret(self) -> bool:
        """Look at the FAT partition's very sectors."""
        with self.card.open("rb") as file:
            file.seek(FAT_MB << 20)
            return SECRET in file.read((ROOT_MB - FAT_MB) << 20)

    def check_no_secret(self) -> None:
        assert not self.holds_secret(), "the password is still in a sector of the FAT partition"

    def show_trouble(self) -> None:
        print(f"--- {self.card.name}: the machine's last words\n{self.said()[-2500:]}", file=sys.stderr)


def offline(folder: Path, port: int, ledger: Ledger) -> None:
    """cloud-init and every wheel on the card, no network on the first boot, one on the second."""
    card, stored = Card(folder, "offline"), set()
    assert card.holds_secret()

    def installs() -> str:
        began = time.monotonic()
        card.power_on(network=False)
        card.wait_for_words(INSTALLED, INSTALL_S)
        took = time.monotonic() - began
        time.sleep(15)
        card.cut()
        return f"{took:.0f} s after power-on, in emulation"

    def leaves_nothing() -> str:
        assert card.on_fat() == {"first-boot.log"}, card.on_fat()
        card.check_no_secret()
        state = card.check_disk()
        hostname = folder / "hostname"
        assert card.file("/etc/hostname", hostname), "there is no host name"
        assert hostname.read_text().strip() == "porch-by-imager", "what Imager wrote was not carried out"
        stored.update(card.stored())
        assert stored, "no prediction was stored"
        return (
            f"the log alone is left, no sector holds the password, Imager's host name holds, root {state}, "
            f"{len(stored)} predictions stored"
        )

    def publishes() -> str:
        broker = Broker(folder, port)
        try:
            card.power_on()
            broker.wait_for(len(stored) + 10, INSTALL_S)
            assert not broker.lost(stored)
            return f"{len(stored)} from before the cut, then {broker.count - len(stored)} more"
        finally:
            broker.stop()

    good = ledger.show("cloud-init, no network: installs from the wheels on the card, and starts", installs)
    good = good and ledger.show("the card's FAT partition keeps no secret", leaves_nothing)
    good = good and ledger.show("the power is cut; with a network it publishes what it stored", publishes)
    if not good:
        card.show_trouble()
    card.cut()


def online(folder: Path, port: int, index_port: int, ledger: Ledger) -> None:
    """cloud-init and no wheel but our own on the card; the package index cannot be reached at first."""
    card, broker = Card(folder, "online"), Broker(folder, port)
    handler = functools.partial(Quiet, directory=str(folder / "wheels"))

    def retries() -> str:
        card.power_on()
        card.wait_for_words("it is tried again", INSTALL_S)
        return "not installed yet; it is tried again"

    def installs() -> str:
        index = http.server.ThreadingHTTPServer(("127.0.0.1", index_port), handler)
        threading.Thread(target=index.serve_forever, daemon=True).start()
        card.wait_for_words(INSTALLED, INSTALL_S)
        broker.wait_for(10, INSTALL_S)
        index.shutdown()
        card.cut()
        assert card.on_fat() == {"first-boot.log"}, card.on_fat()
        card.check_no_secret()
        return f"{broker.count} predictions; no secret on the FAT partition"

    good = ledger.show("cloud-init, network, no package index: it is tried again", retries)
    good = good and ledger.show("then there is one: installs from it, starts and publishes", installs)
    if not good:
        card.show_trouble()
    card.cut()
    broker.stop()


def firstrun(folder: Path, ledger: Ledger) -> None:
    """The kernel's command line as flash-prep left it has systemd run firstrun.sh, which reboots."""
    card = Card(folder, "firstrun")

    def runs() -> str:
        line = card.fat_text("cmdline.txt")
        card.power_on(network=False, more=line[line.index("systemd.run=") :].strip())
        assert card.process is not None
        card.process.wait(INSTALL_S)
        left = card.fat_text("cmdline.txt")
        assert "systemd." not in left, left
        assert left.startswith("console=tty1 root=PARTUUID=1-02"), left
        card.check_no_secret()
        assert not {name for name in card.on_fat() if "private" in name}
        card.check_disk()
        here = folder / "taken"
        for path in ("/var/lib/edge-infer-setup/private/config.toml", "/etc/systemd/system/edge-infer-setup.service"):
            assert card.file(path, here), path
        return (
            "ran, took itself off the command line, rebooted; secrets taken, the installation waits for the next boot"
        )

    if not ledger.show("firstrun.sh, run by systemd from the kernel's command line", runs):
        card.show_trouble()
    card.cut()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


def main(folder: Path, ports: tuple[int, int], index_port: int, cards: list[str]) -> int:
    ledger = Ledger("firstboot-arm64")

    def first() -> None:
        if "firstrun" in cards:
            firstrun(folder, ledger)
        if "offline" in cards:
            offline(folder, ports[0], ledger)

    with ThreadPoolExecutor() as pool:
        running = [pool.submit(first)]
        if "online" in cards:
            running.append(pool.submit(online, folder, ports[1], index_port, ledger))
        for each in running:
            each.result()
    return ledger.end()


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[2:5]]
    sys.exit(main(Path(sys.argv[1]), (numbers[0], numbers[1]), numbers[2], sys.argv[5:]))
