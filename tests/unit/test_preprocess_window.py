"""Windows of samples become input tensors."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge_runtime.errors import BadFrameError, InputMismatchError
from edge_runtime.preprocess.factory import build
from edge_runtime.types import Frame, TensorSpec, WindowInput


def frame(data: Any) -> Frame:
    return Frame(data, "window", "sensor0", 0, 0, 0)


def tensor(shape: tuple[int, ...], dtype: Any, scale: float = 0.0, zero_point: int = 0) -> TensorSpec:
    return TensorSpec("input", shape, np.dtype(dtype), scale, zero_point)


samples = arrays.arrays(np.float32, (5, 3), elements=st.floats(-100, 100, width=32))


@given(samples, st.sampled_from([np.int8, np.uint8, np.int16]), st.sampled_from([(1, 5, 3), (1, 5, 3, 1), (1, 15)]))
def test_channels_are_normalised_quantised_and_shaped(data: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    mean, std, scale, zero_point = (1.0, -2.0, 0.5), (2.0, 10.0, 0.5), 0.05, 3
    window = WindowInput(length=5, channels=3, mean=mean, std=std)
    (result,), transform = build(window, tensor=tensor(shape, dtype, scale, zero_point))(frame(data))
    assert transform is None
    assert result.shape == shape
    assert result.dtype == dtype
    limits = np.iinfo(dtype)
    for index, value in enumerate(result.reshape(-1)):
        row, channel = divmod(index, 3)
        wanted = (float(data[row, channel]) - mean[channel]) / std[channel] / scale + zero_point
        assert abs(int(value) - min(max(wanted, limits.min), limits.max)) <= 0.5 + 1e-6


def test_float_tensors_keep_the_values() -> None:
    data = np.linspace(-1, 1, 8, dtype=np.float32)[:, None]
    (result,), _ = build(WindowInput(8, 1), tensor=tensor((8,), np.float32))(frame(data))
    np.testing.assert_array_equal(result, data[:, 0])
    (again,), _ = build(WindowInput(8, 1), tensor=tensor((1, 8), np.float32))(frame(data[:, 0]))
    np.testing.assert_array_equal(again[0], data[:, 0])


@pytest.mark.parametrize("shape", [(7, 1), (9, 1), (4, 2), (8,), (0, 1)])
def test_a_window_of_another_shape_is_a_bad_frame(shape: tuple[int, ...]) -> None:
    prepare = build(WindowInput(4, 3), tensor=tensor((1, 4, 3), np.float32))
    with pytest.raises(BadFrameError, match="4 samples of 3 channels"):
        prepare(frame(np.zeros(shape, np.float32)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_a_bad_frame(value: float) -> None:
    data = np.zeros((4, 1), np.float32)
    data[2] = value
    with pytest.raises(BadFrameError, match="NaN"):
        build(WindowInput(4, 1), tensor=tensor((1, 4), np.int8, 0.1))(frame(data))


def test_a_tensor_of_another_length_is_refused() -> None:
    with pytest.raises(InputMismatchError, match="16000 samples"):
        build(WindowInput(16000, 1), tensor=tensor((1, 15600), np.float32))


def test_buffers_are_used_again() -> None:
    prepare = build(WindowInput(4, 1), tensor=tensor((1, 4), np.float32))
    first, _ = prepare(frame(np.zeros((4, 1), np.float32)))
    prepare.release(first)
    second, _ = prepare(frame(np.ones((4, 1), np.float32)))
    assert second[0] is first[0]
