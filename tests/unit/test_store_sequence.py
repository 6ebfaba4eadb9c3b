import contextlib
import errno
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.errors import StoreError
from edge_runtime.store import sequence
from edge_runtime.store.atomic import replace_file
from edge_runtime.store.sequence import BLOCK, FILE_NAME, MARGIN, SequenceStore


def at_once(work):
    work()


def opened(directory, *streams, **more):
    more.setdefault("background", at_once)
    store = SequenceStore(directory, **more)
    store.open(streams)
    return store


def test_the_first_number_ever_is_1_and_they_grow_by_one(tmp_path):
    store = opened(tmp_path, "camera0")
    assert store.start_of("camera0") == 1
    assert [store.next("camera0") for _ in range(3 * BLOCK)] == list(range(1, 3 * BLOCK + 1))


def test_streams_count_for_themselves_and_may_come_later(tmp_path):
    store = opened(tmp_path, "camera0")
    assert [store.next("camera0"), store.next("audio0"), store.next("camera0"), store.next("audio0")] == [1, 1, 2, 2]


def test_a_clean_stop_leaves_no_gap(tmp_path):
    for run in range(3):
        store = opened(tmp_path, "camera0")
        assert store.start_of("camera0") == 10 * run + 1
        assert [store.next("camera0") for _ in range(10)] == list(range(10 * run + 1, 10 * run + 11))
        store.close()
        store.close()


def test_an_unclean_stop_jumps_ahead(tmp_path):
    before = opened(tmp_path, "camera0")
    last = [before.next("camera0") for _ in range(5)][-1]
    after = opened(tmp_path, "camera0")
    assert after.start_of("camera0") > last
    assert after.next("camera0") == after.start_of("camera0")


def test_a_stream_that_rests_for_a_run_keeps_its_place(tmp_path):
    first = opened(tmp_path, "camera0", "camera1")
    assert [first.next(s) for s in ("camera0", "camera1", "camera1")] == [1, 1, 2]
    first.close()
    opened(tmp_path, "camera0")  # and the power goes
    third = opened(tmp_path, "camera1")
    assert third.next("camera1") == 3


def test_nothing_is_written_for_a_number_within_a_block(tmp_path):
    writes = []

    def write(path, data):
        writes.append(data)
        replace_file(path, data)

    store = opened(tmp_path, "camera0", write=write, monotonic_ns=lambda: 0)
    for _ in range(BLOCK // 2):
        store.next("camera0")
    assert len(writes) == 1
    # At a high rate blocks grow, so that the card is written about once a minute.
    for _ in range(200_000):
        store.next("camera0")
    assert len(writes) < 20


def test_the_block_stays_small_at_a_low_rate(tmp_path):
    now = [0]
    store = opened(tmp_path, "camera0", monotonic_ns=lambda: now[0])
    for _ in range(5 * BLOCK):
        now[0] += 10**9
        last = store.next("camera0")
    assert json.loads((tmp_path / FILE_NAME).read_text())["streams"]["camera0"]["next"] <= last + BLOCK


def test_reserving_is_left_to_the_background_until_a_block_is_used_up(tmp_path):
    waiting = []
    store = opened(tmp_path, "camera0", background=waiting.append)
    numbers = [store.next("camera0") for _ in range(BLOCK)]
    assert len(waiting) == 1
    numbers.append(store.next("camera0"))  # nobody came: it reserves for itself
    waiting.pop()()
    numbers.append(store.next("camera0"))
    assert numbers == list(range(1, BLOCK + 3))


def test_a_real_thread_reserves_in_time(tmp_path):
    store = SequenceStore(tmp_path)
    store.open(["camera0"])
    assert [store.next("camera0") for _ in range(10 * BLOCK)] == list(range(1, 10 * BLOCK + 1))
    store.close()
    assert opened(tmp_path, "camera0").next("camera0") == 10 * BLOCK + 1


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100, b"[]", b"{}", b"not json", b'{"schema": 1, "floor": 1, "streams": {}, "crc32": 5}', b"\xff\xfe"],
)
def test_a_damaged_file_is_set_aside_and_no_number_repeats(tmp_path, content, caplog):
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    store = opened(tmp_path, "camera0")
    assert store.next("camera0") > 1_700_000_000_000  # milliseconds since 1970
    assert path.with_suffix(".damaged").read_bytes() == content
    assert "is damaged" in caplog.text
    store.close()
    # A stream that did not run this time may have had numbers as well.
    assert opened(tmp_path, "camera1").next("camera1") > 1_700_000_000_000


def test_a_flipped_digit_is_damage(tmp_path):
    store = opened(tmp_path, "camera0")
    store.next("camera0")
    store.close()
    path = tmp_path / FILE_NAME
    path.write_text(path.read_text().replace('"next": 2', '"next": 1'))
    assert opened(tmp_path, "camera0").next("camera0") > 1_700_000_000_000


