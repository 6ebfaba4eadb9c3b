"""The disk under a running outbox: full, read-only, no longer permitted, overwritten; and well again."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from real_broker import eventually

from edge_runtime.mqtt.connection import MqttBus
from edge_runtime.mqtt.outbox import Outbox
from edge_runtime.mqtt.settings import BrokerConfig

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk"),
]
SIZE = 1000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    options = ["-t", "tmpfs", "-o", "size=1m", "none", str(mount)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("this sandbox does not let root mount a tmpfs")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


class Device:
    """A bus with an outbox on ``disk`` whose broker is away, and what is published over it."""

    def __init__(self, disk: Path, url: str) -> None:
        self.path = disk / "state" / "outbox.sqlite"
        self.bus = MqttBus(BrokerConfig(url=url).endpoint(), client_id="porch", outbox=Outbox(self.path))
        self.count = 0

    def publish(self, count: int) -> None:
        for _ in range(count):
            self.bus.publish("porch/prediction", f"{self.count:06d}".ljust(SIZE, "."), qos=1)
            self.count += 1

    def outbox(self, key: str) -> Any:
        return self.bus.stats()["outbox"][key]

    def is_stored(self) -> bool:
        return bool(self.outbox("bytes") > self.count * SIZE and self.outbox("error") is None)


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def fill(disk: Path) -> None:
    (disk / "ballast").write_bytes(bytes(400_000))
    with (disk / "rest").open("wb", buffering=0) as rest, suppress(OSError):
        while True:
            rest.write(bytes(4096))


def empty(disk: Path) -> None:
    for name in ("ballast", "rest"):
        (disk / name).unlink(missing_ok=True)


def overwrite(disk: Path) -> None:
    for name in (disk / "state").iterdir():
        name.write_bytes(b"garbage, not a database\n" * 3000)


def replace(disk: Path) -> None:
    for name in (disk / "state").iterdir():
        name.unlink()


@pytest.mark.parametrize(
    ("breaks", "mends", "says"),
    [
        (fill, empty, "full"),
        (overwrite, lambda disk: None, "set aside"),
        (replace, lambda disk: None, "taken away"),
    ],
    ids=["full", "garbage", "deleted"],
)
def test_the_run_goes_on_from_memory_and_returns_to_the_disk(
    breaks: Callable[[Path], None], mends: Callable[[Path], None], says: str, disk: Path, make_mosquitto: Any,
    subscriber: Callable[..., Any],
) -> None:  # fmt: skip
    broker = make_mosquitto()
    device = Device(disk, broker.url)
    with device.bus:
        device.publish(50)
        eventually(device.is_stored, what="the first messages on the disk")
        breaks(disk)
        device.publish(100)
        error = eventually(lambda: device.outbox("error"), what="the error in the statistics")
        assert says in error
        mends(disk)
        lasting = error if says in ("set aside", "taken away") else None  # what was lost stays said
        eventually(lambda: device.outbox("error") == lasting and device.outbox("bytes") > 150 * SIZE, what="the disk")
        broker.start()
        listener = subscriber("porch/#", port=broker.port)
        listener.wait(150)
        received = [int(payload[:6]) for payload in listener.on("porch/prediction")]
        assert sorted(set(received)) == list(range(150))
        eventually(lambda: device.outbox("pending") == 0, what="the backlog's end")
    if says == "set aside":
        assert [name for name in device.path.parent.iterdir() if "corrupt" in name.name]


def test_a_disk_that_is_read_only_when_it_is_needed_is_used_once_it_is_not(disk: Path, make_mosquitto: Any) -> None:
    """The kernel makes a card read-only that fails; the outbox had no file open, as while the broker was well."""
    (disk / "state").mkdir()
    remount(disk, "ro")
    device = Device(disk, make_mosquitto().url)
    with device.bus:
        device.publish(50)
        assert "Read-only" in eventually(lambda: device.outbox("error"), what="the error in the statistics")
        assert device.outbox("pending") == 50
        remount(disk, "rw")
        eventually(device.is_stored, what="the messages on the disk")
