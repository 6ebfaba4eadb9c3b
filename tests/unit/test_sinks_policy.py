import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from predictions import NS, anomaly, classified, detected, prediction, regressed

from edge_runtime.errors import UsageError
from edge_runtime.sinks.policy import Config, PublishPolicy, default_rule
from edge_runtime.types import Poses, RawTensors, Segmentation, Transform


class Clock:
    def __init__(self):
        self.now_ns = 5 * NS

    def __call__(self):
        return self.now_ns

    def advance(self, seconds):
        self.now_ns += round(seconds * NS)


@pytest.fixture
def clock():
    return Clock()


def wanted(policy, *predictions):
    return [policy.wants(p) for p in predictions]


def test_all_publishes_everything(clock):
    policy = PublishPolicy("all", monotonic_ns=clock)
    assert wanted(policy, *[classified((1, 0.5))] * 3) == [True, True, True]


def test_the_default_spares_the_broker_of_a_camera_and_loses_nothing_of_a_folder():
    assert default_rule(live=True) == "change"
    assert default_rule(live=False) == "all"


def test_change_publishes_a_new_top_label_or_a_moved_score(clock):
    policy = PublishPolicy("change", monotonic_ns=clock)
    assert wanted(
        policy,
        classified((1, 0.70), (2, 0.2)),  # the first
        classified((1, 0.60), (2, 0.3)),  # moved by 0.10
        classified((1, 0.50), (2, 0.4)),  # by 0.20 since the one that was published
        classified((1, 0.55), (3, 0.4)),  # another second
        classified((2, 0.55), (1, 0.4)),  # another first
        classified(),  # nothing
        classified(),
    ) == [True, False, True, False, True, True, False]


def test_change_counts_boxes_by_label(clock):
    policy = PublishPolicy("change", monotonic_ns=clock)
    assert wanted(
        policy,
        detected(),
        detected(),
        detected((3, 0.9)),
        detected((3, 0.9), (3, 0.6)),
        detected((3, 0.95), (3, 0.7)),
        detected((3, 0.95), (2, 0.7)),
    ) == [True, False, True, True, False, True]


def test_change_tells_numbers_by_proportion_and_anomalies_by_their_flip(clock):
    policy = PublishPolicy("change", monotonic_ns=clock)
    assert wanted(policy, regressed(20.0), regressed(21.9), regressed(22.1), regressed(22.1, 1.0)) == [
        True,
        False,
        True,
        True,
    ]
    policy.forget("camera0")
    assert wanted(policy, anomaly(0.96), anomaly(0.98), anomaly(1.01), anomaly(1.02), anomaly(1.5)) == [
        True,
        False,
        True,
        False,
        True,
    ]


def test_change_knows_poses_areas_and_raw_tensors(clock):
    policy = PublishPolicy("change", monotonic_ns=clock)

    def pose(n):
        return prediction(Poses(np.zeros((n, 17, 3), np.float32), np.full(n, 0.9, np.float32), (8, 8)), "pose")

    assert wanted(policy, pose(1), pose(1), pose(2), pose(0)) == [True, False, True, True]
    policy.forget("camera0")

    def segments(*pixels):
        whole = Transform((100, 100), (100, 100), (1, 1))
        mask = np.zeros((100, 100), np.uint8)
        ids = np.arange(len(pixels))
        return prediction(Segmentation(mask, ids, np.array(pixels), (None,) * len(pixels), whole), "segment")

    # The second class is the flicker of an edge until it covers a hundredth of the picture.
    assert wanted(policy, segments(10_000), segments(9_950, 50), segments(9_800, 200)) == [True, False, True]
    raw = prediction(RawTensors(("a",), (np.zeros(1),)), "raw")
    assert wanted(policy, raw, raw) == [True, True]


def test_change_sends_a_heartbeat_counted_from_the_last_that_was_published(clock):
    policy = PublishPolicy("change", monotonic_ns=clock)
    same = classified((1, 0.7))
    assert policy.wants(same)
    clock.advance(9.9)
    assert not policy.wants(same)
    clock.advance(0.1)
    assert policy.wants(same)
    clock.advance(9.9)
    assert not policy.wants(same)


def test_a_score_that_is_no_number_counts_as_a_change(clock):
    policy = PublishPolicy("change", monotonic_ns=clock)
    assert wanted(policy, classified((1, 0.7)), classified((1, float("nan")))) == [True, True]


def test_streams_do_not_speak_for_each_other(clock):
    for rule in ("change", "1/s"):
        policy = PublishPolicy(rule, monotonic_ns=clock)
        one, two = classified((1, 0.7)), classified((1, 0.7), stream="camera1")
        assert wanted(policy, one, two, one, two) == [True, True, False, False]


def test_the_threshold_and_the_heartbeat_can_be_set(clock):
    policy = PublishPolicy("change", config=Config(score=0.5, heartbeat_s=1), monotonic_ns=clock)
    assert wanted(policy, classified((1, 0.9)), classified((1, 0.5))) == [True, False]
    clock.advance(1)
    assert policy.wants(classified((1, 0.5)))


@given(
    rate=st.sampled_from([("5/s", 5.0), ("0.2/s", 0.2), (".5/s", 0.5), ("7/s", 7.0), ("100/s", 100.0)]),
    fps=st.floats(0.5, 60),
)
def test_a_rate_is_kept_on_average_and_never_exceeded(rate, fps):
    clock = Clock()
    rule, per_second = rate
    policy = PublishPolicy(rule, monotonic_ns=clock)
    same = classified((1, 0.5))
    frames, seconds = round(60 * fps), 60
    published = 0
    for _ in range(frames):
        published += policy.wants(same)
        clock.advance(1 / fps)
    expected = min(fps, per_second) * seconds
    assert published <= expected + 1
    # A frame that comes just before its turn waits for the next: at most half is lost where fps is near the rate.
    assert published >= (expected - 1 if fps >= 4 * per_second or fps <= per_second / 2 else expected / 2)


def test_a_pause_is_not_made_up_for_in_a_burst(clock):
    policy = PublishPolicy("1/s", monotonic_ns=clock)
    same = classified((1, 0.5))
    assert policy.wants(same)
    clock.advance(100)
    assert wanted(policy, same, same, same) == [True, False, False]


@pytest.mark.parametrize("rule", ["", "some", "5", "0/s", "-1/s", "5 / s", "nan/s", "1e3/s", "5/s "])
def test_another_rule_is_a_usage_error_that_names_the_right_ones(rule):
    with pytest.raises(UsageError, match="all, change or a rate"):
        PublishPolicy(rule)
