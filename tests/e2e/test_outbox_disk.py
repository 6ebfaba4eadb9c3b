"""The disk under a running outbox: full, read-only, no longer permitted, overwritten; and well again."""

import json
import os
import shutil
import signal
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
DIGITS = Path(__file__).parents[2] / "edge_runtime/demo/digits.tflite"


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


class Card:
    """An ext4 file system in a file, mounted at ``path``, that a real error can turn read-only as a dying card is."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "card"
        self.path.mkdir()
        self._image = folder / "card.img"
        with self._image.open("wb") as file:
            file.truncate(32 * 2**20)
        self._run("mkfs.ext4", "-q", "-O", "^orphan_file", self._image)
        self._mount()

    @staticmethod
    def _run(*words: str | Path, fine: tuple[int, ...] = (0,)) -> None:
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip(f"{words[0]} is not installed")
        if done.returncode not in fine:
            pytest.skip(f"this sandbox does not let root do it: {' '.join(map(str, words))}: {done.stderr}")

    def _mount(self) -> None:
        self._run("mount", "-o", "loop,errors=remount-ro", self._image, self.path)

    def fail(self) -> None:
        """Let the file system find an error: it becomes read-only at once, whatever is open."""
        device = os.stat(self.path).st_dev
        name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
        trigger = Path("/sys/fs/ext4") / name / "trigger_fs_error"
        if not trigger.exists():
            pytest.skip("this kernel's ext4 offers no way to cause an error")
        trigger.write_text("test\n")

    def repair(self) -> None:
        """Check a copy of the file system and mount it over the one that programs have still open."""
        repaired = self._image.with_suffix(".repaired")
        shutil.copyfile(self._image, repaired)
        self._run("e2fsck", "-fy", repaired, fine=(0, 1))
        self._image = repaired
        self._mount()

    def unmount(self) -> None:
        while os.path.ismount(self.path):
            subprocess.run(["umount", "-l", str(self.path)], check=True)


@pytest.fixture
def card(tmp_path: Path) -> Iterator[Card]:
    made = Card(tmp_path)
    yield made
    made.unmount()


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


def test_a_card_that_turns_read_only_under_a_running_device_and_is_repaired(
    card: Card, edge_infer: Any, make_mosquitto: Any, subscriber: Callable[..., Any]
) -> None:
    broker = make_mosquitto()
    broker.start()
    listener = subscriber("edge-infer/card/#", port=broker.port)
    ledger = edge_infer.folder / "ledger.jsonl"
    (edge_infer.folder / "edge.toml").write_text(
        '[[source]]\ntype = "demo"\nfps = 20.0\n[publish]\npolicy = "all"\n[stats]\ninterval_s = 0.5\n'
    )
    words = ("--config", "edge.toml", "--model", DIGITS, "--broker", broker.url, "--device-id", "card", "-q")
    state = card.path / "state"
    environment = {"EDGE_INFER_STATE_DIR": str(state)}
    running = edge_infer.start(*words, "--jsonl", ledger, **environment)

    def predicted() -> set[int]:
        lines = ledger.read_text().splitlines(keepends=True) if ledger.exists() else []
        return {json.loads(line)["seq"] for line in lines if line.endswith("\n")}

    def arrived() -> set[int]:
        return {json.loads(payload)["seq"] for payload in listener.on("edge-infer/card/demo0/prediction")}

    def newest() -> Any:
        found = listener.on("edge-infer/card/stats")
        return json.loads(found[-1])["outbox"] if found else {}

    def predict_more() -> None:
        before = len(predicted())
        eventually(lambda: len(predicted()) > before + 20, what="more predictions")

    eventually(arrived, what="the first prediction")
    broker.freeze()
    eventually((state / "outbox.sqlite").exists, what="an outbox in use")
    predict_more()
    card.fail()
    predict_more()
    broker.thaw()
    assert "read" in eventually(lambda: newest().get("error"), what="the error in the statistics")
    card.repair()
    eventually(lambda: newest()["error"] is None and newest()["pending"] < 10, what="a disk that is well")
    broker.freeze()
    predict_more()
    assert edge_infer.finish(running, with_signal=signal.SIGTERM).status == 0
    assert (state / "outbox.sqlite").exists(), "what the broker has not is on the repaired card"
    broker.thaw()
    assert edge_infer(*words, "--frames", "1", **environment).status == 0
    eventually(lambda: predicted() <= arrived(), what="every prediction")
