"""Which recipes are tried, in which order: the cheapest to run first, and the next only when that one is not enough."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from converters.rescue.ranges import RANGE_METHODS, RangeMethod
from converters.rescue.recipe import Candidate, Recipe

_FEW: Final = (1, 2, 4, 8)
_MOST_IN_FLOAT: Final = (*_FEW, 16)

Measure = Callable[[Recipe], Candidate]
WorstLayers = Callable[[Recipe], Sequence[str]]
"""The layers that cost most when they alone are quantised, the worst first."""
Joins = Callable[[Candidate], Sequence[str]]
"""The layers that put scores and boxes into one tensor with one scale, or that decode boxes, where a candidate lacks
just that."""


def climb(
    measure: Measure,
    worst_layers: WorstLayers,
    *,
    joins: Joins = lambda _: (),
    tail: Joins = lambda _: (),
    methods: Sequence[RangeMethod] = RANGE_METHODS,
    wide: bool = True,
) -> Iterator[Candidate]:
    """Yield what is worth judging: first the best ranges, biases corrected where it helps, then what passes its trial.

    The consumer stops when its own verdict is good. At the end the best of all is yielded once more, passed or not.
    ``joins`` and ``tail`` are asked first what to keep out of int8, for what no range mends: of scores, and of boxes.
    ``wide`` says whether layers with 16-bit activations are tried.
    """
    tried: list[Candidate] = []

    def trial(recipe: Recipe) -> Candidate:
        tried.append(measure(recipe))
        return tried[-1]

    plain = max((trial(Recipe(ranges=method)) for method in methods), key=standing)
    best = max(plain, trial(Recipe(ranges=plain.recipe.ranges, bias_corrected=True)), key=standing)
    yield best
    joined = tuple(joins(best))
    if joined and (apart := trial(replace(best.recipe, in_float=joined))).passed:
        yield apart
    decoding = tuple(tail(best))
    for recipe in _decoding(best.recipe, decoding, wide=wide):
        if (decoded := trial(recipe)).passed:
            yield decoded
    for free in _equalized(methods, trial, joined or decoding, before=tuple(tried)):
        if free.passed:
            yield free
    base = max(tried, key=standing).recipe
    for recipe in _with_layers(base, worst_layers(base), wide=wide):
        if (found := trial(recipe)).passed:
            yield found
    yield max(tried, key=standing)


def standing(candidate: Candidate) -> tuple[bool, bool, float, float]:
    """Return what candidates are ordered by: passing, without a doubt, a detector's boxes, the worst output's ratio."""
    return candidate.passed, not candidate.doubts, candidate.precision or 0.0, candidate.sqnr_db


def _equalized(
    methods: Sequence[RangeMethod],
    trial: Callable[[Recipe], Candidate],
    in_float: tuple[str, ...],
    *,
    before: Sequence[Candidate],
) -> Iterator[Candidate]:
    """Try equalisation: like what came before it, it makes the artifact neither larger nor slower.

    Not further where the first answers as the one of ``before`` that differs from it in that alone: a network without
    layers between which scales can move.
    """
    first, *others = [Recipe(ranges=method, equalized=True, in_float=in_float) for method in methods]
    one = trial(first)
    plain = replace(first, equalized=False)
    if any(other.recipe == plain and replace(other, recipe=first) == one for other in before):
        return
    equalized = max((one, *(trial(recipe) for recipe in others)), key=standing)
    yield equalized
    yield trial(replace(equalized.recipe, bias_corrected=True))


def _decoding(base: Recipe, layers: tuple[str, ...], *, wide: bool) -> Iterator[Recipe]:
    """Return the base with what decodes boxes in 16 bits, then in float; nothing without such layers."""
    if layers and wide:
        yield replace(base, wide=layers)
    if layers:
        yield replace(base, in_float=layers)


def _with_layers(base: Recipe, worst: Sequence[str], *, wide: bool) -> Iterator[Recipe]:
    """Return the base with more and more of its worst layers in 16 bits, then in float."""
    ways = ((_FEW, "wide"), (_MOST_IN_FLOAT, "in_float")) if wide else ((_MOST_IN_FLOAT, "in_float"),)
    for counts, field in ways:
        for count in [count for count in counts if count <= len(worst)]:
            layers = tuple(name for name in worst[:count] if name not in base.in_float)
            yield replace(base, **{field: getattr(base, field) + layers})
