"""Constants that hide values, and sums of nothing, get a size that int8 carries."""

from pathlib import Path

import numpy as np
import pytest
from model_files import SOFTMAX, Op, T, build_model  # skips where there is no LiteRT

from converters.steps import limits, masks
from edge_runtime.model_file import parse_model

pytest.importorskip("ai_edge_litert.interpreter", reason="converters run LiteRT")

ADD, STRIDED_SLICE = 0, 45


def masked(hiding: float) -> bytes:
    """Logits of four, the last one hidden, and a softmax."""
    mask = np.array([[0.0, 0.0, 0.0, hiding]], np.float32)
    return build_model(
        [T((1, 4), name="logits")],
        [T((1, 4), name="shares")],
        inner=[T((1, 4), name="mask"), T((1, 4), name="masked")],
        ops=[Op(ADD, [0, 2], [3]), Op(SOFTMAX, [3], [1])],
        constants={2: mask.tobytes()},
    )


def shares(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


@pytest.mark.parametrize("hiding", [-np.inf, -3.4e38, -1e9, -10000.0])
def test_a_mask_before_a_softmax_becomes_small_and_hides_as_well(hiding: float, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(0, 2, (20, 1, 4)).astype(np.float32)
    np.save(tmp_path / "samples.npy", samples)
    content = masked(hiding)
    small = masks.with_small_masks(content, str(tmp_path / "samples.npy"))
    mask = np.frombuffer(parse_model(small, "m").buffer(parse_model(small, "m").tensors[2].buffer), np.float32)
    assert mask[:3].tolist() == [0.0, 0.0, 0.0]
    assert -40.0 < mask[3] < -12.0
    whole = np.array([0.0, 0.0, 0.0, hiding])
    for sample in samples:
        assert np.allclose(shares(sample + mask), shares(sample + whole), atol=1e-4)


def test_a_bias_before_a_softmax_is_no_mask(tmp_path: Path) -> None:
    np.save(tmp_path / "samples.npy", np.zeros((3, 1, 4), np.float32))
    content = masked(-3.0)
    assert masks.with_small_masks(content, str(tmp_path / "samples.npy")) is content


def sums(*, whole: tuple[float, float]) -> limits.Limits:
    """A part of a tensor, added to itself; the part held nothing."""
    content = build_model(
        [T((1, 4), name="x")],
        [T((1, 2), name="y")],
        inner=[T((1, 2), name="part")],
        ops=[Op(STRIDED_SLICE, [0], [2]), Op(ADD, [2, 2], [1])],
    )
    return limits.with_wide_sums(content, {"x": whole, "part": (0.0, 0.0), "y": (0.0, 0.0)})


def test_a_sum_of_zeros_gets_a_scale_that_the_kernel_takes() -> None:
    low, high = sums(whole=(0.0, 6.0))["y"]
    assert high - low == pytest.approx(6.0 * 2.0**-16)


def test_of_zeros_only_nothing_is_widened() -> None:
    assert sums(whole=(0.0, 0.0))["y"] == (0.0, 0.0)
