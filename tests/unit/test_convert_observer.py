"""What is seen of every tensor in one run, and which layers are named as the noisy ones."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert.schema_py_generated", reason="the schema's own code comes with LiteRT")
from unit.float_networks import RELU, Part, answer, chain

from converters.steps import layer_noise, observer

SHAPE = (1, 6, 6, 3)
SHAPES = [(1, 6, 6, 4), (1, 6, 6, 4), (1, 6, 6, 2)]


def network(spoilt: int | None = None) -> bytes:
    """Three convolutions; the weights of one may be a little off."""
    generator = np.random.default_rng(3)
    parts = []
    for number, (inputs, outputs) in enumerate([(3, 4), (4, 4), (4, 2)]):
        weights = generator.normal(size=(outputs, 3, 3, inputs)).astype(np.float32)
        noise = generator.normal(size=weights.shape).astype(np.float32) * 0.05
        bias = generator.normal(size=outputs).astype(np.float32)
        parts.append(Part("CONV_2D", weights + noise * (number == spoilt), bias, RELU, padding=0))
    return chain(SHAPE, parts, SHAPES)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    path = tmp_path / "samples.npy"
    np.save(path, np.random.default_rng(4).normal(size=(12, *SHAPE[1:])).astype(np.float32))
    return path


def test_the_ends_and_channels_of_inner_tensors_are_those_of_a_network_cut_off_behind_them(samples: Path) -> None:
    content = network()
    seen = observer.observe(content, samples)
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    model.subgraphs[0].operators = model.subgraphs[0].operators[:2]
    model.subgraphs[0].outputs = [int(model.subgraphs[0].operators[-1].outputs[0])]
    inner = np.stack([answer(observer.packed(model), one[None]) for one in np.load(samples)])
    found = seen["out1"]
    assert (found.low, found.high) == pytest.approx((inner.min(), inner.max()), rel=1e-5)
    assert found.channels is not None
    assert found.channels.high == pytest.approx(inner.reshape(-1, 4).max(axis=0), rel=1e-5)
    assert found.channels.mean == pytest.approx(inner.reshape(-1, 4).mean(axis=0), rel=1e-4)
    assert seen["in"].high == pytest.approx(np.load(samples).max())


def test_a_network_answers_the_same_with_every_tensor_as_an_output(samples: Path) -> None:
    content, one = network(), np.load(samples)[:1]
    assert np.array_equal(answer(observer.with_all_outputs(content), one), answer(content, one))


@pytest.mark.parametrize("spoilt", [0, 1, 2])
def test_the_layer_that_adds_the_noise_is_named_first(samples: Path, spoilt: int) -> None:
    assert layer_noise.noisiest(network(), network(spoilt), samples)[0] == f"out{spoilt}"


def test_the_same_network_has_no_noise(samples: Path) -> None:
    noise = layer_noise.measure(network(), network(), samples)
    assert {one.db for one in noise.values()} == {200.0}
    assert {one.share for one in noise.values()} == {0.0}


def test_what_decodes_boxes_begins_behind_the_last_layer_with_many_weights() -> None:
    generator = np.random.default_rng(1)
    parts = [
        Part("FULLY_CONNECTED", generator.normal(size=(32, 16)), np.zeros(32)),
        Part("LOGISTIC"),
        Part("FULLY_CONNECTED", generator.normal(size=(4, 32)), np.zeros(4)),  # 128 weights: a change of coordinates
        Part("LOGISTIC"),
    ]
    content = chain((1, 16), parts, [(1, 32), (1, 32), (1, 4), (1, 4)])
    assert layer_noise.decoding(content) == ["out1", "out2", "out3"]
