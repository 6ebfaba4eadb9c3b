"""An emulated 64-bit Arm machine (QEMU ``virt``), its broker outside, and what its disk holds when it is off."""

import json
import random
import sqlite3
import subprocess
import threading
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import card_cache
import paho.mqtt.client as mqtt

FAT_MB, ROOT_MB = 1, 257
"""Where the partitions of a card begin (`arm_card` in arm_image.sh)."""
CONSOLE = "systemd.journald.forward_to_console=1 systemd.show_status=false"
SOONER = "modprobe.blacklist=cfg80211,drm mitigations=off lsm=capability audit=0"
"""Seconds each in emulation, and nothing that is asked about."""


class Broker:
    """mosquitto on this machine, and everything that a listener heard from it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.config = folder / f"broker-{port}.conf"
        self.config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        self.runs: dict[int, dict[int, str]] = defaultdict(dict)
        self.arrived = threading.Condition()
        self.count = 0
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(["mosquitto", "-c", str(self.config)], stderr=subprocess.DEVNULL)
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_rest: client.subscribe("edge-infer/porch/demo0/prediction", qos=1)
        self.client.on_message = self._heard
        self.client.connect_async("127.0.0.1", self.port)
        self.client.loop_start()

    def stop(self) -> None:
        self.client.loop_stop()
        self.client.disconnect()
        self.process.terminate()
        self.process.wait()

    def _heard(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        value = json.loads(message.payload)
        with self.arrived:
            self.runs[value["seq_start"]][value["seq"]] = value["captured_at"]
            self.count += 1
            self.arrived.notify_all()

    def wait_for(self, more: int, seconds: float) -> None:
        with self.arrived:
            wanted = self.count + more
            assert self.arrived.wait_for(lambda: self.count >= wanted, seconds), f"nothing in {seconds:g} s"

    def wait_for_run(self, seconds: float, *, besides: set[int]) -> None:
        """Wait for a run that is new and none of ``besides``, whose messages an outbox may send yet."""
        with self.arrived:
            known = set(self.runs) | besides
            assert self.arrived.wait_for(lambda: set(self.runs) - known, seconds), f"no new run in {seconds:g} s"

    def lost(self, stored: set[tuple[int, int]]) -> set[tuple[int, int]]:
        """Return what was in an outbox and has not arrived; raises AssertionError for a gap within a run."""
        with self.arrived:
            runs = {start: set(heard) for start, heard in self.runs.items()}
        for start, heard in runs.items():
            missing = set(range(start, max(heard) + 1)) - heard
            assert not missing, f"run {start}: {len(missing)} missing, first {min(missing)}"
        return {(start, seq) for start, seq in stored if seq not in runs.get(start, ())}


class Machine:
    """QEMU; its power is cut by ending it at once. ``folder`` holds ``kernel``, ``first.gz`` and the disks.

    With ``losing`` the first disk is a card that loses at a cut what was not flushed, see `card_cache`.
    """

    def __init__(self, folder: Path, disks: tuple[Path, ...], *, losing: random.Random | None = None) -> None:
        self.folder = folder
        self.disks = disks
        self.losing = losing
        self.kept = ""
        self.boots = 0
        self.process: subprocess.Popen[bytes] | None = None

    def power_on(self, *, network: bool = True, more: str = "") -> None:
        self.boots += 1
        words = ["qemu-system-aarch64", "-accel", "tcg,thread=multi", "-display", "none", "-monitor", "none"]
        words += ["-no-reboot", "-kernel", f"{self.folder}/kernel", "-initrd", f"{self.folder}/first.gz"]
        words += [*self.board(network=network), "-append", f"{self.line} {CONSOLE} {SOONER} {more}".strip()]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    line = "console=ttyAMA0 root=/dev/vda rw panic=-1"
    """What the kernel is told."""

    def board(self, *, network: bool) -> list[str]:
        """Return QEMU's words for the machine: processor, memory, disks, network and where its console goes."""
        words = ["-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024", "-serial", f"file:{self.console}"]
        for number, disk in enumerate(self.disks):
            if self.losing is not None and number == 0:
                words += card_cache.drive(disk, "disk0")
                continue
            words += ["-drive", f"file={disk},format=raw,if=none,id=disk{number},cache=writeback"]
            words += ["-device", f"virtio-blk-pci,drive=disk{number}"]
        if network:
            return [*words, "-netdev", "user,id=network", "-device", "virtio-net-pci,netdev=network"]
        return [*words, "-nic", "none"]

    @property
    def console(self) -> Path:
        return self.disks[0].with_name(f"{self.disks[0].stem}-console-{self.boots}.log")

    @property
    def root(self) -> str:
        """Where e2fsprogs finds the root's file system."""
        return str(self.disks[0])

    def said(self) -> str:
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def wait_for_words(self, words: str, seconds: float) -> None:
        give_up = time.monotonic() + seconds
        while words not in self.said():
            assert time.monotonic() < give_up, f"it did not say {words!r} in {seconds:g} s"
            assert self.process is not None
            assert self.process.poll() is None, f"it went off before it said {words!r}"
            time.sleep(0.5)

    def cut(self) -> None:
        """Cut its power; what that left on a losing card is then said in ``kept``."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process = None
        if self.losing is not None:
            self.kept = card_cache.cut(self.disks[0], self.losing).said()

    def file(self, path: str, to: Path) -> bool:
        """Copy a file of the root's disk to here; tell whether it is there."""
        to.unlink(missing_ok=True)
        subprocess.run(["debugfs", "-R", f"dump {path} {to}", self.root], capture_output=True, check=True)
        return to.exists()

    def check_disk(self) -> str:
        """Check the root's file system as the next boot would."""
        return self.check(self.root)

    @staticmethod
    def check(file: str) -> str:
        words = ["e2fsck", "-f", "-p", file]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), f"e2fsck says {done.returncode}: {done.stdout[-300:]}"
        return "clean" if done.returncode == 0 else "repaired by its journal"

    def stored(self) -> set[tuple[int, int]]:
        """Return what the outbox holds, see `outbox_predictions`."""
        place, here = "/var/lib/edge-infer/outbox.sqlite", self.disks[0].with_suffix(".outbox")
        self.file(f"{place}-wal", here.with_name(f"{here.name}-wal"))
        here.with_name(f"{here.name}-shm").unlink(missing_ok=True)
        self.file(place, here)
        return outbox_predictions(here)


