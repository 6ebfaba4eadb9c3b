"""Which samples calibrate and which are compared: never the same one for both."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.options import CALIBRATED, RANDOM, Options
from converters.readers import open_labelled_pool, open_pool
from converters.sample_pool import Drawn, Feeder, Pool, draw, random_pool, sample_shape, spread, spread_over
from converters.tensor_model import TensorFeeder, random_tensors
from edge_runtime.errors import UsageError

MOST_COMPARED: Final = 200
"""Samples compared when they carry no labels; labelled ones are all scored."""
_HELD_BACK: Final = 5
"""One in so many samples is held back from calibration when there are few."""
_LEAST_CHOSEN: Final = 40
"""Calibration samples of which some can be spared; a choice made on fewer than eight would be chance."""
_LEAST_TRIED, _MOST_TRIED = 4, 32
"""Samples on which candidates are tried."""
_RANDOM_COMPARED: Final = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """The samples of one conversion, read and written to files."""

    where: str
    calibration: Drawn | None
    trial: Drawn | None
    """Calibration samples on which candidates are tried; held back where there are enough of them."""
    compared: Drawn
    compared_with: str
    warnings: tuple[str, ...]
    classes: tuple[str, ...] = ()
    """What labelled samples call the classes that the model has no names for."""


def plan(options: Options, feeder: Feeder | TensorFeeder, *, folder: Path) -> Plan:
    """Read the samples. Raises UsageError when there are too few, or none but those used for calibration."""
    pool = _calibration_pool(options, feeder)
    warnings: list[str] = []
    drawn: Drawn | None = None
    trial: Drawn | None = None
    rest: list[int] = []
    if pool is not None:
        classes = pool.class_ids
        chosen, rest = split(pool.count, options.samples, hold_back=options.evaluation is None, classes=classes)
        if options.quantize in CALIBRATED:
            chosen, held_back = hold_back_trial(chosen, classes)
            drawn = draw(pool, chosen, folder / "calibration.npy")
            warnings += _skipped(drawn, pool)
            trial = _draw_trial(pool, held_back, folder / "trial.npy", without=drawn.keys)
            if trial is None:
                trial = drawn  # too few to spare any
        else:
            rest = spread(pool.count, MOST_COMPARED)
    if options.calibrated_at_random:
        warnings.append(
            "calibrated with random inputs: the ranges are guesses, and the numbers are not those of real data"
        )
    used = frozenset().union(*(one.keys for one in (drawn, trial) if one is not None))
    if options.evaluation is not None:
        if isinstance(feeder, TensorFeeder):
            raise UsageError("--eval scores pictures and windows; a model that is fed tensors is compared only")
        labelled = open_labelled_pool(options.evaluation, feeder)
        compared = draw(labelled, range(labelled.count), folder / "compared.npy", without=used)
        warnings += _skipped(compared, labelled)
        check_labels(compared, feeder)
        return Plan(
            _name(pool), drawn, trial, compared, f"{labelled.where} (labelled)", tuple(warnings), labelled.classes
        )
    source = pool if pool is not None and rest else _random(feeder)
    indices = [rest[place] for place in spread(len(rest), MOST_COMPARED)] if rest else list(range(source.count))
    compared = draw(source, indices, folder / "compared.npy", without=used)
    check_labels(compared, feeder)
    if pool is None:
        warnings.append("compared on random inputs only: give --calibration or --eval for numbers of real data")
    return Plan(_name(pool), drawn, trial, compared, source.where, tuple(warnings))


def split(
    count: int, wanted: int, *, hold_back: bool, classes: NDArray[Any] | None = None
) -> tuple[list[int], list[int]]:
    """Return which of ``count`` samples calibrate, at most ``wanted``, and which are left.

    ``classes``, (count,), are those of the samples where they are known: all are met, in whatever order they come.
    With ``hold_back`` at least one in five is left to compare with. Raises UsageError for a single sample.
    """
    if hold_back:
        if count < 2:
            raise UsageError("--calibration: one sample is not enough: some calibrate and others are compared")
        wanted = min(wanted, count - max(1, count // _HELD_BACK))
    chosen = spread_over(classes, count, wanted)
    taken = set(chosen)
    return chosen, [index for index in range(count) if index not in taken]


def hold_back_trial(chosen: list[int], classes: NDArray[Any] | None = None) -> tuple[list[int], list[int]]:
    """Return which of the chosen samples calibrate, and which are held back: one in five, none where there are few."""
    if len(chosen) < _LEAST_CHOSEN:
        return chosen, []
    wanted = min(_MOST_TRIED, max(_LEAST_TRIED, len(chosen) // _HELD_BACK))
    places = set(spread_over(None if classes is None else classes[chosen], len(chosen), wanted))
    return (
        [index for place, index in enumerate(chosen) if place not in places],
        [index for place, index in enumerate(chosen) if place in places],
    )


def _draw_trial(pool: Pool, indices: list[int], path: Path, *, without: frozenset[str]) -> Drawn | None:
    """Return the samples held back; None where there are none, or only ones that calibrate as well."""
    if not indices:
        return None
    try:
        return draw(pool, indices, path, without=without)
    except UsageError:
        return None


def check_labels(drawn: Drawn, feeder: Feeder | TensorFeeder) -> None:
    """Refuse class ids that a classifier does not have. Raises UsageError."""
    spec, targets = feeder.spec, drawn.targets
    if spec.task not in {"classify", "audio"} or targets is None:
        return
    classes = int(np.prod(sample_shape(spec.outputs[0].shape)))
    if targets.ndim > 1 and targets[0].size not in {1, classes}:
        raise UsageError(f"labels of {targets[0].size} values, the model tells {classes} classes apart")
    if targets.ndim == 1 and (targets.min() < 0 or targets.max() >= classes):
        found = f"{targets.min():g} to {targets.max():g}"
        raise UsageError(f"labels from {found}, the model's classes are 0 to {classes - 1}")


def _random(feeder: Feeder | TensorFeeder) -> Pool:
    if isinstance(feeder, TensorFeeder):
        return random_tensors(feeder.spec, _RANDOM_COMPARED)
    return random_pool(feeder.spec, _RANDOM_COMPARED)


def _calibration_pool(options: Options, feeder: Feeder | TensorFeeder) -> Pool | None:
    if options.calibration is None or (options.calibration == RANDOM and options.quantize not in CALIBRATED):
        return None
    if isinstance(feeder, TensorFeeder):
        return feeder.open(options.calibration)
    return open_pool(options.calibration, feeder)


def _skipped(drawn: Drawn, pool: Pool) -> list[str]:
    return [f"{pool.where}: {drawn.skipped} broken samples were left out"] if drawn.skipped else []


def _name(pool: Pool | None) -> str:
    return pool.where if pool else ""
