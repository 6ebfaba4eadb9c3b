"""What the quantiser is told to leave in float: products with constants in 16 bits, and what a logarithm reads."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
pytestmark = [pytest.mark.convert, pytest.mark.usefixtures("convertible"), pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("way", ["int16x8", "one layer in int16"])
def test_a_product_with_a_constant_runs_and_answers_right(way: str, tmp_path: Path) -> None:
    from unit.float_networks import Part, chain

    from converters.rescue.recipe import Recipe

    generator = np.random.default_rng(2)
    parts = [
        Part("BATCH_MATMUL", generator.normal(size=(1, 6, 4))),
        Part("LOGISTIC"),
        Part("BATCH_MATMUL", generator.normal(size=(1, 4, 3))),
    ]
    content = chain((1, 5, 6), parts, [(1, 5, 4), (1, 5, 4), (1, 5, 3)])
    scheme, recipe = ("int16x8", Recipe()) if way == "int16x8" else ("int8-float-io", Recipe(wide=("out2",)))
    assert kept_db(content, (5, 6), scheme, recipe, tmp_path) > (60.0 if way == "int16x8" else 30.0)


def test_what_a_logarithm_reads_keeps_its_small_values(tmp_path: Path) -> None:
    from unit.float_networks import Part, chain

    from converters.rescue.recipe import Recipe

    parts = [
        Part("FULLY_CONNECTED", np.random.default_rng(3).normal(size=(8, 6)) * 1.5, np.zeros(8)),
        Part("EXP"),
        Part("ADD", np.ones(1)),
        Part("LOG"),
    ]
    content = chain((1, 6), parts, [(1, 8)] * 4)
    assert kept_db(content, (6,), "int8", Recipe(), tmp_path) > 30.0


def test_the_variance_of_a_layer_norm_stays_in_float_and_what_it_is_made_of_does_not(tmp_path: Path) -> None:
    import keras

    from converters.steps.ai_edge import magnified
    from converters.steps.keras_model import Session

    entry = keras.Input((8, 16))
    keras.Model(entry, keras.layers.LayerNormalization()(entry)).save(tmp_path / "norm.keras")
    Session().convert(str(tmp_path / "norm.keras"), str(tmp_path / "norm.tflite"), None, unroll=True)
    kept = magnified((tmp_path / "norm.tflite").read_bytes())
    assert len(kept) == 2  # the mean of squared differences, and epsilon added
    assert any("variance" in name for name in kept)


def kept_db(content: bytes, shape: tuple[int, ...], scheme: str, recipe: Any, folder: Path) -> float:
    """Return the ratio of a quantised network to the float one, over the samples that it was calibrated with."""
    from unit.float_networks import answer

    from converters.comparison import sqnr_db
    from converters.steps import observer, repairs
    from converters.steps.ai_edge import quantized

    samples = np.random.default_rng(4).normal(size=(40, *shape)).astype(np.float32)
    np.save(folder / "samples.npy", samples)
    content = repairs.with_signature(content)
    seen = observer.observe(content, folder / "samples.npy")
    limits = {name: (one.low, one.high) for name, one in seen.items()}
    got = observer.outputs(quantized(content, limits, scheme, recipe), folder / "samples.npy")[0]
    return sqnr_db(np.stack([answer(content, one[None]) for one in samples]), got)
