"""Which recipes are tried, in which order: the cheapest to run first, and the next only when that one is not enough."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from converters.rescue.ranges import RANGE_METHODS, RangeMethod
from converters.rescue.recipe import Candidate, Recipe

_FEW: Final = (1, 2, 4, 8)
_MOST_IN_FLOAT: Final = (*_FEW, 16)

Measure = Callable[[Recipe], Candidate]
WorstLayers = Callable[[Recipe], Sequence[str]]
"""The layers that cost most when they alone are quantised, the worst first."""


def climb(
    measure: Measure, worst_layers: WorstLayers, *, methods: Sequence[RangeMethod] = RANGE_METHODS, wide: bool = True
) -> Iterator[Candidate]:
    """Yield what is worth judging: first the best ranges, biases corrected where it helps, then what passes its trial.

    The consumer stops when its own verdict is good. At the end the best of all is yielded once more, passed or not.
    ``wide`` says whether layers with 16-bit activations are tried.
    """
    tried: list[Candidate] = []

    def trial(recipe: Recipe) -> Candidate:
        tried.append(measure(recipe))
        return tried[-1]

    plain = max((trial(Recipe(ranges=method)) for method in methods), key=standing)
    best = max(plain, trial(Recipe(ranges=plain.recipe.ranges, bias_corrected=True)), key=standing)
    yield best
    for free in _equalized(methods, trial):
        if free.passed:
            yield free
    base = max(tried, key=standing).recipe
    for recipe in _with_layers(base, worst_layers(base), wide=wide):
        if (found := trial(recipe)).passed:
            yield found
    yield max(tried, key=standing)


def standing(candidate: Candidate) -> tuple[bool, bool, float]:
    """Return what candidates are ordered by: passing first, then without a doubt, then the worst output's ratio."""
    return candidate.passed, not candidate.doubts, candidate.sqnr_db


def _equalized(methods: Sequence[RangeMethod], trial: Callable[[Recipe], Candidate]) -> Iterator[Candidate]:
    """Try equalisation: like what came before it, it makes the artifact neither larger nor slower."""
    equalized = max((trial(Recipe(ranges=method, equalized=True)) for method in methods), key=standing)
    yield equalized
    yield trial(Recipe(ranges=equalized.recipe.ranges, equalized=True, bias_corrected=True))


def _with_layers(base: Recipe, worst: Sequence[str], *, wide: bool) -> Iterator[Recipe]:
    """Return the base with more and more of its worst layers in 16 bits, then in float."""
    ways = ((_FEW, "wide"), (_MOST_IN_FLOAT, "in_float")) if wide else ((_MOST_IN_FLOAT, "in_float"),)
    for counts, field in ways:
        for count in [count for count in counts if count <= len(worst)]:
            layers = {field: tuple(worst[:count])}
            yield Recipe(base.ranges, base.equalized, base.bias_corrected, **layers)
