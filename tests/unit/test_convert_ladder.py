"""The ladder: cheapest first, no further than needed, the best at the end."""

from collections.abc import Callable, Sequence

from converters.rescue.ladder import climb
from converters.rescue.recipe import Candidate, Recipe

Score = Callable[[Recipe], float]


def measured(score: Score, tried: list[Recipe], *, mark: float = 20.0) -> Callable[[Recipe], Candidate]:
    def measure(recipe: Recipe) -> Candidate:
        tried.append(recipe)
        ratio = score(recipe)
        failures = () if ratio >= mark else ("too little",)
        return Candidate(recipe, 1000, 1.0, 20, ratio, None, None, failures)

    return measure


def worst(recipe: Recipe) -> Sequence[str]:
    return [f"layer{number}" for number in range(5)]


def refuse(recipe: Recipe) -> Sequence[str]:
    raise AssertionError("nobody needed the layers")


def test_the_best_ranges_come_first() -> None:
    scores = {"minmax": 25.0, "percentile": 31.0, "mse": 28.0}
    tried: list[Recipe] = []
    first = next(climb(measured(lambda recipe: scores[recipe.ranges], tried), refuse))
    assert first.recipe == Recipe(ranges="percentile")
    assert [recipe.ranges for recipe in tried] == ["minmax", "percentile", "mse", "percentile"]


def test_what_so_few_samples_cannot_tell_comes_after_what_they_can() -> None:
    def measure(recipe: Recipe) -> Candidate:
        doubtful = recipe.ranges == "percentile"
        doubts = ("one of twenty fell",) if doubtful else ()
        return Candidate(recipe, 1000, 1.0, 20, 31.0 if doubtful else 28.0, None, None, (), doubts)

    assert next(climb(measure, refuse)).recipe.ranges == "minmax"


def test_corrected_biases_are_taken_where_they_help() -> None:
    tried: list[Recipe] = []
    first = next(climb(measured(lambda recipe: 25.0 + recipe.bias_corrected, tried), refuse))
    assert first.recipe.bias_corrected


def test_equalisation_is_tried_before_any_layer_leaves_int8() -> None:
    tried: list[Recipe] = []
    rungs = climb(measured(lambda recipe: 30.0 if recipe.equalized else 3.0, tried), refuse)
    assert not next(rungs).passed
    assert next(rungs).recipe.equalized
    assert not any(recipe.wide or recipe.in_float for recipe in tried)


def test_equalisation_is_tried_once_where_there_is_nothing_to_equalise() -> None:
    tried: list[Recipe] = []
    list(climb(measured(lambda recipe: 3.0 + len(recipe.wide), tried), worst))
    assert sum(recipe.equalized for recipe in tried) == 1


def test_what_joins_scores_and_boxes_leaves_int8_first_and_stays_out() -> None:
    tried: list[Recipe] = []
    rungs = climb(measured(lambda recipe: 9.0 + len(recipe.in_float), tried), worst, joins=lambda _: ["join"])
    assert not next(rungs).passed
    assert not next(rungs).passed
    assert all(recipe.in_float[:1] == ("join",) for recipe in tried[4:])
    assert tried[4].in_float == ("join",)


def test_what_decodes_boxes_gets_sixteen_bits_and_then_float_before_anything_else() -> None:
    tried: list[Recipe] = []
    rungs = climb(measured(lambda recipe: 9.0 + 20.0 * bool(recipe.in_float), tried), worst, tail=lambda _: ["decode"])
    assert not next(rungs).passed
    assert next(rungs).recipe.in_float == ("decode",)
    assert [(one.wide, one.in_float) for one in tried[4:]] == [(("decode",), ()), ((), ("decode",))]


def test_of_a_detector_s_candidates_the_one_that_keeps_its_boxes_is_the_best() -> None:
    def measure(recipe: Recipe) -> Candidate:
        ratio, kept = {"minmax": (38.0, 0.5), "percentile": (31.0, 0.9), "mse": (36.0, 0.7)}[recipe.ranges]
        return Candidate(recipe, 1000, 1.0, 20, ratio, None, None, (), precision=kept)

    assert next(climb(measure, refuse)).recipe.ranges == "percentile"


def test_layers_are_widened_one_by_one_and_then_put_in_float() -> None:
    tried: list[Recipe] = []
    rungs = climb(measured(lambda recipe: 25.0 if len(recipe.in_float) == 4 else 3.0, tried), worst)
    next(rungs)
    assert next(rungs).recipe.in_float == ("layer0", "layer1", "layer2", "layer3")
    counts = [(len(recipe.wide), len(recipe.in_float)) for recipe in tried if recipe.wide or recipe.in_float]
    assert counts == [(1, 0), (2, 0), (4, 0), (0, 1), (0, 2), (0, 4)]


def test_sixteen_bits_can_be_left_out() -> None:
    tried: list[Recipe] = []
    list(climb(measured(lambda recipe: 3.0, tried), worst, wide=False))
    assert not any(recipe.wide for recipe in tried)


def test_where_nothing_passes_the_best_of_all_comes_last() -> None:
    def score(recipe: Recipe) -> float:
        best = recipe.equalized and recipe.ranges == "mse" and not recipe.in_float
        return 19.0 if best else 3.0 + recipe.equalized

    *_, last = climb(measured(score, []), worst)
    assert last.recipe == Recipe(ranges="mse", equalized=True)
    assert not last.passed


def test_a_recipe_is_told_in_words() -> None:
    recipe = Recipe("mse", equalized=True, bias_corrected=True, wide=("a",), in_float=("b", "c"))
    assert recipe.describe() == "mse ranges, equalised, biases corrected, 1 layer in int16, 2 layers in float"
