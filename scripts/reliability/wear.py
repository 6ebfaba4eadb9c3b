"""What the state directory costs a card: bytes written per message, with the broker there and with it away.

    scripts/wear --minutes 2 --rate 10          as root, for the loop device

The state directory lies on an ext4 file system of its own in a loop device, whose counter of written sectors
(/sys/block/*/stat) has everything that the card would get: data, journal, metadata. ``write_bytes`` of the process
(proc(5)) is beside it. Each phase is followed by a sync, and its own messages are counted.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import stand
from account import read_ledger

SECTOR_BYTES = 512
DAY_S = 86_400


@contextlib.contextmanager
def card(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Mount an empty ext4 file system; give its folder and the counters of its device."""
    image, mounted = folder / "card.img", folder / "card"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(512 * 2**20)
    if not stand.keep_mounts_private():
        raise SystemExit("a file system can be mounted only by root")
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    command = ["losetup", "--find", "--show", str(image)]
    device = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        subprocess.run(["mount", "-o", "noatime", device, mounted], check=True)
        try:
            yield mounted, Path("/sys/block") / Path(device).name / "stat"
        finally:
            subprocess.run(["umount", mounted], check=True)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


class Counters:
    """What was written to the card, by the device's count and by the process's."""

    def __init__(self, daemon: stand.Daemon, mounted: Path, device: Path) -> None:
        self._daemon, self._mounted, self._device = daemon, mounted, device

    def read(self) -> dict[str, float]:
        subprocess.run(["sync", "-f", str(self._mounted)], check=True)
        process = Path(f"/proc/{self._daemon.pid}/io").read_text()
        return {
            "s": time.monotonic(),
            "device_bytes": int(self._device.read_text().split()[6]) * SECTOR_BYTES,
            "process_bytes": int(process.partition("\nwrite_bytes:")[2].split()[0]),
        }


def phase(counters: Counters, ledger: Path, *, minutes: float) -> dict[str, Any]:
    """Let it run; return what it cost."""
    before, lines = counters.read(), len(read_ledger(ledger))
    time.sleep(minutes * 60)
    after, messages = counters.read(), len(read_ledger(ledger)) - lines
    taken_s = after["s"] - before["s"]
    found: dict[str, Any] = {"seconds": round(taken_s, 1), "messages": messages, "per_s": round(messages / taken_s, 2)}
    for name in ("device_bytes", "process_bytes"):
        written = after[name] - before[name]
        found[name] = {
            "written": written,
            "per_message": round(written / max(1, messages), 1),
            "mb_per_day": round(written / taken_s * DAY_S / 1e6, 1),
        }
    return found


def run(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="edge-wear-") as name, card(Path(name)) as (mounted, device):
        folder = Path(name)
        ledger, state = folder / "ledger.jsonl", mounted / "state"
        broker = stand.broker(folder / "broker", config="allow_anonymous true")
        config = stand.write_config(
            folder / "wear.toml",
            broker_url=broker.url,
            sources=[{"type": "demo", "fps": args.rate}],
            publish={"jsonl": str(ledger)},
        )
        daemon = stand.Daemon(folder, config, state=state)
        found: dict[str, Any] = {"machine": stand.machine(), "rate": args.rate, "card": "ext4, noatime, loop device"}
        with stand.ended(daemon, broker):
            broker.start()
            daemon.start()
            stand.wait_until(lambda: read_ledger(ledger), timeout_s=60, what="a prediction")
            time.sleep(5)
            counters = Counters(daemon, mounted, device)
            found["broker there"] = phase(counters, ledger, minutes=args.minutes)
            broker.stop()
            time.sleep(2)
            found["broker away"] = phase(counters, ledger, minutes=args.minutes)
            broker.start()
            before = counters.read()
            stand.wait_until(
                lambda: not list(state.glob("outbox.sqlite")) or _is_empty(state), timeout_s=300, what="drain"
            )
            time.sleep(2)
            found["sending the backlog"] = {"device_bytes": counters.read()["device_bytes"] - before["device_bytes"]}
            daemon.stop()
    if args.ledger:
        args.ledger.write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))
    return 0


def _is_empty(state: Path) -> bool:
    from kills import visible

    return not visible(state)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.0, help="for each of the two phases")
    parser.add_argument("--rate", type=float, default=10.0, help="predictions a second")
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="everything as JSON")
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
