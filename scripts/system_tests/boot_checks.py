"""The machine of the test ``boot`` from outside: its broker, its power, and what its disk holds when it is off.

Arguments: a folder with ``kernel``, ``first.gz`` and ``disk.img``, and the broker's port.
"""

import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as mqtt

BOOT_S = float(os.environ.get("EDGE_BOOT_PATIENCE_S", "300"))
CUTS = int(os.environ.get("EDGE_BOOT_CUTS", "10"))
SEED = int(os.environ.get("EDGE_SEED", "1"))
failures = 0


def show(sentence: str, check: Callable[[], str]) -> None:
    global failures  # noqa: PLW0603 - one ledger
    try:
        detail = check()
    except (AssertionError, OSError, subprocess.SubprocessError, sqlite3.Error, ValueError) as error:
        failures += 1
        print(f"FAILED  {sentence}: {type(error).__name__}: {error}", flush=True)
    else:
        print(f"shown   {sentence} ({detail})", flush=True)


class Broker:
    """mosquitto on this machine, and everything that a listener heard from it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.config = folder / "broker.conf"
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


class Machine:
    """QEMU; its power is cut by ending it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.boots = 0
        self.stored: set[tuple[int, int]] = set()
        """``(seq_start, seq)`` of every prediction that an outbox held when the power was cut."""

    def power_on(self) -> None:
        self.boots += 1
        disk = f"file={self.folder}/disk.img,format=raw,if=none,id=disk,cache=writeback"
        words = ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024"]
        words += ["-accel", "tcg,thread=multi", "-display", "none", "-monitor", "none", "-no-reboot"]
        words += ["-kernel", f"{self.folder}/kernel", "-initrd", f"{self.folder}/first.gz"]
        words += ["-append", "console=ttyAMA0 root=/dev/vda rw panic=-1 systemd.journald.forward_to_console=1"]
        words += ["-drive", disk, "-device", "virtio-blk-pci,drive=disk"]
        words += ["-netdev", "user,id=network", "-device", "virtio-net-pci,netdev=network"]
        words += ["-serial", f"file:{self.console}"]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @property
    def console(self) -> Path:
        return self.folder / f"console-{self.boots}.log"

    def cut(self) -> None:
        self.process.kill()
        self.process.wait()

    def examine(self) -> str:
        """Check the file system as the next boot would, and read the outbox and the configuration from it."""
        image = str(self.folder / "disk.img")
        done = subprocess.run(["e2fsck", "-f", "-p", image], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), f"e2fsck says {done.returncode}: {done.stdout[-300:]}"
        for place, name in (
            ("etc/edge-infer/config.toml", "config"),
            ("var/lib/edge-infer/outbox.sqlite", "outbox.db"),
        ):
            subprocess.run(
                ["debugfs", "-R", f"dump /{place} {self.folder}/{name}", image], capture_output=True, check=True
            )
        subprocess.run(
            ["debugfs", "-R", f"dump /var/lib/edge-infer/outbox.sqlite-wal {self.folder}/outbox.db-wal", image],
            capture_output=True,
            check=True,
        )
        assert (self.folder / "config").read_bytes() == (self.folder / "edge.toml").read_bytes(), (
            "another configuration"
        )
        if not (self.folder / "outbox.db").exists():
            return "clean, no outbox yet"
        with sqlite3.connect(self.folder / "outbox.db") as outbox:
            said = outbox.execute("PRAGMA integrity_check").fetchone()[0]
            rows = outbox.execute("SELECT payload FROM message WHERE topic LIKE '%/prediction'").fetchall()
        assert said == "ok", said
        values = [json.loads(payload) for (payload,) in rows]
        self.stored.update((value["seq_start"], value["seq"]) for value in values)
        return f"{'clean' if done.returncode == 0 else 'repaired by its journal'}, {len(rows)} stored"


def main(folder: Path, port: int) -> int:
    broker, machine, chance = Broker(folder, port), Machine(folder), random.Random(SEED)

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
        return f"{broker.count} predictions so far, none missing"

    def cuts() -> str:
        moments = []
        for number in range(CUTS):
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
            moments.append(f"{kind} {moment_s:.1f} s: {machine.examine()}")
            print(f"        cut {number + 1}: {moments[-1]}", flush=True)
            machine.power_on()
        broker.wait_for(20, BOOT_S)
        return f"e2fsck, the outbox's integrity_check and the configuration each time, seed {SEED}"

    def nothing_lost() -> str:
        for start, heard in broker.runs.items():
            missing = set(range(start, max(heard) + 1)) - set(heard)
            assert not missing, f"run {start}: {len(missing)} missing, first {min(missing)}"
        lost = {(start, seq) for start, seq in machine.stored if seq not in broker.runs.get(start, {})}
        assert not lost, f"{len(lost)} of {len(machine.stored)} stored ones never arrived: {sorted(lost)[:3]}"
        total = sum(map(len, broker.runs.values()))
        return (
            f"{len(broker.runs)} runs, {total} predictions, no gap within a run; "
            f"all {len(machine.stored)} that were stored at a cut arrived"
        )

    show("the machine boots, and the service publishes by itself", boots)
    if not failures:
        show("the broker goes away and comes back", away)
        show(f"the power is cut {CUTS} times", cuts)
        show("nothing that was committed is lost", nothing_lost)
    if failures and machine.console.exists():
        print(machine.console.read_text(errors="replace")[-1500:], file=sys.stderr)
    machine.cut()
    broker.stop()
    print("boot: everything was shown" if not failures else f"boot: {failures} not shown", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
