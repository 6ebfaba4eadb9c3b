"""Quantise the float network: the usual way first, and with ``--rescue`` the ways that cost more, until one passes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from converters.arrays import Array
from converters.artifact import int8_macs
from converters.child import Child, StepReport
from converters.gate import LOWEST_SQNR_DB, Verdict, judge
from converters.litert import LiteRt
from converters.options import CALIBRATED, Options
from converters.own_boxes import LARGEST_MOVE, OwnBoxes, moved
from converters.progress import Progress
from converters.rescue.ladder import climb
from converters.rescue.ranges import RANGE_METHODS, RangeMethod
from converters.rescue.recipe import Candidate, LayerError, Recipe, TensorRange
from converters.stages import Source
from edge_runtime.errors import EngineError, ModelError
from edge_runtime.model_file import read_model
from edge_runtime.types import ImageInput

_LEAST_TRIED: Final = 4
"""Calibration samples without which nothing is compared before the verdict: the usual ranges are taken."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One quantised network that is worth judging."""

    path: Path
    ranges: tuple[TensorRange, ...] = ()
    candidate: Candidate | None = None


class Quantization:
    """The children that quantise one float network and try the results. A context manager; one thread."""

    def __init__(
        self,
        options: Options,
        *,
        source: Source,
        folder: Path,
        litert: LiteRt,
        progress: Progress,
    ) -> None:
        self._options = options
        self._source = source.path
        self._spec = source.spec
        self._plan = source.plan
        self._classifier = source.classifier
        self._folder = folder
        self._progress = progress
        self._stack = ExitStack()
        self._right: Callable[[], list[Array]] = list
        self._own_boxes: Callable[[], OwnBoxes | None] = lambda: None
        self._attempts: dict[Recipe, Attempt] = {}
        self._expected: tuple[Recipe, ...] = ()
        self._begun: dict[Recipe, tuple[Path, Callable[[], dict[str, Any]]]] = {}
        """What the quantiser works on while the one before runs."""
        self._title = f"quantising ({options.quantize})"
        counted = lambda done, total: progress(self._title, done, total)  # noqa: E731
        self._quantizer = Child("quantizer", folder=folder, title="quantise", on_count=counted)
        self._litert = litert

    def __enter__(self) -> Self:
        """Start the quantiser's process."""
        self._stack.enter_context(self._quantizer)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the processes."""
        self._stack.__exit__(kind, error, at)

    @property
    def reports(self) -> tuple[StepReport, ...]:
        """Return what quantising and trying cost so far."""
        return (self._quantizer.report,)

    def table(self, chosen: Attempt) -> tuple[Candidate, ...]:
        """Return what was measured of every recipe that was tried, in order; one of them was chosen."""
        rows = [attempt for attempt in self._attempts.values() if attempt.candidate is not None]
        return tuple(replace(one.candidate, chosen=one.path == chosen.path) for one in rows if one.candidate)

    def attempts(self) -> Iterator[Attempt]:
        """Yield quantised networks until the consumer has one that it takes; the last is the best of all.

        Raises ModelError for a network that the quantiser does not take.
        """
        self._progress(self._title)
        trial = self._plan.trial
        if self._options.quantize not in CALIBRATED or trial is None or trial.count < _LEAST_TRIED:
            yield self._made(Recipe())
            return
        wait = self._litert.begin(self._source, trial.path, stem="right")  # while the first one is quantised
        self._right = cache(lambda: wait().outputs)
        if self._spec.task == "detect" and isinstance(self._spec.input, ImageInput):
            self._own_boxes = cache(lambda: OwnBoxes(self._spec, self._right()))
        spared = trial is not self._plan.calibration
        usual: tuple[RangeMethod, ...] = RANGE_METHODS if spared else ("minmax",)
        methods = usual if self._options.ranges == "auto" else (self._options.ranges,)
        wide = self._options.quantize != "int16x8" and not self._options.edgetpu
        self._expected = tuple(Recipe(ranges=method) for method in methods)
        rungs = climb(
            self._measured, self._worst_layers, joins=self._joins, tail=self._tail, methods=methods, wide=wide
        )
        for number, candidate in enumerate(rungs):
            yield self._attempts[candidate.recipe]
            if number == 0 and self._options.rescue:
                self._title = "rescuing: the gate refused the usual way"
                self._progress(self._title)
            elif number == 0:
                return

    def layer_errors(self, attempt: Attempt) -> tuple[LayerError, ...]:
        """Return what each layer of an artifact has lost against float.

        Empty where there was no calibration, and where the plain kernels, which alone let every tensor be read, do not
        take the artifact: XNNPACK does, and that is what the device runs.
        """
        trial, seen = self._plan.trial, self._plan.calibration
        if trial is None or seen is None:
            return ()
        recipe = attempt.candidate.recipe if attempt.candidate else Recipe()
        try:
            reply = self._quantizer.call(
                "layer_errors",
                source=str(self._source),
                artifact=str(attempt.path),
                samples=str(seen.path),
                trial=str(trial.path),
                recipe=asdict(recipe),
            )
        except ModelError:
            return ()
        return tuple(msgspec.convert(reply["layers"], list[LayerError]))

    def _made(self, recipe: Recipe) -> Attempt:
        if recipe in self._attempts:
            return self._attempts[recipe]
        path, wait = self._begun.pop(recipe) if recipe in self._begun else self._begin(recipe)
        ranges = tuple(msgspec.convert(wait()["ranges"], list[TensorRange]))
        self._attempts[recipe] = Attempt(path, ranges)
        return self._attempts[recipe]

    def _begin(self, recipe: Recipe) -> tuple[Path, Callable[[], dict[str, Any]]]:
        seen = self._plan.calibration
        path = self._folder / f"quantized{len(self._attempts)}.tflite"
        return path, self._quantizer.begin(
            "quantize",
            source=str(self._source),
            output=str(path),
            scheme=self._options.quantize,
            samples=str(seen.path) if seen else None,
            recipe=asdict(recipe),
            plain_dense=self._options.edgetpu,
        )

    def _measured(self, recipe: Recipe) -> Candidate:
        """Return what a recipe loses over the held-back calibration samples."""
        trial = self._plan.trial
        assert trial is not None
        try:
            attempt = self._made(recipe)
            right = self._right()
            wait = self._litert.begin(attempt.path, trial.path, stem="tried")
            self._begin_after(recipe)
            outputs = wait().outputs
            verdict = self._judged(right, outputs)
        except (ModelError, EngineError) as error:
            if not self._attempts or recipe == Recipe():
                raise
            unusable = Candidate(recipe, 0, 0.0, trial.count, -200.0, None, None, (f"does not run: {_reason(error)}",))
            self._attempts[recipe] = Attempt(self._source, candidate=unusable)
            return unusable
        own = self._own_boxes()
        boxes = own.compare(outputs) if own is not None and own.count else None
        candidate = Candidate(
            recipe=recipe,
            size_bytes=attempt.path.stat().st_size,
            int8_macs=round(int8_macs(read_model(attempt.path)), 4),
            samples=trial.count,
            sqnr_db=verdict.sqnr_db,
            agreement=verdict.agreement,
            accuracy=verdict.accuracy.after if verdict.accuracy else None,
            failures=verdict.failures + (moved(boxes) if boxes else ()),
            doubts=verdict.doubts,
            scores_db=verdict.scores_db,
            precision=boxes.after if boxes else None,
        )
        self._attempts[recipe] = replace(attempt, candidate=candidate)
        return candidate

    def _begin_after(self, recipe: Recipe) -> None:
        """Let the quantiser work on what is tried next anyway, while ``recipe`` runs."""
        if recipe in self._expected[:-1]:
            following = self._expected[self._expected.index(recipe) + 1]
            self._begun[following] = self._begin(following)

    def _judged(self, right: list[Array], outputs: list[Array]) -> Verdict:
        assert self._plan.trial is not None
        names = [f"{number}" for number in range(len(right))]
        targets = self._plan.trial.targets if self._classifier else None
        return judge(names, right, outputs, classifier=self._classifier, targets=targets)

    def _joins(self, candidate: Candidate) -> list[str]:
        lost = candidate.scores_db is not None and candidate.scores_db < LOWEST_SQNR_DB
        return self._layers("joins") if lost else []

    def _tail(self, candidate: Candidate) -> list[str]:
        lost = candidate.precision is not None and candidate.precision < 1.0 - LARGEST_MOVE
        return self._layers("decoding") if lost else []

    def _layers(self, kind: str) -> list[str]:
        seen = self._plan.calibration
        assert seen is not None
        reply = self._quantizer.call(kind, source=str(self._source), samples=str(seen.path))
        return [str(name) for name in reply["layers"]]

    def _worst_layers(self, recipe: Recipe) -> list[str]:
        self._progress(self._title)
        trial, seen = self._plan.trial, self._plan.calibration
        assert trial is not None
        assert seen is not None
        reply = self._quantizer.call(
            "alone",
            source=str(self._source),
            samples=str(seen.path),
            trial=str(trial.path),
            scheme=self._options.quantize,
            recipe=asdict(recipe),
        )
        return [str(name) for name, _ in reply["layers"]]


def _reason(error: Exception) -> str:
    """Return what an error says, without the temporary file that it says it of."""
    return str(error).rpartition(".tflite: ")[2]
