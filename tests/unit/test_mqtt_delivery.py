"""QoS 1 messages between publish and acknowledgement: order, window, commits, memory, and a disk that fails."""

import sqlite3
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.mqtt.delivery import Delivery, Message
from edge_runtime.mqtt.outbox import Outbox


def message(number: int, *, at_s: float = 0.0, size: int = 10) -> Message:
    return Message("t", str(number).encode().rjust(size, b"0"), 1, retain=False, handed_s=at_s)


def send_all(delivery: Delivery) -> list[Message]:
    sent: list[Message] = []
    while (one := delivery.next()) is not None:
        sent.append(one)
    return sent


def numbers(sent: list[Message]) -> list[int]:
    return [int(one.payload) for one in sent]


def everything(delivery: Delivery) -> list[Message]:
    delivery.window = 1000
    return send_all(delivery)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.db")
    yield box
    box.close()


def test_the_window_bounds_what_is_in_flight_and_keeps_the_order() -> None:
    delivery = Delivery(None, window=3)
    for i in range(5):
        delivery.add(message(i))
    first = send_all(delivery)
    assert numbers(first) == [0, 1, 2]
    delivery.finish(first[0])
    assert numbers(send_all(delivery)) == [3]
    assert delivery.unacknowledged == 4


def test_a_lost_connection_sends_what_was_in_flight_again_and_first() -> None:
    delivery = Delivery(None, window=4)
    for i in range(6):
        delivery.add(message(i))
    sent = send_all(delivery)
    delivery.finish(sent[1])  # answered out of turn
    delivery.rewind()
    assert numbers(send_all(delivery)) == [0, 2, 3, 4]


def test_acknowledged_in_time_nothing_is_written(outbox: Outbox, tmp_path: Path) -> None:
    delivery = Delivery(outbox)
    for i in range(100):
        now_s = i / 10
        delivery.add(message(i, at_s=now_s))
        for one in send_all(delivery):
            delivery.finish(one)
        delivery.store(now_s + 0.05, connected=True)
    assert list(tmp_path.iterdir()) == []


def test_commits_come_at_the_promised_ages(outbox: Outbox) -> None:
    delivery = Delivery(outbox)
    delivery.add(message(1, at_s=10.0))
    assert delivery.due_in_s(10.0, connected=True) == pytest.approx(0.3)
    assert delivery.due_in_s(10.0, connected=False) == pytest.approx(0.04)
    delivery.store(10.25, connected=True)
    assert outbox.count == 0
    delivery.store(10.25, connected=False)
    assert outbox.count == 1


def test_behind_a_slow_commit_the_next_one_starts_earlier(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 0.025, 1.0, 1.9, *(2.0 for _ in range(100))])
    monkeypatch.setattr("edge_runtime.mqtt.delivery.time.monotonic", lambda: next(ticks))
    delivery = Delivery(outbox)
    for number, wanted_s in enumerate((0.04, 0.015, 0.01)):  # none before, one of 25 ms, one of 900 ms
        delivery.add(message(number, at_s=float(number)))
        assert delivery.due_in_s(float(number), connected=False) == pytest.approx(wanted_s)
        assert delivery.due_in_s(float(number), connected=True) == pytest.approx(0.3)
        delivery.store(number + 0.1, connected=False)
    for number in range(3, 50):
        delivery.add(message(number, at_s=float(number)))
        delivery.store(number + 0.1, connected=False)
    delivery.add(message(50, at_s=50.0))
    assert delivery.due_in_s(50.0, connected=False) > 0.03  # forgotten behind commits that were quick


def test_a_commit_takes_the_younger_ones_along(outbox: Outbox) -> None:
    delivery = Delivery(outbox)
    for i in range(5):
        delivery.add(message(i, at_s=i / 10))
    delivery.store(0.45, connected=True)
    assert outbox.count == 5


