import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from predictions import anomaly, classified, detected, heard, regressed

from edge_runtime.sinks.events import Config, EventTracker, base36, event_payload


def told(tracker, *predictions):
    return [(e.type, e.label, e.id) for p in predictions for e in tracker.update(p)]


def film(make, *levels, fps=10.0, start_s=100.0):
    """One prediction per frame: what `make` makes of each level, None for nothing."""
    frames = []
    for i, level in enumerate(levels):
        rows = () if level is None else ((3, level),)
        frames.append(make(*rows, captured_s=start_s + i / fps))
    return frames


def test_something_appears_stays_and_goes():
    tracker = EventTracker(run_id="r")
    frames = film(detected, None, 0.7, 0.7, *[0.7] * 20, *[None] * 25)
    events = [e for p in frames for e in tracker.update(p)]
    assert [(e.type, e.label, e.class_id, e.id) for e in events] == [
        ("start", "person", 3, "r-1"),
        ("end", "person", 3, "r-1"),
    ]
    assert events[0].ended_at is None
    assert events[1].started_at == events[0].started_at < events[1].ended_at


def test_it_started_with_its_first_frame_and_ended_with_its_last():
    tracker = EventTracker(Config(min_frames=3, missing_s=1))
    start, end = [e for p in film(detected, *[0.9] * 11, *[None] * 15) for e in tracker.update(p)]

    def seconds(stamp):
        minutes, rest = re.fullmatch(r".*T\d\d:(\d\d):(\d\d\.\d+)Z", stamp).groups()
        return 60 * int(minutes) + float(rest)

    assert start.type == "start"
    assert (seconds(end.ended_at) - seconds(end.started_at)) % 3600 == pytest.approx(1.0, abs=0.05)


def test_one_frame_is_no_event():
    tracker = EventTracker()
    assert told(tracker, *film(detected, 0.9, *[None] * 30, 0.9, *[None] * 30)) == []


def test_a_score_that_trembles_around_the_threshold_is_one_event():
    tracker = EventTracker(Config(enter=0.6, exit=0.4))
    types = [t for t, _, _ in told(tracker, *film(detected, *[0.55, 0.61] * 50, *[0.45] * 50))]
    assert types.count("start") == 1
    assert "end" not in types


def test_below_the_exit_level_it_ends():
    tracker = EventTracker(Config(enter=0.6, exit=0.4, missing_s=1))
    assert [t for t, _, _ in told(tracker, *film(classified, *[0.7] * 5, *[0.3] * 15))] == ["start", "end"]


def test_an_open_event_is_told_again_now_and_then_and_when_its_score_rises():
    tracker = EventTracker(Config(update_s=5))
    frames = film(detected, *[0.65] * 20, *[0.70] * 20, *[0.80] * 70)
    events = [(e.type, round(e.score, 2)) for p in frames for e in tracker.update(p)]
    assert events == [("start", 0.65), ("update", 0.8), ("update", 0.8)]


def test_each_class_of_a_picture_and_each_stream_has_its_own():
    tracker = EventTracker(run_id="r")
    frames = [detected((3, 0.9), (3, 0.8), (2, 0.7), captured_s=t) for t in (1, 1.1)]
    other = [detected((3, 0.9), captured_s=t, stream="camera1") for t in (1, 1.1)]
    assert told(tracker, *frames, *other) == [
        ("start", "person", "r-1"),
        ("start", "dog", "r-2"),
        ("start", "person", "r-3"),
    ]


def test_classify_follows_the_top_label_and_audio_every_one():
    both = ((1, 0.9), (2, 0.8))
    assert told(EventTracker(run_id="r"), *[classified(*both, captured_s=t) for t in (1, 2)]) == [
        ("start", "cat", "r-1")
    ]
    assert told(EventTracker(run_id="r"), *[heard(*both, captured_s=t) for t in (1, 2)]) == [
        ("start", "cat", "r-1"),
        ("start", "dog", "r-2"),
    ]


def test_an_anomaly_is_measured_by_its_own_threshold():
    tracker = EventTracker(Config(missing_s=1), run_id="r")
    scores = [10, 10, 26, 27, 24, 24, 24] + [10] * 15  # of 25; 24 is above two thirds of it
    frames = [anomaly(float(s), 25.0, captured_s=100 + i / 10) for i, s in enumerate(scores)]
    events = [e for p in frames for e in tracker.update(p)]
    assert [(e.type, e.label, e.class_id, e.score) for e in events] == [
        ("start", "anomaly", None, 27.0),
        ("end", "anomaly", None, 27.0),
    ]
    assert told(tracker, *[anomaly(99.0, None, captured_s=200 + t) for t in range(3)]) == []


