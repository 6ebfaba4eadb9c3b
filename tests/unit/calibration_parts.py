"""Contexts and networks that were never timed, for the tests of what calibration learns from networks."""

from collections.abc import Callable
from typing import Any

import numpy as np

from edge_runtime.analysis.calibration.context import Whole
from edge_runtime.analysis.network_cost import Alone, Context
from edge_runtime.analysis.surroundings import Surroundings


def context(threads: int = 1, **changed: Any) -> Context:
    """Return one in which nothing costs anything beside the operators and a microsecond of a call."""
    costs = ("cold_us_per_mb", "cold_once_us_per_mb", "handed_us_per_mb", "shared_us", "wake_us", "copy_us_per_mb")
    values: dict[str, Any] = dict.fromkeys(costs, 0.0) | {
        "threads": threads, "scale": 1.0, "per_operator_us": 0.0, "call_us": 1.0, "error": 0.1,
        "kept_bytes": 2**20, "level2_bytes": 2**20, "caches": 1,
    }  # fmt: skip
    return Context(**(values | changed))


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
        alone_us = random.uniform(5, 50, count).tolist()
        made = around(tuple(int(size) for size in random.integers(1_000, 900_000, count)))
        alone = Alone.of(alone_us, alone_us)
        wholes.append(Whole(made, 1, sum(alone_us) + more_us(made), alone, ("a", "b", "c")[number % 3]))
    return wholes