def test_an_acknowledged_message_leaves_the_disk(outbox: Outbox) -> None:
    delivery = Delivery(outbox)
    for i in range(3):
        delivery.add(message(i))
    sent = send_all(delivery)
    delivery.store(1.0, connected=True)
    delivery.finish(sent[0])
    delivery.store(2.0, connected=True)
    assert [row.payload for row in outbox.load(0)] == [sent[1].payload, sent[2].payload]
    for one in sent:
        delivery.finish(one)
    delivery.store(3.0, connected=True)
    assert outbox.count == 0
    assert delivery.idle


def test_the_backlog_goes_before_the_new(outbox: Outbox, tmp_path: Path) -> None:
    before = Delivery(outbox)
    for i in range(500):
        before.add(message(i))
    assert before.close(1.0) == 500
    delivery = Delivery(Outbox(tmp_path / "outbox.db"), window=7)
    delivery.open()
    for i in range(500, 520):
        delivery.add(message(i, at_s=5.0))
    received: list[int] = []
    now_s = 5.0
    while sent := send_all(delivery):
        received += numbers(sent)
        for one in sent:
            delivery.finish(one)
        now_s += 0.01
        delivery.store(now_s, connected=True)
    assert received == list(range(520))
    assert delivery.close(now_s + 1) == 0


def test_memory_stays_bounded_in_an_outage_and_everything_comes_back_from_the_disk(outbox: Outbox) -> None:
    delivery = Delivery(outbox, memory_max_bytes=100_000)
    for i in range(2000):
        delivery.add(message(i, at_s=i / 100, size=500))
        delivery.store(i / 100, connected=False)
        assert delivery._memory_bytes <= 200_000
    assert delivery.unacknowledged == 2000
    delivery.store(100, connected=False)
    received = []
    while sent := send_all(delivery):
        received += numbers(sent)
        for one in sent:
            delivery.finish(one)
    assert received == list(range(2000))
    assert delivery.dropped == 0


def test_without_an_outbox_the_oldest_are_dropped_and_counted() -> None:
    delivery = Delivery(None, memory_max_bytes=50_000)
    for i in range(300):
        delivery.add(message(i, size=500))
    kept = numbers(everything(delivery))
    assert kept == list(range(300 - len(kept), 300))
    assert delivery.dropped == 300 - len(kept) > 0


