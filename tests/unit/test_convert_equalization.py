"""Scales and biases move between layers, and the network stays the same."""

from collections.abc import Callable

import numpy as np
import pytest
from float_networks import NONE, RELU, RELU6, Part, answer, chain
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from converters.rescue import equalization
from converters.rescue.bias_correction import correct_biases, rounding_errors
from converters.rescue.network import FloatNetwork
from converters.rescue.ranges import ChannelStatistics
from converters.steps import observer

Seen = Callable[[bytes], dict[str, ChannelStatistics]]

GENERATOR = np.random.default_rng(0)
SHAPE = (1, 5, 5, 3)
SPREAD = np.array([1e-3, 1.0, 30.0, 1e3])


def separable(activation: int = RELU, *, spread: np.ndarray = SPREAD, padding: int = 1) -> bytes:
    """Conv, pool, depthwise, conv: four channels whose sizes differ by ``spread`` inside and not at the end."""
    draw = np.random.default_rng(1).normal
    first = draw(size=(4, 1, 1, 3)) * spread.reshape(4, 1, 1, 1)
    parts = [
        Part("CONV_2D", first, draw(size=4) * spread, activation),
        Part("MAX_POOL_2D"),
        Part("DEPTHWISE_CONV_2D", draw(size=(1, 3, 3, 4)) / spread, draw(size=4), activation, padding),
        Part("CONV_2D", draw(size=(2, 1, 1, 4)), draw(size=2), NONE, padding),
    ]
    side = 5 if padding == 0 else 3
    return chain(SHAPE, parts, [(1, 5, 5, 4), (1, 5, 5, 4), (1, side, side, 4), (1, side, side, 2)])


def pictures(count: int = 20) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(count, *SHAPE)).astype(np.float32)


def statistics(content: bytes) -> dict[str, ChannelStatistics]:
    seen = observer.observe(content, pictures())  # type: ignore[arg-type] - the samples themselves, no file
    return {name: one.channels for name, one in seen.items() if one.channels is not None}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """``seen(content)``: the channels of its tensors over the pictures."""
    monkeypatch.setattr(observer, "read_array", lambda samples: samples)
    return statistics


@pytest.mark.parametrize("activation", [RELU, RELU6, NONE])
def test_an_equalised_network_answers_the_same(activation: int, seen: Seen) -> None:
    content = separable(activation, spread=SPREAD if activation != RELU6 else np.array([0.01, 0.1, 1.0, 10.0]))
    network = FloatNetwork(content)
    assert equalization.equalize(network, seen(content)) == 2
    for picture in pictures(5):
        wanted = answer(content, picture)
        assert np.allclose(answer(network.content(), picture), wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())


def test_equalisation_brings_the_channels_together(seen: Seen) -> None:
    content = separable()
    network = FloatNetwork(content)
    equalization.equalize(network, seen(content))
    before, after = (seen(one)["out0"].high for one in (content, network.content()))
    assert before.max() / before.min() > 1e4
    assert after.max() / after.min() < 10


def test_pairs_are_found_past_pools_only_where_nobody_else_reads() -> None:
    pairs = FloatNetwork(separable()).pairs()
    assert [(pair.first.name, pair.second.name, pair.through) for pair in pairs] == [
        ("out0", "out2", ("MAX_POOL_2D",)),
        ("out2", "out3", ()),
    ]


def test_absorbed_biases_change_nothing(seen: Seen) -> None:
    draw = np.random.default_rng(3).normal
    parts = [
        Part("CONV_2D", draw(size=(4, 1, 1, 3)), np.array([20.0, 0.0, 30.0, -5.0]), RELU),
        Part("CONV_2D", draw(size=(2, 3, 3, 4)), draw(size=2), NONE),
    ]
    content = chain(SHAPE, parts, [(1, 5, 5, 4), (1, 3, 3, 2)])
    network = FloatNetwork(content)
    assert equalization.absorb_biases(network, seen(content)) == 1
    assert network.values(network.layers[0].bias)[0] < 15.0
    for picture in pictures():
        assert np.allclose(answer(network.content(), picture), answer(content, picture), rtol=1e-4, atol=1e-3)


def test_biases_are_not_absorbed_past_zeros_that_are_put_around(seen: Seen) -> None:
    content = separable(padding=0)
    assert equalization.absorb_biases(FloatNetwork(content), seen(content)) == 0


positive = arrays(np.float64, 6, elements=st.floats(1e-6, 1e6))


@given(positive, positive)
def test_both_sides_have_the_same_range_afterwards(first: np.ndarray, second: np.ndarray) -> None:
    divisors = equalization.balancing_divisors(first, second)
    assert np.all(divisors > 0)
    if np.all((divisors > 1.01e-4) & (divisors < 0.99e4)):  # none was limited
        ratio = (first / divisors) / (second * divisors)
        assert np.allclose(ratio, ratio[0])


def test_silent_channels_keep_their_scale() -> None:
    divisors = equalization.balancing_divisors(np.array([0.0, 4.0, 1.0]), np.array([1.0, 1.0, 0.0]))
    assert np.array_equal(divisors, [1.0, 1.0, 1.0])
    assert np.array_equal(equalization.filling_divisors(np.zeros(2)), [1.0, 1.0])


@given(positive, st.sampled_from([6.0, 1.0]))
def test_no_channel_passes_a_ceiling_that_it_was_under(largest: np.ndarray, ceiling: float) -> None:
    largest = np.minimum(largest, ceiling)
    divisors = equalization.under_ceiling(equalization.filling_divisors(largest), largest, ceiling)
    cut_off = largest >= 0.98 * ceiling
    assert np.all(divisors[cut_off] == 1.0)
    assert np.all(largest[~cut_off] / divisors[~cut_off] <= ceiling / 1.2)


def test_a_channel_that_was_silent_by_chance_is_not_blown_up() -> None:
    raised = equalization.at_least_likely(np.array([1.0, 2.0, 1e-9]), np.array([1.0, 2.0, 1.0]))
    assert raised[2] == pytest.approx(0.02)
    assert np.array_equal(raised[:2], [1.0, 2.0])


def test_rounding_errors_are_at_most_half_a_step_of_their_channel() -> None:
    weights = GENERATOR.normal(size=(4, 3, 3, 8)) * SPREAD.reshape(4, 1, 1, 1)
    errors = np.abs(rounding_errors(weights, 0)).max(axis=(1, 2, 3))
    assert np.all(errors <= np.abs(weights).max(axis=(1, 2, 3)) / 127 / 2 + 1e-12)
    assert np.all(rounding_errors(np.zeros((2, 3)), 0) == 0.0)


def test_corrected_biases_take_the_mean_shift_away(seen: Seen) -> None:
    weights = np.random.default_rng(5).normal(size=(6, 1, 1, 3)) ** 3
    content = chain(SHAPE, [Part("CONV_2D", weights, np.zeros(6))], [(1, 5, 5, 6)])
    rounded = weights + rounding_errors(weights, 0)
    network = FloatNetwork(content)
    mean = np.array([3.0, -2.0, 5.0])
    assert correct_biases(network, {"in": mean}) == 1
    bias = network.values(network.layers[0].bias)
    assert np.allclose(rounded[:, 0, 0] @ mean + bias, weights[:, 0, 0] @ mean, atol=1e-5)
    assert not np.allclose(bias, 0.0)
