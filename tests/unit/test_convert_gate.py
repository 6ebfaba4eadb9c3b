"""What is compared, and what the gate refuses."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters import comparison, gate


def scores(classes: list[int], count: int = 4) -> np.ndarray:
    return np.eye(count, dtype=np.float32)[classes]


def test_sqnr_is_the_ratio_of_signal_to_noise_power() -> None:
    assert comparison.sqnr_db(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(20.0)


def test_equal_outputs_and_broken_ones_have_the_extreme_ratios() -> None:
    wanted = np.ones(3)
    assert comparison.sqnr_db(wanted, wanted) == comparison.SAME_DB
    assert comparison.sqnr_db(wanted, np.array([1.0, np.nan, 1.0])) == -comparison.SAME_DB
    assert comparison.sqnr_db(np.zeros(3), wanted) == -comparison.SAME_DB


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=20), st.floats(0.1, 10))
def test_sqnr_does_not_depend_on_the_unit(values: list[float], unit: float) -> None:
    wanted = np.array([*values, 1.0])
    got = wanted + 0.01
    assert comparison.sqnr_db(wanted * unit, got * unit) == pytest.approx(comparison.sqnr_db(wanted, got))


@pytest.mark.parametrize("features_last", [True, False])
def test_scores_are_compared_apart_from_boxes_in_pixels(features_last: bool) -> None:
    generator = np.random.default_rng(0)
    boxes, scores = generator.uniform(0, 640, (3, 50, 4)), generator.uniform(0, 1, (3, 50, 2))
    wanted = np.concatenate([boxes, scores], axis=2)
    got = np.round(wanted / 2.5) * 2.5
    if not features_last:
        wanted, got = wanted.transpose(0, 2, 1), got.transpose(0, 2, 1)
    found = comparison.compare("head", wanted, got)
    assert found.sqnr_db > 45
    assert found.scores_db is not None
    assert found.scores_db < 5
    assert "dB of its scores" in gate.judge(["head"], [wanted], [got], classifier=False).failures[0]
    assert comparison.compare("scores", wanted / 640, got / 640).scores_db is None  # one scale serves both
    assert comparison.compare("nothing", wanted[:, :0], got[:, :0]).sqnr_db == comparison.SAME_DB


def test_a_constant_classifier_has_no_entropy() -> None:
    assert comparison.class_entropy_bits(scores([1, 1, 1])) == 0.0
    assert comparison.class_entropy_bits(scores([0, 1, 2, 3])) == pytest.approx(2.0)


def test_the_paired_interval_is_that_of_agresti_and_min() -> None:
    before = np.array([True] * 90 + [False] * 10)
    after = np.array([True] * 80 + [False] * 20)  # ten were lost, none gained
    paired = comparison.paired_difference(before, after)
    half = 1.959964 * math.sqrt(0.5 + 10.5 - 10.0**2 / 102) / 102
    assert (paired.before, paired.after, paired.count) == (0.9, 0.8, 100)
    assert (paired.low, paired.high) == pytest.approx((-10 / 102 - half, -10 / 102 + half))


@given(st.permutations([1, 2, 3]), st.booleans())
def test_an_arrangement_is_found_by_the_values(order: list[int], swapped: bool) -> None:
    generator = np.random.default_rng(0)
    sources = [generator.normal(size=(3, 4, 4, 4)), generator.normal(size=(3, 4, 4, 4))]
    axes = (0, *order)
    converted = [source.transpose(axes) for source in sources]
    if swapped:
        converted.reverse()
    found = comparison.arrange(sources, converted)
    assert all(
        np.array_equal(got, wanted) for got, wanted in zip(comparison.arranged(sources, found), converted, strict=True)
    )


def test_outputs_of_another_shape_have_no_arrangement() -> None:
    with pytest.raises(ValueError, match=r"\[5\]"):
        comparison.arrange([np.zeros((2, 4))], [np.zeros((2, 5))])


def test_axes_are_every_order_that_fits() -> None:
    assert comparison.axes_between((1, 3, 8, 9), (1, 8, 9, 3)) == [(0, 2, 3, 1)]
    assert len(comparison.axes_between((1, 2, 2, 2), (1, 2, 2, 2))) == len(list(itertools.permutations(range(3))))


def test_what_is_near_passes() -> None:
    reference = scores([0, 1, 2, 3] * 10)
    verdict = gate.judge(["s"], [reference], [reference + 0.01], classifier=True, targets=np.array([0, 1, 2, 3] * 10))
    assert verdict.passed
    assert verdict.agreement == 1.0
    assert verdict.accuracy is not None
    assert verdict.accuracy.after == 1.0


def test_noise_is_refused_with_the_output_named() -> None:
    reference = scores([0, 1] * 50)
    verdict = gate.judge(["boxes"], [reference], [reference * 0.5], classifier=False)
    assert verdict.failures == ("output boxes: 6.0 dB, at least 20 dB are wanted",)


def test_other_classes_are_refused_though_the_ratio_is_good() -> None:
    reference = np.array([[10.0, 10.0 + 1e-3]] * 20, np.float32)
    verdict = gate.judge(["s"], [reference], [reference[:, ::-1]], classifier=True)
    assert verdict.sqnr_db > 60
    assert len(verdict.failures) == 1
    assert "0.0% of samples" in verdict.failures[0]


def test_a_loss_is_refused_only_beyond_the_interval() -> None:
    classes = np.array([0] * 1000)
    reference = scores([0] * 1000) * 100
    few, many = (np.array(reference) for _ in range(2))
    few[:12] = scores([1] * 12) * 100
    many[:40] = scores([1] * 40) * 100
    passed = gate.judge(["s"], [reference], [few], classifier=True, targets=classes)
    assert not any("accuracy" in failure for failure in passed.failures)
    refused = gate.judge(["s"], [reference], [many], classifier=True, targets=classes)
    assert any("accuracy 100.0% became 96.0%" in failure for failure in refused.failures)


@pytest.mark.parametrize("targets", [np.array([0, 1, 2]), np.array([0.0, 1.0, 2.0]), scores([0, 1, 2])])
def test_labels_may_be_numbers_or_one_hot_rows(targets: np.ndarray) -> None:
    verdict = gate.judge(["s"], [scores([0, 1, 2])], [scores([0, 1, 3])], classifier=True, targets=targets)
    assert verdict.accuracy is not None
    assert (verdict.accuracy.before, verdict.accuracy.after) == (1.0, pytest.approx(2 / 3))


def test_values_are_scored_by_their_mean_squared_error() -> None:
    verdict = gate.judge(["v"], [np.ones((2, 3))], [np.zeros((2, 3))], classifier=False, targets=np.ones((2, 3)))
    assert verdict.mean_squared_error == (0.0, 1.0)


def near_ties(total: int, fallen: int) -> gate.Verdict:
    """The verdict over ``total`` samples of which ``fallen`` got a second class that is a little better."""
    best = scores([number % 4 for number in range(total)])
    second = np.roll(best, 1, axis=1)
    before = best + 0.99 * second
    after = before + 0.02 * second * (np.arange(total) < fallen)[:, None]
    return gate.judge(["out"], [before], [after], classifier=True)


@pytest.mark.parametrize(
    ("total", "fallen", "passed", "doubted"),
    [(20, 0, True, False), (20, 2, True, True), (20, 8, False, False), (4, 1, True, True), (100, 7, False, False)],
)
def test_few_samples_near_the_mark_are_a_doubt_and_no_refusal(
    total: int, fallen: int, passed: bool, doubted: bool
) -> None:
    verdict = near_ties(total, fallen)
    assert verdict.agreement == pytest.approx(1 - fallen / total)
    assert verdict.passed == passed
    assert bool(verdict.doubts) == doubted
    if doubted:
        assert "give more samples, 40 at least" in verdict.doubts[0]


def test_the_interval_of_a_share_is_wilsons() -> None:
    assert gate.share_interval(0.9, 20) == pytest.approx((0.699, 0.972), abs=5e-4)
    assert gate.share_interval(1.0, 59)[1] == pytest.approx(1.0)
