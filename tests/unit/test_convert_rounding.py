"""What may be called rounding when a network is compared with its conversion."""

import numpy as np
import pytest

from converters.comparison import sqnr_db
from converters.rounding import LEAST_DB, SAME_NETWORK_DB, disturbed, explains


def test_a_disturbed_number_differs_in_its_last_bits_only() -> None:
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    other = disturbed(values, np.random.default_rng(1))
    assert (values != other).any()
    assert (np.abs(other - values) <= 2.0 * np.spacing(np.abs(values))).all()
    assert 130 < sqnr_db(values, other) < 150


@pytest.mark.parametrize(
    ("found_db", "own_db", "right"),
    [
        (SAME_NETWORK_DB, 200.0, True),
        (89.0, 140.0, False),
        (82.0, 84.0, True),
        (70.0, 84.0, False),
        (55.0, 58.0, True),
        (LEAST_DB - 1.0, 52.0, False),
        (60.0, -200.0, False),
    ],
)
def test_a_difference_is_rounding_when_the_source_is_as_far_from_itself(
    found_db: float, own_db: float, right: bool
) -> None:
    assert explains(found_db, own_db) is right


def test_the_lowest_number_stands_for_minus_infinity() -> None:
    lowest = float(np.finfo(np.float32).min)
    assert sqnr_db(np.array([1.0, lowest]), np.array([1.0, -np.inf])) == 200.0
    assert sqnr_db(np.array([1.0, lowest]), np.array([1.0, 3.0])) == -200.0
