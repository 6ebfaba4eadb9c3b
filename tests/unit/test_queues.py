"""The hand-over points between threads: what they hold, who waits, what is lost and what is not."""

import random
import threading
from collections import defaultdict
from typing import Any

import pytest
from flow_parts import DEADLINE_S, ends, frame, prepared, started
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.queues import BoundedQueue, Gate, Intake, ReadySlot

NOW = 0.0


def test_a_gate_lets_one_through_and_remembers_that_it_was_opened() -> None:
    gate = Gate()
    gate.set(is_open=True)
    gate.set(is_open=True)
    passed: list[int] = []

    gate.wait(DEADLINE_S)
    thread = started(lambda: (gate.wait(DEADLINE_S), passed.append(1)))[0]

    assert thread.is_alive()
    assert passed == []
    gate.set(is_open=True)
    assert ends(thread)
    assert passed == [1]


def test_a_gate_that_was_shut_again_is_shut() -> None:
    gate = Gate()
    gate.set(is_open=True)
    gate.set(is_open=False)

    thread = started(lambda: gate.wait(DEADLINE_S))[0]
    thread.join(0.02)

    assert thread.is_alive()
    gate.set(is_open=True)
    assert ends(thread)


def test_a_live_frame_takes_the_place_of_an_older_one() -> None:
    intake = Intake(["camera0"])

    assert [intake.offer(frame(n, "camera0")) for n in range(3)] == [False, True, True]

    taken = intake.take(timeout_s=NOW)
    assert taken is not None
    assert (taken[0], taken[1].sequence, taken[2]) == (0, 2, True)
    assert intake.take(timeout_s=NOW) is None


def test_a_file_waits_for_room_and_gives_up_in_time() -> None:
    intake = Intake(["images0"])

    assert intake.put(frame(0), timeout_s=NOW)
    assert not intake.put(frame(1), timeout_s=0.001)
    thread = started(lambda: intake.put(frame(1), timeout_s=DEADLINE_S))[0]
    first = intake.take(timeout_s=NOW)

    assert ends(thread)
    second = intake.take(timeout_s=NOW)
    assert first is not None
    assert second is not None
    assert (first[1].sequence, second[1].sequence) == (0, 1)


def test_streams_are_served_in_turn() -> None:
    intake = Intake(["a", "b", "c"])
    served = []
    for stream in ("c", "b", "a"):
        intake.offer(frame(0, stream))
    for _ in range(6):
        taken = intake.take(timeout_s=NOW)
        assert taken is not None
        served.append(taken[1].stream)
        intake.offer(frame(1, taken[1].stream))

    assert served == ["a", "b", "c", "a", "b", "c"]


def test_one_stream_can_be_asked_for_and_is_not_waited_for() -> None:
    intake = Intake(["a", "b"])
    intake.offer(frame(0, "a"))

    assert intake.take(timeout_s=DEADLINE_S, stream="b") is None
    intake.offer(frame(0, "b"))
    taken = intake.take(timeout_s=NOW, stream="b")

    assert taken is not None
    assert taken[1].stream == "b"
    assert intake.has("a")


def test_an_intake_is_finished_when_all_have_ended_and_the_last_frame_was_taken() -> None:
    intake = Intake(["a", "b"])
    intake.offer(frame(0, "a"))
    intake.finish("a")

    assert not intake.wait_ended(NOW)
    intake.finish("b")

    assert intake.wait_ended(NOW)
    assert not intake.finished
    intake.take(timeout_s=NOW)
    assert intake.finished


def test_the_end_wakes_everybody_who_waits_for_a_frame() -> None:
    intake = Intake(["a"])
    threads = started(*[lambda: intake.take(timeout_s=DEADLINE_S)] * 3)

    intake.finish("a")

    assert ends(*threads)


@pytest.mark.parametrize("streams", [("a",), ("a", "b", "c")])
def test_two_takers_get_every_file_once_and_each_stream_in_order_of_tickets(streams: tuple[str, ...]) -> None:
    intake = Intake(streams)
    count = 300
    taken: list[tuple[int, str, int]] = []

    def fill(stream: str) -> None:
        for number in range(count):
            while not intake.put(frame(number, stream), timeout_s=DEADLINE_S):
                pass
        intake.finish(stream)

    def drain() -> None:
        while not intake.finished:
            if entry := intake.take(timeout_s=DEADLINE_S):
                taken.append((entry[0], entry[1].stream, entry[1].sequence))

    assert ends(*started(*[lambda s=s: fill(s) for s in streams], drain, drain))

    by_stream = defaultdict(list)
    for _, stream, number in sorted(taken):
        by_stream[stream].append(number)
    assert by_stream == {stream: list(range(count)) for stream in streams}
    assert sorted(ticket for ticket, _, _ in taken) == list(range(count * len(streams)))


