"""The outbox file: order, limits, what a kill leaves, and disks that are full, read-only or corrupt."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from edge_runtime.errors import StoreError
from edge_runtime.mqtt._outbox_schema import Kind, Limits
from edge_runtime.mqtt.ages import AgeClock
from edge_runtime.mqtt.outbox import Outbox

NOW_NS = 1_800_000_000 * 10**9


def messages(count: int, *, size: int = 20) -> list[tuple[str, bytes]]:
    return [("t/ä", f"{i:06d}".encode().ljust(size, b".")) for i in range(count)]


def payloads(outbox: Outbox, after: int = 0) -> list[bytes]:
    return [row.payload for row in outbox.load(after, max_rows=10_000)]


def test_what_was_committed_is_there_after_a_restart_in_order(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "state" / "outbox.db")
    outbox.append(messages(3))
    outbox.append(messages(2))
    outbox.close()
    again = Outbox(tmp_path / "state" / "outbox.db")
    again.open()
    assert again.count == 5
    assert payloads(again) == [payload for _, payload in messages(3) + messages(2)]
    assert again.size_bytes == 5 * (20 + len("t/ä".encode()))
    again.close()


def test_the_file_and_its_folder_are_for_the_owner_only(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "state" / "outbox.db")
    outbox.append(messages(1))
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()} == {0o600}
    outbox.close()


def test_a_start_without_a_backlog_touches_no_disk_and_imports_no_sqlite(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from edge_runtime.mqtt.outbox import Outbox\n"
        "box = Outbox(Path(sys.argv[1])); box.open(); box.close(); sys.exit('sqlite3' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "state" / "outbox.db")], check=True)
    assert list(tmp_path.iterdir()) == []


def test_an_emptied_file_is_removed_at_the_end(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.delete_through(outbox.append(messages(10))[-1])
    outbox.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_grew_in_an_outage_is_given_back_when_it_is_empty(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    last = outbox.append(messages(50, size=200_000))[-1]
    outbox.delete_through(last)
    assert not (tmp_path / "outbox.db").exists()
    assert outbox.append(messages(1))[0] == last + 1, "an id is never used twice in a run"
    outbox.close()


def test_beyond_the_byte_limit_the_oldest_go_and_are_counted(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=100_000)
    outbox.append(messages(300, size=1000))
    gone = outbox.trim()
    assert outbox.size_bytes <= 100_000
    assert gone[Kind.ORDINARY] == outbox.dropped == 300 - outbox.count
    assert payloads(outbox)[-1].startswith(b"000299")
    outbox.close()


class Clocks:
    """The clocks of a device, and an outbox's own clock over them."""

    def __init__(self, *, wall_ns: int = NOW_NS, right: bool = True) -> None:
        self.wall_ns, self.monotonic_ns, self.right = wall_ns, 5 * 10**9, right

    def go(self, seconds: float) -> None:
        self.wall_ns += int(seconds * 1e9)
        self.monotonic_ns += int(seconds * 1e9)

    def ages(self) -> AgeClock:
        return AgeClock(
            wall_ns=lambda: self.wall_ns, monotonic_ns=lambda: self.monotonic_ns, is_right=lambda: self.right
        )


def test_messages_grow_old_and_go(tmp_path: Path) -> None:
    clocks = Clocks()
    outbox = Outbox(tmp_path / "outbox.db", max_age_s=3600, ages=clocks.ages())
    outbox.append([("t", b"old")])
    clocks.go(3000)
    outbox.append([("t", b"young")])
    assert not outbox.trim()
    clocks.go(1000)
    outbox.trim()
    assert payloads(outbox) == [b"young"]
    assert outbox.dropped == 1
    outbox.close()


@pytest.mark.parametrize("step_s", [56 * 365 * 86_400, 400 * 86_400, -400 * 86_400])
def test_a_clock_that_is_set_while_running_makes_nothing_older(tmp_path: Path, step_s: int) -> None:
    # 1970, or the time of the last power-off: a Pi that has not found its time server yet.
    clocks = Clocks(wall_ns=NOW_NS - step_s * 10**9, right=False)
    outbox = Outbox(tmp_path / "outbox.db", max_age_s=3600, ages=clocks.ages())
    outbox.append([("t", b"before the clock was set")])
    clocks.wall_ns, clocks.right = NOW_NS, True
    clocks.go(3000)
    outbox.append([("t", b"after")])
    assert not outbox.trim()
    clocks.go(1000)
    outbox.trim()
    assert payloads(outbox) == [b"after"]
    outbox.close()


@pytest.mark.parametrize(
    ("right_before", "right_after", "kept"), [(True, True, False), (False, True, True), (True, False, True)]
)
def test_time_spent_switched_off_counts_where_the_clock_was_right(
    tmp_path: Path, right_before: bool, right_after: bool, kept: bool
) -> None:
    clocks = Clocks(right=right_before)
    outbox = Outbox(tmp_path / "outbox.db", max_age_s=3600, ages=clocks.ages())
    outbox.append([("t", b"x")])
    outbox._file.disconnect()
    later = Clocks(wall_ns=NOW_NS + 7200 * 10**9, right=right_after)
    outbox = Outbox(tmp_path / "outbox.db", max_age_s=3600, ages=later.ages())
    outbox.open()
    outbox.trim()
    assert outbox.count == kept
    outbox.close()


