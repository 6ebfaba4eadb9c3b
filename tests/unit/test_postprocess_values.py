"""Numbers, reconstruction errors and raw tensors, and the choice of a postprocessor by task."""

import sys
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from postprocess_parts import Array, prepared, quantize, spec_of, tensor

from edge_runtime.errors import BadFrameError, ConfigError, EngineError, ModelError
from edge_runtime.postprocess import factory
from edge_runtime.types import OutputFormat, Task, TensorSpec


def run(task: Task, outputs: list[Array], *specs: TensorSpec, given: Array | None = None, **more: Any) -> list[Any]:
    threshold = more.pop("score_threshold", None)
    read = factory.build(spec_of(task, *specs, **more), top_k=None, score_threshold=threshold)
    return list(read(outputs, prepared(None, *([] if given is None else [given]))))


def test_values_have_the_names_and_units_the_model_says() -> None:
    says = OutputFormat(names=("temperature", "humidity"), units=("°C",))
    rows = run("regress", [np.array([[21.5, 40.0]], np.float32)], tensor((1, 2)), output=says)
    assert rows == [
        {"name": "temperature", "value": 21.5, "unit": "°C"},
        {"name": "humidity", "value": 40.0, "unit": None},
    ]


@pytest.mark.parametrize(
    ("names", "sizes", "wanted"),
    [
        (["StatefulPartitionedCall:0"], [1], ["value"]),
        (["Identity"], [2], ["value_0", "value_1"]),
        (["Identity", "Identity_1"], [1, 1], ["value_0", "value_1"]),
        (["age", "speed:0"], [1, 2], ["age", "speed_0", "speed_1"]),
    ],
)
def test_values_without_names_are_named_after_their_tensors(
    names: list[str], sizes: list[int], wanted: list[str]
) -> None:
    specs = [tensor((1, size), name=name) for name, size in zip(names, sizes, strict=True)]
    rows = run("regress", [np.ones((1, size), np.float32) for size in sizes], *specs)
    assert [row["name"] for row in rows] == wanted


def test_quantised_values_are_dequantised_and_those_that_are_no_numbers_left_out() -> None:
    assert run("regress", [np.array([[30]], np.int8)], tensor((1, 1), np.int8, scale=0.5, zero_point=10)) == [
        {"name": "out", "value": 10.0, "unit": None}
    ]
    rows = run("regress", [np.array([[np.nan, 2.0, np.inf]], np.float32)], tensor((1, 3)))
    assert [(row["name"], row["value"]) for row in rows] == [("out_1", 2.0)]


def test_names_and_values_must_be_as_many() -> None:
    with pytest.raises(ModelError, match="1 output names for 2 values"):
        run("regress", [], tensor((1, 2)), output=OutputFormat(names=("a",)))
    with pytest.raises(EngineError, match="promised 2"):
        run("regress", [np.ones((1, 3), np.float32)], tensor((1, 2)))


@given(
    npst.arrays(np.float32, (1, 8), elements=st.floats(-20, 20, width=16)),
    npst.arrays(np.float32, (1, 8), elements=st.floats(-20, 20, width=16)),
    st.booleans(),
)
def test_the_anomaly_score_is_the_mean_squared_error_of_real_values(x: Array, y: Array, quantized: bool) -> None:
    more: dict[str, Any] = {"dtype": np.int8, "scale": 0.25} if quantized else {}
    into, out = tensor((1, 8), zero_point=7, **more), tensor((1, 8), zero_point=-9, **more)
    given_steps, rebuilt_steps = quantize(x, into), quantize(y, out)

    def real(steps: Array, spec: TensorSpec) -> Array:
        return (steps.astype(np.float64) - spec.zero_point) * spec.scale if quantized else steps.astype(np.float64)

    rows = run("anomaly", [rebuilt_steps], out, given=given_steps, inputs=[into])
    wanted = float(np.mean((real(given_steps, into) - real(rebuilt_steps, out)) ** 2))
    assert rows == [{"score": pytest.approx(wanted, rel=1e-5), "threshold": None, "anomalous": None}]


