"""Models that are fed tensors as they are: which they are, their samples, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from converters.arrays import split_sample
from converters.calibration import plan
from converters.comparison import SAME_DB, compare, sqnr_db
from converters.options import Options
from converters.tensor_model import TensorFeeder, fed_as_tensors, input_statistics, random_tensors
from edge_runtime.errors import UsageError
from edge_runtime.types import ModelIdentity, ModelSpec, TensorSpec, WindowInput

FLOAT = np.dtype(np.float32)
SPEC = ModelSpec(
    path="two.tflite",
    identity=ModelIdentity("two", None, "0" * 64),
    task="raw",
    labels=None,
    inputs=(TensorSpec("query", (2, 3), FLOAT), TensorSpec("key", (1, 4), FLOAT)),
    outputs=(TensorSpec("out", (2, 4), FLOAT),),
    input=WindowInput(length=10, channels=1),
)


@pytest.mark.parametrize("shapes", [[(1, 3), (1, 3)], [()], [(3, 4, 5)], [(2, 3)]])
def test_what_no_source_of_the_device_could_feed_is_fed_as_tensors(shapes: list[tuple[int, ...]]) -> None:
    assert fed_as_tensors(shapes)


@pytest.mark.parametrize("shape", [(1, 8), (8,), (1, 32, 32, 3), (1, 128, 9)])
def test_pictures_and_windows_are_not(shape: tuple[int, ...]) -> None:
    assert not fed_as_tensors([shape])


def test_a_sample_is_the_inputs_one_after_the_other(tmp_path: Path) -> None:
    arrays = {"key": np.arange(12).reshape(3, 4), "query": np.arange(18.0).reshape(3, 2, 3)}
    np.savez(tmp_path / "samples.npz", **arrays)
    pool = TensorFeeder(SPEC).open(str(tmp_path / "samples.npz"))
    assert pool.count == 3
    query, key = split_sample(pool.load(1), [(2, 3), (1, 4)])
    assert query.tolist() == [[6, 7, 8], [9, 10, 11]]
    assert key.tolist() == [[4, 5, 6, 7]]


def test_one_input_may_come_as_a_single_array(tmp_path: Path) -> None:
    spec = replace(SPEC, inputs=SPEC.inputs[:1])
    np.save(tmp_path / "samples.npy", np.zeros((5, 2, 3), np.float32))
    assert TensorFeeder(spec).open(str(tmp_path / "samples.npy")).count == 5


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"query": np.zeros((3, 2, 3))}, "no array for key"),
        ({"query": np.zeros((3, 2, 2)), "key": np.zeros((3, 1, 4))}, "query has the shape"),
        ({"query": np.zeros((3, 2, 3)), "key": np.zeros((2, 1, 4))}, "as many for every input"),
        ({"query": np.zeros((3, 2, 3), "U1"), "key": np.zeros((3, 1, 4))}, "numbers are wanted"),
    ],
)
def test_samples_that_do_not_fit_are_refused_with_the_input(
    tmp_path: Path, arrays: dict[str, np.ndarray], said: str
) -> None:
    np.savez(tmp_path / "samples.npz", **arrays)
    with pytest.raises(UsageError, match=said):
        TensorFeeder(SPEC).open(str(tmp_path / "samples.npz"))


def test_pictures_are_no_samples_of_tensors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="an array per input"):
        TensorFeeder(SPEC).open(str(tmp_path))


def test_random_samples_reach_where_logarithms_and_arcs_are_defined() -> None:
    pool = random_tensors(SPEC, 4)
    rows = [pool.load(index) for index in range(4)]
    assert rows[0].min() < 0 < rows[0].max()
    assert 0 < rows[1].min() < rows[1].max() < 1
    assert rows[3].min() > 1


def test_statistics_are_kept_of_each_input() -> None:
    rows = np.stack([random_tensors(SPEC, 3).load(index) for index in range(3)])
    assert [entry["name"] for entry in input_statistics(SPEC, rows)] == ["query", "key"]


def test_no_label_is_scored(tmp_path: Path) -> None:
    (tmp_path / "two.onnx").touch()
    options = Options(source=tmp_path / "two.onnx", output=tmp_path / "o.tflite", quantize="none", evaluation="y.npz")
    with pytest.raises(UsageError, match="--eval"):
        plan(options, TensorFeeder(SPEC), folder=tmp_path)


def test_what_is_no_number_in_the_source_must_be_none_in_the_artifact() -> None:
    wanted = np.array([[np.nan, 1.0, np.inf]])
    assert sqnr_db(wanted, wanted.copy()) == SAME_DB
    assert sqnr_db(wanted, np.array([[0.0, 1.0, np.inf]])) == -SAME_DB
    assert sqnr_db(wanted, np.array([[np.nan, 1.0, -np.inf]])) == -SAME_DB
    assert compare("y", wanted, wanted).reference_range == (1.0, 1.0)


def test_rounding_of_what_cancels_out_is_no_difference() -> None:
    assert sqnr_db(np.zeros(4), np.full(4, 1e-8)) == SAME_DB
    assert sqnr_db(np.zeros(4), np.full(4, 1e-3)) == -SAME_DB