def test_tensors_are_handed_over_in_order_of_tickets() -> None:
    slot, stop = ReadySlot(), threading.Event()
    tickets = list(range(60))
    random.Random(1).shuffle(tickets)
    got: list[int] = []

    def put(mine: list[int]) -> None:
        for ticket in sorted(mine):
            assert slot.put(ticket, prepared(frame(ticket)), stop=stop)

    def take() -> None:
        while len(got) < len(tickets):
            if value := slot.take(timeout_s=DEADLINE_S):
                got.append(value.frame.sequence)

    assert ends(*started(lambda: put(tickets[:20]), lambda: put(tickets[20:40]), lambda: put(tickets[40:]), take))
    assert got == sorted(tickets)


def test_a_bad_frame_passes_its_turn_on_although_the_slot_is_taken() -> None:
    slot, stop = ReadySlot(), threading.Event()
    slot.put(0, prepared(frame(0)), stop=stop)

    assert slot.put(1, None, stop=stop)
    thread = started(lambda: slot.put(2, prepared(frame(2)), stop=stop))[0]
    first = slot.take(timeout_s=NOW)

    assert ends(thread)
    second = slot.take(timeout_s=NOW)
    assert first is not None
    assert second is not None
    assert (first.frame.sequence, second.frame.sequence) == (0, 2)


def test_a_newer_tensor_of_the_same_stream_gives_the_old_one_back() -> None:
    slot, stop = ReadySlot(), threading.Event()
    old, new = prepared(frame(0, "camera0")), prepared(frame(1, "camera0"))
    slot.put(0, old, stop=stop)

    handed, displaced = slot.replace(1, new, stop=stop)

    assert handed
    assert displaced is old
    assert slot.take(timeout_s=NOW) is new


def test_a_tensor_of_another_stream_is_not_displaced() -> None:
    slot, stop = ReadySlot(), threading.Event()
    old = prepared(frame(0, "camera0"))
    slot.put(0, old, stop=stop)
    results: list[Any] = []
    thread = started(lambda: results.append(slot.replace(1, prepared(frame(0, "camera1")), stop=stop)))[0]
    thread.join(0.02)

    assert slot.peek() is old
    slot.take(timeout_s=NOW)

    assert ends(thread)
    assert results == [(True, None)]


def test_who_waits_for_a_turn_that_never_comes_leaves_when_the_run_stops_or_the_slot_closes() -> None:
    for leave in ("stop", "close"):
        slot, stop = ReadySlot(), threading.Event()
        results: list[bool] = []
        thread = started(lambda: results.append(slot.put(7, prepared(frame(7)), stop=stop)))[0]  # noqa: B023
        stop.set() if leave == "stop" else slot.close()

        assert ends(thread)
        assert results == [False]


def test_a_closed_slot_is_finished_once_it_is_empty() -> None:
    slot, stop = ReadySlot(), threading.Event()
    slot.put(0, prepared(frame(0)), stop=stop)

    slot.close()

    assert not slot.finished
    assert slot.take(timeout_s=DEADLINE_S) is not None
    assert slot.finished
    assert slot.take(timeout_s=DEADLINE_S) is None  # at once: nothing can come


def test_waiting_for_a_free_slot() -> None:
    slot, stop = ReadySlot(), threading.Event()
    assert slot.wait_free(timeout_s=DEADLINE_S)
    slot.put(0, prepared(frame(0)), stop=stop)
    assert not slot.wait_free(timeout_s=0.001)
    results: list[bool] = []
    threads = started(*[lambda: results.append(slot.wait_free(timeout_s=DEADLINE_S))] * 2)

    slot.take(timeout_s=NOW)

    assert ends(*threads)
    assert results == [True, True]