def test_a_damaged_file_on_a_device_without_a_clock_still_jumps_over_what_it_names(tmp_path, monkeypatch):
    path = tmp_path / FILE_NAME
    path.write_text('{"streams": {"camera0": {"next": 3000000000000, "open": tr')
    monkeypatch.setattr(sequence.time, "time_ns", lambda: 0)
    assert opened(tmp_path, "camera0").next("camera0") > 3_000_000_000_000


def refuse(path, data):
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_disk_that_cannot_be_written_at_the_start_is_an_error_of_one_line(tmp_path):
    with pytest.raises(StoreError, match="Read-only file system; free or mend its disk") as caught:
        opened(tmp_path, "camera0", write=refuse)
    assert "\n" not in str(caught.value)


class Disk:
    """A disk that can be made to refuse."""

    def __init__(self):
        self.refuses = False
        self.tries = 0

    def write(self, path, data):
        self.tries += 1
        if self.refuses:
            refuse(path, data)
        replace_file(path, data)


def test_a_disk_that_fills_while_running_stops_nothing_and_still_no_number_repeats(tmp_path, caplog):
    disk, now = Disk(), [0]
    store = opened(tmp_path, "camera0", write=disk.write, monotonic_ns=lambda: now[0])
    disk.refuses = True
    used = [store.next("camera0") for _ in range(4 * BLOCK)]
    assert used == list(range(1, 4 * BLOCK + 1))
    assert disk.tries <= 3, "a disk that refuses is left alone for a while"
    assert caplog.text.count("cannot reserve") == 1
    assert opened(tmp_path, "camera0").start_of("camera0") > used[-1]
    disk.refuses = False
    now[0] += 10 * 10**9
    store.next("camera0")
    assert "again" in caplog.text


def test_beyond_the_margin_there_is_no_number(tmp_path, monkeypatch):
    monkeypatch.setattr(sequence, "MARGIN", 100)
    disk = Disk()
    store = opened(tmp_path, "camera0", write=disk.write)
    disk.refuses = True
    used = [store.next("camera0") for _ in range(BLOCK + 100)]
    with pytest.raises(StoreError, match="cannot be written"):
        store.next("camera0")
    assert opened(tmp_path, "camera0").next("camera0") == used[-1] + 1


def test_a_stream_the_disk_never_heard_of_gets_no_number_it_could_repeat(tmp_path):
    disk = Disk()
    store = opened(tmp_path, "camera0", write=disk.write)
    disk.refuses = True
    with pytest.raises(StoreError):
        store.next("camera1")


def test_there_are_no_numbers_after_the_end(tmp_path):
    store = opened(tmp_path, "camera0")
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.next("camera0")


class PowerCut(BaseException):
    """Nothing catches it; the process is gone."""


class FailingDisk:
    """Loses power at a write, before or after the new content is safe, or refuses one in its place or after it."""

    def __init__(self, plan):
        self._plan = iter(plan)

    def write(self, path, data):
        what = next(self._plan, "works")
        if what == "refuses before":
            raise OSError(errno.ENOSPC, "No space left on device")
        if what == "cut before":
            raise PowerCut
        replace_file(path, data)
        if what == "refuses after":
            raise OSError(errno.EIO, "Input/output error")
        if what == "cut after":
            raise PowerCut


outcomes = st.sampled_from(["works"] * 4 + ["refuses before", "refuses after", "cut before", "cut after"])
runs = st.lists(
    st.tuples(
        st.lists(outcomes, max_size=6),
        st.lists(st.tuples(st.sampled_from(["camera0", "camera1", "audio0"]), st.integers(0, 30)), max_size=8),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(runs=runs)
def test_numbers_grow_and_never_repeat_whatever_the_disk_and_the_power_do(runs):
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequence, "BLOCK", 8)
        patch.setattr(sequence, "MARGIN", 30)
        highest = {}
        for plan, uses, clean in runs:
            now = [0]

            def tick(now=now):
                now[0] += 10**8
                return now[0]

            store = SequenceStore(Path(name), write=FailingDisk(plan).write, background=at_once, monotonic_ns=tick)
            with contextlib.suppress(PowerCut, StoreError):
                store.open(["camera0"])
                for stream, count in uses:
                    for expected in range(count):
                        number = store.next(stream)
                        if expected:
                            assert number == highest[stream] + 1, "within a run there are no gaps"
                        assert number > highest.get(stream, 0), "no number repeats"
                        assert number >= store.start_of(stream)
                        highest[stream] = number
                if clean:
                    store.close()


def test_the_margin_covers_what_is_handed_out_without_a_reservation():
    assert MARGIN >= 10 * sequence.BLOCK_MAX
