"""How the range of an activation follows from what calibration saw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.report.charts import errors
from converters.rescue.ranges import (
    RANGE_METHODS,
    Observed,
    RangeMethod,
    chosen_range,
    clipped_share,
    expected_error,
)
from converters.steps.quantizer import _Prepared


def observed(values: np.ndarray) -> Observed:
    return Observed(float(values.min()), float(values.max()), values.astype(np.float32))


def with_an_outlier(outlier: float) -> Observed:
    return observed(np.append(np.random.default_rng(0).normal(size=50_000), [outlier]))


def test_minimum_and_maximum_keep_everything() -> None:
    seen = with_an_outlier(400.0)
    assert chosen_range(seen, "minmax") == (seen.low, 400.0)


def test_a_lone_outlier_does_not_widen_the_percentile() -> None:
    low, high = chosen_range(with_an_outlier(400.0), "percentile")
    assert 3.0 < high < 5.0
    assert -5.0 < low < -3.0


def error(seen: Observed, method: RangeMethod, levels: int = 255) -> float:
    """The error that int8 really makes."""
    low, high = chosen_range(seen, method, levels=levels)
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / levels
    shift = np.rint(low / scale)
    steps = np.clip(np.rint(seen.values / scale), shift, shift + levels)
    return float(np.mean((steps * scale - seen.values) ** 2))


@pytest.mark.parametrize(("tail", "levels"), [(1.0, 15), (1.0, 255), (3.0, 255)])
def test_the_squared_error_is_least_for_its_own_method(tail: float, levels: int) -> None:
    seen = observed(np.random.default_rng(0).laplace(size=100_000) ** tail)
    errors = {name: error(seen, name, levels) for name in RANGE_METHODS}
    assert errors["mse"] <= min(errors.values()) * 1.02


def test_fewer_levels_clip_more() -> None:
    seen = observed(np.random.default_rng(0).normal(size=50_000))
    assert chosen_range(seen, "mse", levels=15)[1] < 0.8 * chosen_range(seen, "mse", levels=65535)[1]


def test_a_rectified_tensor_keeps_its_zero() -> None:
    values = np.maximum(np.random.default_rng(0).normal(size=5000), 0.0)
    assert all(chosen_range(observed(values), method)[0] == 0.0 for method in RANGE_METHODS)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50), st.sampled_from(RANGE_METHODS))
def test_a_range_is_within_what_was_seen(values: list[float], method: RangeMethod) -> None:
    seen = observed(np.array(values))
    low, high = chosen_range(seen, method)
    assert seen.low <= max(low, seen.low) <= min(high, seen.high) <= seen.high or seen.low == seen.high
    assert low <= high


def test_the_clipped_share_counts_both_sides() -> None:
    assert clipped_share(np.arange(10.0), 2.0, 8.0) == pytest.approx(0.3)
    assert clipped_share(np.array([]), 0.0, 1.0) == 0.0


def test_the_expected_error_is_clipping_and_a_twelfth_of_a_step_squared() -> None:
    counts, centres = np.array([1, 3]), np.array([1.0, 5.0])
    assert expected_error(counts, centres, 0.0, 2.55, levels=255) == pytest.approx((1e-4 / 12 + 3 * 2.45**2) / 4)


@pytest.mark.parametrize("low", [0.5, 1e-45, 3e4])
def test_a_tensor_that_hardly_moves_has_a_histogram(low: float) -> None:
    """An untrained network's activations are often neighbours in float32, with no 48 bins between them."""
    neighbours = np.float32(low) + np.spacing(np.float32(low)) * np.arange(3, dtype=np.float32)
    described = _Prepared(b"", {"x": observed(neighbours)}).described("x", (low, low))
    assert sum(described.histogram) == 3
    assert "<svg" in errors(neighbours[:1], neighbours[1:2])
