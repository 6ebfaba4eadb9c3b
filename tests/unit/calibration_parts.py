"""Networks that were never timed, for the tests of what calibration learns from networks."""

from collections.abc import Callable

import numpy as np

from edge_runtime.analysis.calibration.context import Whole
from edge_runtime.analysis.surroundings import Surroundings


def made_up_wholes(
    seed: int, around: Callable[[tuple[int, ...]], Surroundings], more_us: Callable[[Surroundings], float]
) -> list[Whole]:
    """Return sixty networks of three kinds, of 3 to 19 operators each, that take ``more_us`` than these alone.

    ``around`` makes their surroundings of one size in bytes for each operator, ``more_us`` is asked about those.
    """
    random = np.random.default_rng(seed)
    wholes = []
    for number in range(60):
        count = int(random.integers(3, 20))
        alone_us = tuple(float(us) for us in random.uniform(5, 50, count))
        made = around(tuple(int(size) for size in random.integers(1_000, 900_000, count)))
        wholes.append(Whole(made, 1, sum(alone_us) + more_us(made), alone_us, ("a", "b", "c")[number % 3]))
    return wholes