def test_a_full_disk_is_said_and_lived_through(tmp_path: Path) -> None:
    pages = [12]

    def limit(db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA max_page_count={pages[0]}")

    outbox = Outbox(tmp_path / "outbox.db", limit=limit)
    delivery = Delivery(outbox, window=50)
    for i in range(100):
        delivery.add(message(i, at_s=float(i), size=1000))
        delivery.store(i + 0.1, connected=False)
    assert "full" in str(delivery.stats()["error"])
    assert 0 < outbox.count < 100
    received = []
    now_s = 200.0
    while sent := send_all(delivery):
        received += numbers(sent)
        for one in sent:
            delivery.finish(one)
        now_s += 1
        delivery.store(now_s, connected=True)
    assert received == list(range(100)), "from memory, and in order"
    delivery.close(now_s)


def test_a_disk_with_room_again_is_used_within_seconds_however_long_it_was_full(tmp_path: Path) -> None:
    full = True

    def limit(db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA max_page_count={1 if full else 1000}")

    outbox = Outbox(tmp_path / "outbox.db", limit=limit)
    delivery = Delivery(outbox)
    for i in range(100):
        delivery.add(message(i, at_s=float(i)))
        delivery.store(i + 0.5, connected=False)
    assert delivery.stats()["error"]
    full = False
    for step in range(7):
        delivery.store(100.0 + step, connected=False)
    assert outbox.count == 100
    assert delivery.stats()["error"] is None
    outbox.close()


def test_the_error_is_over_when_the_disk_is_well_though_there_is_nothing_to_write(tmp_path: Path) -> None:
    full = True

    def limit(db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA max_page_count={1 if full else 1000}")

    outbox = Outbox(tmp_path / "outbox.db", limit=limit)
    delivery = Delivery(outbox)
    delivery.add(message(0))
    delivery.store(1.0, connected=False)
    assert delivery.stats()["error"]
    (sent,) = send_all(delivery)
    delivery.finish(sent)
    delivery.store(10.0, connected=True)
    assert delivery.stats()["error"], "it is still full"
    full = False
    due_s = delivery.due_in_s(10.0, connected=True)
    assert due_s is not None
    delivery.store(10.0 + due_s, connected=True)
    assert delivery.stats()["error"] is None
    assert delivery.due_in_s(30.0, connected=True) is None
    outbox.close()
    assert not list(tmp_path.iterdir())


def test_a_disk_that_was_mounted_anew_with_the_same_messages_is_gone_on_with(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    delivery = Delivery(outbox)
    for i in range(10):
        delivery.add(message(i))
    delivery.store(1.0, connected=False)
    for path in list(tmp_path.iterdir()):
        copy = path.with_name(f"{path.name}.copy")
        copy.write_bytes(path.read_bytes())
        copy.rename(path)
    delivery.add(message(10))
    delivery.store(2.0, connected=False)
    assert (outbox.count, outbox.dropped, outbox.error) == (11, 0, None)
    assert numbers(everything(delivery)) == list(range(11))
    outbox.close()


def test_a_file_that_turns_corrupt_is_written_anew_from_memory(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    delivery = Delivery(Outbox(path))
    for i in range(200):
        delivery.add(message(i, size=100))
    delivery.store(1.0, connected=False)
    path.write_bytes(b"\0" * 50_000)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").write_bytes(b"\xff" * 40_000)
    delivery.add(message(200, at_s=1.0, size=100))
    for attempt in range(5):
        delivery.store(100.0 * (attempt + 1), connected=False)
    assert "set aside" in str(delivery.stats()["error"])
    assert delivery.dropped == 0
    assert numbers(everything(delivery)) == list(range(201))
    assert delivery.close(1000.0) == 201
    again = Outbox(path)
    again.open()
    assert again.count == 201
    again.close()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["add", "add", "add", "send", "answer", "lose", "store", "restart"]), min_size=5, max_size=80
    ),
    st.integers(1, 5),
)
def test_whatever_happens_everything_committed_arrives_in_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], window: int
) -> None:
    """A reader that drops what it has seen gets every committed message, in order."""
    path = tmp_path_factory.mktemp("outbox") / "outbox.db"
    delivery = Delivery(Outbox(path), window=window, memory_max_bytes=3000)
    delivery.open()
    number, now_s = 0, 0.0
    in_flight: list[Message] = []
    received: list[int] = []
    for step in [*steps, "restart", *["send", "answer"] * 200]:
        now_s += 1.0
        if step == "add":
            delivery.add(message(number, at_s=now_s, size=100))
            number += 1
            delivery.store(now_s + 0.1, connected=False)  # so all of them are committed
        elif step == "send":
            fresh = send_all(delivery)
            received += numbers(fresh)
            in_flight += fresh
        elif step == "answer" and in_flight:
            delivery.finish(in_flight.pop(0))
        elif step == "lose":
            in_flight.clear()
            delivery.rewind()
        elif step == "store":
            delivery.store(now_s, connected=True)
        elif step == "restart":
            in_flight.clear()
            delivery._outbox._file.disconnect()  # without the commit that a clean stop makes
            delivery = Delivery(Outbox(path), window=window, memory_max_bytes=3000)
            delivery.open()
    delivery.close(now_s)
    seen: list[int] = []
    for one in received:
        if one > (seen[-1] if seen else -1):
            seen.append(one)
    assert seen == list(range(number))
    for earlier, later in pairwise(received):
        assert later <= earlier + 1, "no message overtakes another"