class CardMachine(Machine):
    """A machine whose first disk is a card of two partitions (`arm_card` in arm_image.sh)."""

    @property
    def root(self) -> str:
        return f"{self.disks[0]}?offset={ROOT_MB << 20}"

    def check_disk(self) -> str:
        """Check the root's partition, in a file of its own: e2fsck forgets its offset once it has read the journal."""
        card, root = self.disks[0], self.disks[0].with_suffix(".root")
        copy = ["dd", "bs=1M", "status=none"]
        subprocess.run([*copy, f"if={card}", f"of={root}", f"skip={ROOT_MB}", "conv=sparse"], check=True)
        try:
            state = self.check(str(root))
            subprocess.run([*copy, f"if={root}", f"of={card}", f"seek={ROOT_MB}", "conv=notrunc"], check=True)
        finally:
            root.unlink()
        return state


def outbox_predictions(path: Path) -> set[tuple[int, int]]:
    """Return ``(seq_start, seq)`` of every prediction in an outbox, and check that it is whole; empty without one."""
    if not path.exists():
        return set()
    with closing(sqlite3.connect(path)) as outbox:
        verdict = outbox.execute("PRAGMA integrity_check").fetchone()[0]
        rows = outbox.execute("SELECT payload FROM message WHERE topic LIKE '%/prediction'").fetchall()
    assert verdict == "ok", verdict
    values = [json.loads(payload) for (payload,) in rows]
    return {(value["seq_start"], value["seq"]) for value in values}