def test_tasks_without_labels_have_no_events():
    assert told(EventTracker(), *[regressed(5.0, captured_s=t) for t in range(5)]) == []


def test_a_label_in_every_slow_frame_is_there_in_between():
    tracker = EventTracker(Config(missing_s=2))
    frames = film(detected, *[0.9] * 5, None, fps=0.2)
    assert [t for t, _, _ in told(tracker, *frames) if t != "update"] == ["start", "end"]


def test_a_stream_that_goes_offline_ends_its_events():
    tracker = EventTracker()
    told(tracker, *film(detected, 0.9, 0.9))
    told(tracker, *[detected((2, 0.9), captured_s=t, stream="camera1") for t in (1, 2)])
    assert [(e.type, e.stream) for e in tracker.end_stream("camera0")] == [("end", "camera0")]
    assert tracker.end_stream("camera0") == []
    assert [(e.type, e.stream) for e in tracker.end_all()] == [("end", "camera1")]
    assert tracker.end_all() == []


def test_a_model_gone_wild_fills_no_memory():
    tracker = EventTracker(Config(max_open=4))
    wild = [detected(*[(c, 0.9) for c in range(100)], captured_s=t) for t in (1, 1.1, 1.2)]
    assert [t for t, _, _ in told(tracker, *wild)] == ["start"] * 4


def test_ids_of_two_runs_differ_without_a_clock(monkeypatch):
    monkeypatch.setattr("edge_runtime.sinks.events.time.time_ns", lambda: 0)
    ids = {told(EventTracker(), *film(detected, 0.9, 0.9))[0][2] for _ in range(5)}
    assert len(ids) == 5


def test_an_event_reads_as_the_contract_shows_it():
    tracker = EventTracker(run_id="r")
    (event,) = [e for p in film(detected, 0.9, 0.9) for e in tracker.update(p)]
    found = json.loads(event_payload(event, "porch"))
    assert found.pop("started_at") == event.started_at
    assert found == {
        "schema": 1, "device": "porch", "stream": "camera0", "type": "start", "id": "r-1", "class_id": 3,
        "label": "person", "score": 0.9, "ended_at": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "wrong", [{"enter": 0.3, "exit": 0.4}, {"exit": 0.0}, {"min_frames": 0}, {"update_s": 0}, {"missing_s": -1}]
)
def test_settings_without_hysteresis_are_refused(wrong):
    with pytest.raises(ValueError, match=r"exit|min_frames"):
        Config(**wrong)


frames = st.lists(
    st.tuples(
        st.sampled_from(["camera0", "camera1"]),
        st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), max_size=4),
        st.floats(0, 3),
        st.booleans(),
    ),
    max_size=60,
)


@given(frames=frames)
def test_every_start_has_exactly_one_end_and_updates_in_between(frames):
    tracker = EventTracker(Config(missing_s=2, update_s=4))
    now_s = {"camera0": 100.0, "camera1": 100.0}
    messages = []
    for stream, rows, step_s, goes_offline in frames:
        now_s[stream] += step_s
        rows.sort(key=lambda row: -row[1])
        messages += tracker.update(detected(*rows, captured_s=now_s[stream], stream=stream))
        if goes_offline and step_s > 2.8:
            messages += tracker.end_stream(stream)
    messages += tracker.end_all()
    by_id = {}
    for event in messages:
        by_id.setdefault(event.id, []).append(event)
    for events in by_id.values():
        types = [event.type for event in events]
        assert types[0] == "start"
        assert types[-1] == "end"
        assert set(types[1:-1]) <= {"update"}
        assert len({(e.stream, e.class_id, e.started_at) for e in events}) == 1
        assert [e.score for e in events] == sorted(e.score for e in events)
        assert all((e.ended_at is None) == (e.type != "end") for e in events)
        assert events[0].started_at <= events[-1].ended_at
    # Of one label there is never more than one open at a time.
    still_open = set()
    for event in messages:
        key = (event.stream, event.class_id)
        assert (key in still_open) == (event.type != "start")
        (still_open.discard if event.type == "end" else still_open.add)(key)


@given(st.integers(0, 10**15))
def test_base36_is_read_back_by_python(number):
    assert int(base36(number), 36) == number
