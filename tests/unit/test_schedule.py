"""When a live frame is prepared: late enough to be fresh, early enough for the engine."""

import pytest
from flow_parts import MS
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.schedule import MARGIN, STALE_FACTOR, Schedule


def measured(*, prepare_ms: float, invoke_ms: float, cores: int = 2) -> Schedule:
    schedule = Schedule(live_only=True, cores=cores)
    schedule.prepared(round(prepare_ms * MS))
    schedule.invoke_started(0)
    schedule.invoke_ended(round(invoke_ms * MS))
    return schedule


def test_nothing_is_held_back_before_anything_was_measured_or_while_the_engine_is_free() -> None:
    fresh = Schedule(live_only=True, cores=2)
    fresh.invoke_started(0)

    assert fresh.hold_s(0) == 0.0
    assert measured(prepare_ms=2, invoke_ms=10).hold_s(0) == 0.0


def test_a_frame_is_prepared_just_in_time_for_the_end_of_the_invoke() -> None:
    schedule = measured(prepare_ms=2, invoke_ms=10)
    schedule.invoke_started(100 * MS)

    assert schedule.hold_s(100 * MS) == pytest.approx((10 - 2 * MARGIN) / 1000)
    assert schedule.hold_s(105 * MS) == pytest.approx((5 - 2 * MARGIN) / 1000)
    assert schedule.hold_s(109 * MS) == 0.0
    assert schedule.hold_s(200 * MS) == 0.0  # an invoke that takes longer than usual


def test_preparing_slower_than_the_engine_starts_at_once() -> None:
    schedule = measured(prepare_ms=20, invoke_ms=10)
    schedule.invoke_started(0)

    assert schedule.hold_s(0) == 0.0


@pytest.mark.parametrize(
    ("prepare_ms", "invoke_ms", "cores", "starved"),
    [(2, 10, 4, False), (9.5, 10, 4, True), (20, 10, 2, True), (20, 10, 1, False)],
)
def test_a_second_thread_prepares_only_where_the_engine_waits_and_a_core_is_left(
    prepare_ms: float, invoke_ms: float, cores: int, starved: bool
) -> None:
    assert measured(prepare_ms=prepare_ms, invoke_ms=invoke_ms, cores=cores).starved is starved


@pytest.mark.parametrize(
    ("prepare_ms", "cores", "in_place"), [(20, 2, True), (2, 2, False), (20, 4, False), (20, 1, False)]
)
def test_on_two_cores_who_prepares_infers_too_where_inference_starves(
    prepare_ms: float, cores: int, in_place: bool
) -> None:
    assert measured(prepare_ms=prepare_ms, invoke_ms=10, cores=cores).in_place is in_place


def test_before_the_first_invoke_one_thread_prepares() -> None:
    schedule = Schedule(live_only=False, cores=4)
    schedule.prepared(5 * MS)

    assert not schedule.starved


def test_a_tensor_grows_too_old_after_some_preparations() -> None:
    schedule = measured(prepare_ms=2, invoke_ms=100)

    assert not schedule.too_old(0, 2 * STALE_FACTOR * MS)
    assert schedule.too_old(0, 2 * STALE_FACTOR * MS + 1)
    assert not Schedule(live_only=True, cores=2).too_old(0, 10**12)  # nothing was measured


@given(st.lists(st.floats(min_value=0.1, max_value=1000.0), min_size=1, max_size=50), st.floats(0.0, 2000.0))
def test_holding_back_never_takes_longer_than_an_invoke(invokes_ms: list[float], since_ms: float) -> None:
    schedule = Schedule(live_only=True, cores=2)
    for invoke_ms in invokes_ms:
        schedule.prepared(MS)
        schedule.invoke_started(0)
        schedule.invoke_ended(round(invoke_ms * MS))
    schedule.invoke_started(0)

    hold_s = schedule.hold_s(round(since_ms * MS))

    assert 0.0 <= hold_s <= max(invokes_ms) / 1000


def test_averages_follow_a_model_that_became_slower() -> None:
    schedule = measured(prepare_ms=2, invoke_ms=10)
    for _ in range(100):
        schedule.invoke_started(0)
        schedule.invoke_ended(50 * MS)
    schedule.invoke_started(0)

    assert schedule.hold_s(0) == pytest.approx((50 - 2 * MARGIN) / 1000, rel=0.01)