def test_a_flood_of_predictions_does_not_push_events_out(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=65_536, events=Limits(max_bytes=20_000, max_age_s=1e6))
    outbox.append([("e/event", b"first event"), *messages(50, size=1000), ("e/event", b"second event")])
    outbox.append(messages(300, size=1000))
    assert outbox.over_limit
    gone = outbox.trim()
    assert gone.keys() == {Kind.ORDINARY}
    left = payloads(outbox)
    assert [payload for payload in left if b"event" in payload] == [b"first event", b"second event"]
    assert outbox.dropped == 352 - len(left) > 200
    outbox.append([("e/event", bytes(1000))] * 30)
    assert outbox.trim().keys() == {Kind.EVENT}
    assert payloads(outbox)[-1] == bytes(1000)
    assert b"first event" not in payloads(outbox)
    outbox.close()


def test_a_file_of_an_earlier_version_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, stored_ms INTEGER, topic TEXT, payload BLOB)")
        db.execute("INSERT INTO message VALUES (7, 1, 't', x'41')")
    outbox = Outbox(path)
    outbox.open()
    outbox.append([("t/event", b"B")])
    assert payloads(outbox) == [b"A", b"B"]
    assert outbox.last_id == 8
    outbox.close()


def test_a_file_that_is_taken_away_while_in_use_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    outbox = Outbox(path)
    outbox.append(messages(5))
    for name in tmp_path.iterdir():
        name.unlink()
    with pytest.raises(StoreError, match="taken away"):
        outbox.append(messages(1))
    assert outbox.dropped == 5
    outbox.append(messages(2))
    assert path.exists()
    assert outbox.count == 2
    outbox.close()


@pytest.mark.parametrize("damage", ["overwritten", "truncated", "not a database"])
def test_a_corrupt_file_is_set_aside_and_not_deleted(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "outbox.db"
    outbox = Outbox(path)
    outbox.append(messages(2000))
    outbox._file.disconnect()
    content = bytearray(path.read_bytes())
    if damage == "overwritten":
        content[4096 * 3 : 4096 * 8] = os.urandom(4096 * 5)
    elif damage == "truncated":
        del content[len(content) // 2 :]
    else:
        content = bytearray(b"this is a text file\n" * 500)
    path.write_bytes(content)
    again = Outbox(path, wall_ns=lambda: NOW_NS)
    with pytest.raises(StoreError, match="set aside"):
        again.open()
    aside = tmp_path / "outbox.db.corrupt-20270115T080000000Z"
    assert aside.read_bytes() == content
    again.append(messages(2))
    assert payloads(again) == [payload for _, payload in messages(2)]
    assert str(aside) in str(again.error), "it stays in the statistics of this run"
    again.close()


def small_disk(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA max_page_count=16")


def test_a_full_disk_is_an_error_and_keeps_what_was_committed(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", limit=small_disk)
    outbox.append(messages(5))
    with pytest.raises(StoreError, match="full"):
        outbox.append(messages(200, size=1000))
    assert outbox.count == 5
    assert "full" in str(outbox.error)
    assert payloads(outbox) == [payload for _, payload in messages(5)]
    outbox.append(messages(1))
    assert outbox.error is None
    outbox.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
def test_a_file_system_that_runs_full_and_gets_room_again(tmp_path: Path) -> None:
    mount = tmp_path / "disk"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(mount)], capture_output=True).returncode:
        pytest.skip("this sandbox does not let root mount a tmpfs")
    try:
        outbox = Outbox(mount / "outbox.db")
        (mount / "ballast").write_bytes(bytes(150_000))
        outbox.append(messages(5))
        with pytest.raises(StoreError):
            outbox.append(messages(200, size=1000))
        assert outbox.error
        (mount / "ballast").unlink()
        outbox.append(messages(20))
        assert outbox.error is None
        assert outbox.count == 25
        subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=False, capture_output=True)
        outbox.close()
        subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
        with pytest.raises(StoreError, match=r"[Rr]ead-only"):
            Outbox(mount / "outbox.db").open()
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    outbox = Outbox(tmp_path / "state" / "outbox.db")
    with pytest.raises(StoreError, match="cannot write the outbox"):
        outbox.append(messages(1))
    assert outbox.error


CHILD = """
import sys
from pathlib import Path
from edge_runtime.mqtt.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]))
number = 0
while True:
    outbox.append([("t", str(number + i).encode()) for i in range(10)])
    number += 10
    print(number, flush=True)
"""


def test_a_kill_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for _ in range(20):
        committed = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().split()
    child.stdout.close()
    child.wait()
    committed = int(rest[-1]) if rest else committed
    outbox = Outbox(path)
    outbox.open()
    found = [int(payload) for payload in payloads(outbox)]
    assert found == list(range(len(found)))
    assert len(found) >= committed
    outbox.close()
