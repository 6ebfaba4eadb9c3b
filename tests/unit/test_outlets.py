"""Around the sinks: who waits, who loses, and that a sink that fails takes nobody with it."""

import threading
from collections.abc import Sequence

import pytest
from flow_parts import DEADLINE_S, frame, prediction

from edge_runtime.errors import UsageError
from edge_runtime.outlets import SINK_QUEUE, DirectSink, SinkWorker, hand_to
from edge_runtime.protocols import Handed
from edge_runtime.stopping import Stop
from edge_runtime.workers import RunCounters


class RecordingSink:
    """Keeps what it is given; can be made to fail, or to wait for ``go``."""

    def __init__(self, *, fails: bool = False, go: threading.Event | None = None) -> None:
        self.written: list[int] = []
        self.threads: set[str] = set()
        self.opened = self.closed = 0
        self.entered = threading.Event()
        self._fails, self._go = fails, go

    def open(self) -> None:
        self.opened += 1

    def write(self, batch: Sequence[Handed]) -> None:
        self.entered.set()
        self.threads.add(threading.current_thread().name)
        if self._go is not None:
            assert self._go.wait(DEADLINE_S)
        if self._fails:
            raise RuntimeError("a sink's mistake")
        self.written += [handed.prediction.sequence for handed in batch]

    def close(self) -> None:
        self.closed += 1


def handed(number: int) -> Handed:
    return Handed(prediction(frame(number)), number, 0)


def test_a_direct_sink_writes_at_once_in_the_thread_that_hands_over() -> None:
    sink = RecordingSink()
    outlet = DirectSink(sink, name="mqtt", counters=RunCounters())
    outlet.start()

    outlet.hand(handed(1), wait_s=0.0)

    assert sink.written == [1]
    assert sink.threads == {threading.current_thread().name}
    outlet.close()
    assert (sink.opened, sink.closed) == (1, 1)


def test_a_direct_sink_that_fails_gets_no_more_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    counters = RunCounters()
    broken, sound = RecordingSink(fails=True), RecordingSink()
    outlets = [DirectSink(sink, name="mqtt", counters=counters) for sink in (broken, sound)]

    for number in range(3):
        hand_to(outlets, handed(number), live=True, stop=threading.Event())

    assert sound.written == [0, 1, 2]
    assert counters.sink_dropped == 2
    assert caplog.text.count("gets no more predictions") == 1


def test_a_sinks_thread_writes_everything_in_order_before_it_closes() -> None:
    sink, counters = RecordingSink(), RunCounters()
    worker = SinkWorker(sink, name="jsonl", counters=counters, stop=Stop())
    worker.start()
    for number in range(500):
        worker.hand(handed(number), wait_s=DEADLINE_S)

    worker.close()

    assert sink.written == list(range(500))
    assert sink.threads == {"sink-jsonl"}
    assert sink.closed == 1
    assert counters.sink_dropped == 0


def test_a_blocked_sink_never_holds_a_camera_up_and_what_it_loses_is_counted() -> None:
    go, counters = threading.Event(), RunCounters()
    sink = RecordingSink(go=go)
    worker = SinkWorker(sink, name="jsonl", counters=counters, stop=Stop())
    worker.start()
    worker.hand(handed(0), wait_s=0.0)
    assert sink.entered.wait(DEADLINE_S)

    for number in range(1, SINK_QUEUE + 11):
        hand_to([worker], handed(number), live=True, stop=threading.Event())

    assert counters.sink_dropped == 10
    go.set()
    worker.close()
    assert sink.written == list(range(SINK_QUEUE + 1))


def test_files_wait_for_a_slow_sink() -> None:
    go, counters = threading.Event(), RunCounters()
    sink = RecordingSink(go=go)
    worker = SinkWorker(sink, name="jsonl", counters=counters, stop=Stop())
    worker.start()
    count = SINK_QUEUE + 200

    def hand_all() -> None:
        for number in range(count):
            hand_to([worker], handed(number), live=False, stop=threading.Event())

    feeder = threading.Thread(target=hand_all, daemon=True)
    feeder.start()
    assert sink.entered.wait(DEADLINE_S)
    go.set()
    feeder.join(DEADLINE_S)
    worker.close()

    assert not feeder.is_alive()
    assert sink.written == list(range(count))
    assert counters.sink_dropped == 0


def test_a_sinks_thread_that_fails_closes_its_sink_and_counts_what_comes_after(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink, counters = RecordingSink(fails=True), RunCounters()
    worker = SinkWorker(sink, name="jsonl", counters=counters, stop=Stop())
    worker.start()
    worker.hand(handed(0), wait_s=0.0)
    worker.close()

    worker.hand(handed(1), wait_s=0.0)

    assert sink.closed == 1
    assert counters.sink_dropped == 1
    assert "a sink failed" in caplog.text


def test_a_mistake_in_a_sinks_settings_is_the_callers() -> None:
    class Unopenable(RecordingSink):
        def open(self) -> None:
            raise UsageError("cannot write there")

    for outlet in (
        SinkWorker(Unopenable(), name="jsonl", counters=RunCounters(), stop=Stop()),
        DirectSink(Unopenable(), name="mqtt", counters=RunCounters()),
    ):
        with pytest.raises(UsageError, match="cannot write there"):
            outlet.start()