def test_the_users_threshold_wins_over_the_models() -> None:
    says, x = OutputFormat(threshold=5.0), np.full((1, 4), 2.0, np.float32)

    def row(**more: Any) -> Any:
        return run("anomaly", [x * 0], tensor((1, 4)), given=x, inputs=[tensor((1, 4))], output=says, **more)[0]

    assert row() == {"score": 4.0, "threshold": 5.0, "anomalous": False}
    assert row(score_threshold=3.0) == {"score": 4.0, "threshold": 3.0, "anomalous": True}
    assert row(score_threshold=0.0)["threshold"] == 0.0


def test_a_model_with_one_value_gives_the_score_itself() -> None:
    rows = run(
        "anomaly", [np.array([[0.75]], np.float32)], tensor((1, 1)), inputs=[tensor((1, 9))], score_threshold=0.5
    )
    assert rows == [{"score": 0.75, "threshold": 0.5, "anomalous": True}]
    with pytest.raises(BadFrameError, match="no number"):
        run("anomaly", [np.array([[np.nan]], np.float32)], tensor((1, 1)), inputs=[tensor((1, 9))])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 3e38])
def test_a_score_that_is_no_number_makes_a_bad_frame(wrong: float) -> None:
    x = np.full((1, 4), wrong, np.float32)
    with pytest.raises(BadFrameError, match="no number"):
        run("anomaly", [-x], tensor((1, 4)), given=x, inputs=[tensor((1, 4))])


def test_an_autoencoder_gives_back_as_much_as_it_takes() -> None:
    with pytest.raises(ModelError, match=r"\[1, 8\] and \[1, 4\]"):
        run("anomaly", [], tensor((1, 4)), inputs=[tensor((1, 8))])
    with pytest.raises(EngineError, match="took 8 values and gave 4"):
        run("anomaly", [np.zeros((1, 4))], tensor((1, 8)), given=np.zeros((1, 8)), inputs=[tensor((1, 8))])


def test_raw_gives_every_tensor_dequantised_with_its_shape() -> None:
    outputs = [np.array([[1, 3]], np.uint8), np.array([5, 6], np.int64), np.array([[[0.5]]], np.float32)]
    specs = [
        tensor((1, 2), np.uint8, scale=0.5, zero_point=1, name="a"),
        tensor((2,), np.int64, name="b"),
        tensor((1, 1, 1), name="c"),
    ]
    assert run("raw", outputs, *specs) == [
        {"name": "a", "shape": [1, 2], "values": [[0.0, 1.0]]},
        {"name": "b", "shape": [2], "values": [5, 6]},
        {"name": "c", "shape": [1, 1, 1], "values": [[[0.5]]]},
    ]


OUTPUTS: dict[str, list[TensorSpec]] = {
    "detect": [tensor((1, 5, 4)), tensor((1, 5)), tensor((1, 5)), tensor((1,))],
    "segment": [tensor((1, 9, 9))],
    "pose": [tensor((1, 1, 17, 3))],
}


@pytest.mark.parametrize("task", get_args(Task))
def test_every_task_has_a_postprocessor_that_lies_in_the_file_of_its_name(task: Task) -> None:
    inputs = [tensor((1, 4))] if task == "anomaly" else None
    read = factory.build(
        spec_of(task, *OUTPUTS.get(task, [tensor((1, 4))]), inputs=inputs), top_k=3, score_threshold=0.1
    )
    assert type(read).__module__ == f"edge_runtime.postprocess.{task}"
    assert sys.modules[type(read).__module__]


def test_a_task_nobody_registered_is_named() -> None:
    task: Any = "guess"
    with pytest.raises(ConfigError, match="guess"):
        factory.build(spec_of(task, tensor((1, 4))), top_k=None, score_threshold=None)