def test_a_free_engine_can_be_claimed_in_ones_turn() -> None:
    slot, stop = ReadySlot(), threading.Event()

    assert not slot.claim(1)  # not yet its turn
    assert slot.claim(0)
    assert not slot.claim(1)  # somebody has the engine
    slot.put(1, prepared(frame(1)), stop=stop)
    assert slot.take(timeout_s=NOW) is None  # that is for who has claimed it
    waiting = slot.more()
    assert waiting is not None
    assert waiting.frame.sequence == 1
    assert slot.take(timeout_s=NOW) is None
    assert slot.more() is None  # gives the engine back
    slot.put(2, prepared(frame(2)), stop=stop)
    assert slot.take(timeout_s=DEADLINE_S) is not None


def test_an_engine_that_infers_cannot_be_claimed_until_its_thread_asks_for_more() -> None:
    slot, stop = ReadySlot(), threading.Event()
    slot.put(0, prepared(frame(0)), stop=stop)
    slot.take(timeout_s=NOW)

    assert not slot.claim(1)
    assert slot.take(timeout_s=NOW) is None
    assert slot.claim(1)


def test_nothing_is_claimed_past_a_tensor_that_waits_or_after_the_end() -> None:
    slot, stop = ReadySlot(), threading.Event()
    slot.put(0, prepared(frame(0)), stop=stop)

    assert not slot.claim(1)
    slot.take(timeout_s=NOW)
    slot.take(timeout_s=NOW)
    slot.close()
    assert not slot.claim(1)


def test_claiming_passes_the_turn_on() -> None:
    slot, stop = ReadySlot(), threading.Event()
    thread = started(lambda: slot.put(1, prepared(frame(1)), stop=stop))[0]

    assert slot.claim(0)

    assert ends(thread)
    waiting = slot.more()
    assert waiting is not None
    assert waiting.frame.sequence == 1


def test_the_inference_thread_wakes_for_what_a_claimer_left() -> None:
    slot, stop = ReadySlot(), threading.Event()
    assert slot.claim(0)
    got: list[Any] = []

    def infer() -> None:
        while not got:
            if value := slot.take(timeout_s=DEADLINE_S):
                got.append(value)

    thread = started(infer)[0]
    assert slot.more() is None
    slot.put(1, prepared(frame(1)), stop=stop)

    assert ends(thread)


def test_a_queue_gives_back_what_it_has_no_room_for() -> None:
    queue: BoundedQueue[int] = BoundedQueue(2)

    assert [queue.put(n, timeout_s=NOW) for n in range(3)] == [True, True, False]
    assert queue.take(timeout_s=NOW) == [0, 1]
    assert queue.take(timeout_s=NOW) == []


def test_a_closed_queue_takes_nothing_and_gives_what_it_has() -> None:
    queue: BoundedQueue[int] = BoundedQueue(2)
    queue.put(1, timeout_s=NOW)
    queue.close()

    assert not queue.put(2, timeout_s=DEADLINE_S)
    assert not queue.finished
    assert queue.take(timeout_s=NOW) == [1]
    assert queue.finished


def test_closing_a_full_queue_lets_the_writer_go() -> None:
    queue: BoundedQueue[int] = BoundedQueue(1)
    queue.put(0, timeout_s=NOW)
    results: list[bool] = []
    thread = started(lambda: results.append(queue.put(1, timeout_s=DEADLINE_S)))[0]

    queue.close()

    assert ends(thread)
    assert results == [False]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["offer", "take", "take one"]), st.sampled_from(["a", "b"])), max_size=60))
def test_live_frames_are_taken_or_displaced_never_both_and_never_neither(steps: list[tuple[str, str]]) -> None:
    intake = Intake(["a", "b"])
    offered: dict[str, list[int]] = {"a": [], "b": []}
    displaced: dict[str, int] = {"a": 0, "b": 0}
    taken: dict[str, list[int]] = {"a": [], "b": []}
    for action, stream in steps:
        if action == "offer":
            displaced[stream] += intake.offer(frame(len(offered[stream]), stream))
            offered[stream].append(len(offered[stream]))
        elif entry := intake.take(timeout_s=NOW, stream=stream if action == "take one" else None):
            taken[entry[1].stream].append(entry[1].sequence)
    for stream in ("a", "b"):
        assert len(taken[stream]) + displaced[stream] + intake.has(stream) == len(offered[stream])
        assert taken[stream] == sorted(taken[stream])  # never backwards
        if not intake.has(stream) and offered[stream]:
            assert taken[stream][-1] == offered[stream][-1]  # the newest is what was taken
