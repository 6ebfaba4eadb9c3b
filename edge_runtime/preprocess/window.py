"""Windows of samples to input tensors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import BadFrameError, InputMismatchError
from edge_runtime.preprocess.tensor import FreeList, quantize
from edge_runtime.types import Frame, TensorSpec, WindowInput


class WindowPreprocessor:
    """Normalises and quantises sensor samples and audio.

    A flat input of n values (``channels`` 1) takes n samples of one channel, or n / c samples of c channels, row after
    row; ``mean`` and ``std`` may then be one value, or one per channel that arrives. Called from prepare threads,
    several at a time. Raises InputMismatchError when ``tensor`` cannot hold the window.
    """

    def __init__(self, *, input: WindowInput, tensor: TensorSpec) -> None:  # noqa: A002 - the field's word
        self._length, self._channels = input.length, input.channels
        if int(np.prod(tensor.shape)) != self._length * self._channels:
            raise InputMismatchError(
                f"the model's input {tensor.name} has the shape {list(tensor.shape)}, "
                f"which no window of {self._length} samples of {self._channels} channels fills"
            )
        self._mean = np.asarray(input.mean, np.float64)
        self._std = np.asarray(input.std, np.float64)
        self._tensor = tensor
        self._buffers = FreeList(tensor)

    def __call__(self, frame: Frame) -> tuple[tuple[NDArray[Any], ...], None]:
        """Return the input tensor; there is no way back to pixels. Raises BadFrameError, InputMismatchError."""
        if frame.format != "window":
            raise InputMismatchError("this model takes samples and was given a picture; choose another model or source")
        samples = self._checked(frame.data)
        buffer = self._buffers.take()
        buffer.reshape(samples.shape)[...] = quantize((samples - self._mean) / self._std, self._tensor)
        return (buffer,), None

    def release(self, inputs: tuple[NDArray[Any], ...]) -> None:
        """Give buffers back for use again."""
        for buffer in inputs:
            self._buffers.put(buffer)

    def _checked(self, data: Any) -> NDArray[np.float64]:
        samples = np.asarray(data, np.float64)
        rows = samples.reshape(len(samples), -1) if samples.size and samples.ndim else samples.reshape(1, -1)
        flat = self._channels == 1 and rows.size == self._length
        if rows.shape != (self._length, self._channels) and not flat:
            raise BadFrameError(
                f"a window of shape {list(samples.shape)} came where the model takes {self._length} samples "
                f"of {self._channels} channels; look at the sensor's channels and window length"
            )
        for name, values in (("mean", self._mean), ("std", self._std)):
            if values.size not in (1, rows.shape[1]):
                raise InputMismatchError(
                    f"the model has {values.size} values of {name} and the sensor {rows.shape[1]} channels"
                )
        samples = rows
        if not np.isfinite(samples).all():
            raise BadFrameError("a window has samples that are no numbers (NaN or infinite); look at the sensor")
        return samples
