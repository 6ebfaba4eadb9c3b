"""The containers of the test ``firstboot`` from outside: three cards that ``flash-prep`` wrote, each booted.

Arguments: a folder with ``root`` (Debian), ``wheels`` and for each card ``NAME/boot``; the ports of the broker and
of the package index.
"""

import functools
import http.server
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from arm_machine import Broker, outbox_predictions
from ledger import Ledger

PATIENCE_S = float(os.environ.get("EDGE_BOOT_PATIENCE_S", "300"))
SECRET = b"not-on-the-card-any-more"
INSTALLED = "edge-infer: installed"
_BOOT = """
set -e
mkdir -p /run/systemd/nspawn && mount -t tmpfs none /run/systemd/nspawn
! mountpoint -q /sys/fs/cgroup || umount -l /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount -t overlay none -o "lowerdir=$1/root,upperdir=$2/upper,workdir=$2/work" "$2/root"
card=$2; shift 2
exec systemd-nspawn --register=no --keep-unit --quiet --boot --directory="$card/root" --machine=porch \
  --bind="$card/boot:/boot/firmware" --console=read-only "$@"
"""


class Card:
    """A container over Debian whose own changes and boot partition are folders; its power is cut by SIGKILL."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.here = folder, folder / name
        self.boot, self.changes = self.here / "boot", self.here / "upper"
        for part in ("upper", "work", "root"):
            (self.here / part).mkdir()
        self.boots = 0
        self.process: subprocess.Popen[bytes] | None = None

    def power_on(self, *, network: bool, line: str = "") -> None:
        self.boots += 1
        words = [] if network else ["--private-network"]
        words += ["systemd.journald.forward_to_console=1", *line.split()]
        script = ["unshare", "--mount", "--propagation", "private", "bash", "-c", _BOOT, "boot"]
        with self.console.open("wb") as console:
            self.process = subprocess.Popen(
                [*script, str(self.folder), str(self.here), *words],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )

    @property
    def console(self) -> Path:
        return self.here / f"console-{self.boots}.log"

    def said(self) -> str:
        return self.console.read_text(errors="replace") if self.boots else ""

    def wait_for_words(self, words: str) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while words not in self.said():
            assert time.monotonic() < give_up, f"it did not say {words!r} in {PATIENCE_S:g} s"
            assert self.process is not None
            assert self.process.poll() is None, f"it went off before it said {words!r}"
            time.sleep(0.2)

    def cut(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stored(self) -> set[tuple[int, int]]:
        return outbox_predictions(self.changes / "var/lib/edge-infer/outbox.sqlite")

    def check_clean(self) -> None:
        """Nothing of ours is left on the boot partition but the log, and no file holds the password."""
        left = sorted(path.name for path in (self.boot / "edge-infer").iterdir())
        assert left == ["first-boot.log"], left
        for path in self.boot.rglob("*"):
            assert not path.is_file() or SECRET not in path.read_bytes(), f"{path.name} holds the password"
        setup = self.changes / "var/lib/edge-infer-setup"
        assert sorted(path.name for path in setup.iterdir()) == ["done", "install.log"]


def fits_schema(folder: Path) -> str:
    """Ask cloud-init's schema; ``enable_ssh``, which Imager writes, is known to Raspberry Pi OS's cloud-init alone."""
    lines = (folder / "offline/boot/user-data").read_text().splitlines()
    (folder / "root/user-data").write_text(
        "\n".join(line for line in lines if not line.startswith("enable_ssh:")) + "\n"
    )
    words = ["chroot", str(folder / "root"), "cloud-init", "schema", "--config-file", "/user-data"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def offline(card: Card, broker: Broker, ledger: Ledger) -> bool:
    """cloud-init and every wheel on the card, no network on the first boot, one on the second."""
    stored: set[tuple[int, int]] = set()

    def installs() -> str:
        began = time.monotonic()
        card.power_on(network=False)
        card.wait_for_words(INSTALLED)
        took = time.monotonic() - began
        time.sleep(8)
        card.cut()
        hostname = (card.changes / "etc/hostname").read_text().strip()
        assert hostname == "porch-by-imager", f"what Imager wrote was not carried out: {hostname}"
        return f"{took:.0f} s after its start; Imager's host name holds"

    def leaves_nothing() -> str:
        card.check_clean()
        stored.update(card.stored())
        assert stored, "no prediction was stored"
        return f"the log alone is left, {len(stored)} predictions stored"

    def publishes() -> str:
        before = broker.count
        card.power_on(network=True)
        broker.wait_for(len(stored) + 10, PATIENCE_S)
        lost = broker.lost(stored)
        assert not lost, f"{len(lost)} lost"
        return f"{len(stored)} from before the cut, then {broker.count - before - len(stored)} more"

    good = ledger.show("cloud-init, no network: installs from the wheels on the card, and starts", installs)
    good = good and ledger.show("the boot partition keeps no secret", leaves_nothing)
    return good and ledger.show("the power is cut; with a network it publishes what it stored", publishes)


def online(card: Card, broker: Broker, ledger: Ledger, index_port: int) -> bool:
    """cloud-init and no wheel but our own on the card; the package index cannot be reached at first."""
    handler = functools.partial(Wheels, directory=str(card.folder / "wheels"))

    def retries() -> str:
        card.power_on(network=True)
        card.wait_for_words("it is tried again")
        assert (card.changes / "var/lib/edge-infer-setup/private/config.toml").stat().st_mode & 0o077 == 0
        return "not installed yet, and the secrets are root's alone"

    def installs() -> str:
        index = http.server.ThreadingHTTPServer(("127.0.0.1", index_port), handler)
        threading.Thread(target=index.serve_forever, daemon=True).start()
        card.wait_for_words(INSTALLED)
        broker.wait_for(10, PATIENCE_S)
        card.check_clean()
        return "10 predictions arrived; no secret on the boot partition"

    good = ledger.show("cloud-init, network, no package index: it is tried again", retries)
    return good and ledger.show("then there is one: installs from it, starts and publishes", installs)


def firstrun(card: Card, broker: Broker, ledger: Ledger) -> bool:
    """The command line as flash-prep left it has systemd run firstrun.sh; a container is switched off for a reboot."""

    def runs() -> str:
        line = (card.boot / "cmdline.txt").read_text()
        words = line[line.index("systemd.run=") :].strip()
        card.power_on(network=True, line=words.replace("=reboot", "=poweroff"))
        assert card.process is not None
        card.process.wait(PATIENCE_S)
        left = (card.boot / "cmdline.txt").read_text()
        assert "systemd." not in left, left
        assert not (card.boot / "firstrun.sh").exists()
        assert not list((card.boot / "edge-infer").glob("private*"))
        return "ran, removed itself and its words, took the secrets"

    def installs() -> str:
        card.power_on(network=True)
        card.wait_for_words(INSTALLED)
        broker.wait_for(10, PATIENCE_S)
        card.check_clean()
        return "10 predictions arrived; no secret on the boot partition"

    good = ledger.show("firstrun.sh, run by systemd from the kernel's command line", runs)
    return good and ledger.show("the boot after it installs, starts and publishes", installs)


class Wheels(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


def main(folder: Path, port: int, index_port: int) -> int:
    ledger, broker = Ledger("firstboot"), Broker(folder, port)
    ledger.show("cloud-init's schema has nothing against user-data", lambda: fits_schema(folder))
    for name, check in (
        ("offline", offline),
        ("online", lambda *parts: online(*parts, index_port)),
        ("firstrun", firstrun),
    ):
        card = Card(folder, name)
        if not check(card, broker, ledger):
            print(f"--- {name}: the last words\n{card.said()[-2500:]}", file=sys.stderr)
        card.cut()
    broker.stop()
    return ledger.end()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
