"""Products with constants under int16x8: BATCH_MATMUL has no kernel for 16 by 8 bits, so they stay in float."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
pytestmark = [pytest.mark.convert, pytest.mark.usefixtures("convertible"), pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("way", ["int16x8", "one layer in int16"])
def test_a_product_with_a_constant_runs_and_answers_right(way: str, tmp_path: Path) -> None:
    from unit.float_networks import Part, answer, chain

    from converters.comparison import sqnr_db
    from converters.rescue.recipe import Recipe
    from converters.steps import observer, repairs
    from converters.steps.ai_edge import quantized

    generator = np.random.default_rng(2)
    parts = [
        Part("BATCH_MATMUL", generator.normal(size=(1, 6, 4))),
        Part("LOGISTIC"),
        Part("BATCH_MATMUL", generator.normal(size=(1, 4, 3))),
    ]
    content = repairs.with_signature(chain((1, 5, 6), parts, [(1, 5, 4), (1, 5, 4), (1, 5, 3)]))
    samples = generator.normal(size=(20, 5, 6)).astype(np.float32)
    np.save(tmp_path / "samples.npy", samples)
    seen = observer.observe(content, tmp_path / "samples.npy")
    limits = {name: (one.low, one.high) for name, one in seen.items()}
    scheme, recipe = ("int16x8", Recipe()) if way == "int16x8" else ("int8-float-io", Recipe(wide=("out2",)))
    got = observer.outputs(quantized(content, limits, scheme, recipe), tmp_path / "samples.npy")[0]
    wanted = np.stack([answer(content, one[None]) for one in samples])
    assert sqnr_db(wanted, got) > (60.0 if way == "int16x8" else 30.0)
