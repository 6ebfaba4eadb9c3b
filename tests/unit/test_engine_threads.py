"""How many threads the interpreter gets."""

import contextlib
import os
from pathlib import Path

import pytest

from edge_runtime.engines import litert
from edge_runtime.engines.factory import fewest_threads, measure_threads, open_engine
from edge_runtime.engines.litert import EngineConfig, default_threads
from edge_runtime.errors import ConfigError
from edge_runtime.manifest import Overrides, resolve

pytestmark = pytest.mark.runtime

DIGITS = Path(__file__).parents[2] / "edge_runtime" / "demo" / "digits.tflite"


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 2), (4, 3), (5, 4), (64, 4)])
def test_one_core_is_left_to_everything_else(monkeypatch: pytest.MonkeyPatch, cores: int, threads: int) -> None:
    monkeypatch.setattr(litert.os, "sched_getaffinity", lambda _: set(range(cores)))
    assert default_threads() == threads


@pytest.mark.parametrize(
    ("durations_s", "best"),
    [
        ([10.0], 1),
        ([10.0, 5.2], 2),
        ([10.0, 9.5], 1),  # 5 % are not worth a core
        ([10.0, 12.0, 13.0], 1),
        ([10.0, 5.5, 4.0, 3.9], 3),
        ([10.0, 11.0, 4.0, 3.2], 4),  # a pair may be slow where more are not
    ],
)
def test_more_threads_must_be_worth_it(durations_s: list[float], best: int) -> None:
    assert fewest_threads(lambda threads: durations_s[threads - 1], cores=len(durations_s)) == best


def test_many_cores_are_not_all_tried() -> None:
    tried: list[int] = []

    def took_s(threads: int) -> float:
        tried.append(threads)
        return 1.0 / threads

    assert fewest_threads(took_s, cores=128) == 8
    assert tried == [1, 2, 3, 4, 5, 6, 7, 8]


def test_measuring_runs_the_model_itself() -> None:
    assert 1 <= measure_threads(str(DIGITS)) <= len(os.sched_getaffinity(0))


def test_a_number_is_taken_as_it_is() -> None:
    with contextlib.closing(open_engine(resolve(DIGITS, Overrides()), EngineConfig(threads=3))) as engine:
        assert engine.threads == 3


@pytest.mark.parametrize("threads", [0, -1, 65])
def test_a_senseless_number_is_refused(threads: int) -> None:
    with pytest.raises(ConfigError, match="expected 1 to 64 or auto"):
        open_engine(resolve(DIGITS, Overrides()), EngineConfig(threads=threads))
