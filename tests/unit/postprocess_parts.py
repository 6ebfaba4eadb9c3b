"""What the postprocessing tests share: specs, prepared frames, a bare interpreter and the plainest preparation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.types import (
    Frame,
    ImageInput,
    ModelIdentity,
    ModelSpec,
    Origin,
    OutputFormat,
    Prepared,
    Task,
    TensorSpec,
    Transform,
    WindowInput,
)

Array = NDArray[Any]


def tensor(
    shape: Sequence[int], dtype: Any = np.float32, *, scale: float = 0.0, zero_point: int = 0, name: str = "out"
) -> TensorSpec:
    return TensorSpec(name, tuple(shape), np.dtype(dtype), scale, zero_point)


def spec_of(
    task: Task,
    *outputs: TensorSpec,
    labels: Sequence[str] | None = None,
    output: OutputFormat | None = None,
    size: tuple[int, int] = (100, 100),
    inputs: Sequence[TensorSpec] | None = None,
    takes: ImageInput | WindowInput | None = None,
    path: str = "m.tflite",
) -> ModelSpec:
    return ModelSpec(
        path=path,
        identity=ModelIdentity("m", None, "0" * 64),
        task=task,
        labels=None if labels is None else tuple(labels),
        inputs=tuple(inputs or [tensor((1, size[1], size[0], 3), np.uint8)]),
        outputs=outputs,
        input=takes or ImageInput(size=size),
        output=output or OutputFormat(),
    )


def stretched(input_size: tuple[int, int], frame_size: tuple[int, int]) -> Transform:
    return Transform(input_size, frame_size, (frame_size[0] / input_size[0], frame_size[1] / input_size[1]))


def letterboxed(input_size: tuple[int, int], frame_size: tuple[int, int]) -> Transform:
    """The frame as large as it fits, centred, with borders left and right or above and below."""
    scale = max(frame_size[0] / input_size[0], frame_size[1] / input_size[1])
    borders = [(size - frame / scale) / 2 for size, frame in zip(input_size, frame_size, strict=True)]
    return Transform(input_size, frame_size, (scale, scale), (-borders[0] * scale, -borders[1] * scale))


def prepared(
    transform: Transform | None = None, *inputs: Array, origin: Origin | None = None, size: tuple[int, int] = (100, 100)
) -> Prepared:
    frame = Frame(b"", "jpeg", "images0", 0, 0, 0, origin=origin or Origin())
    return Prepared(frame, inputs, transform or stretched(size, size), 0, 0)


class Bare:
    """A bare LiteRT interpreter, for what a model really gives."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(str(path), num_threads=2)
        self._interpreter.allocate_tensors()
        self.inputs = tuple(_spec(detail) for detail in self._interpreter.get_input_details())
        self.outputs = tuple(_spec(detail) for detail in self._interpreter.get_output_details())
        self._in = [detail["index"] for detail in self._interpreter.get_input_details()]
        self._out = [detail["index"] for detail in self._interpreter.get_output_details()]

    def invoke(self, *inputs: Array) -> tuple[Array, ...]:
        for index, values in zip(self._in, inputs, strict=True):
            self._interpreter.set_tensor(index, values)
        self._interpreter.invoke()
        return tuple(self._interpreter.get_tensor(index) for index in self._out)

    def spec(self, task: Task, path: str = "m.tflite", **more: Any) -> ModelSpec:
        shape = self.inputs[0].shape
        takes = ImageInput(size=(shape[2], shape[1])) if len(shape) == 4 else WindowInput(length=shape[-1], channels=1)
        return spec_of(task, *self.outputs, inputs=self.inputs, takes=takes, path=path, **more)


def _spec(detail: dict[str, Any]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    return TensorSpec(detail["name"], tuple(detail["shape"].tolist()), np.dtype(detail["dtype"]), scale, zero_point)


def quantize(values: Array, spec: TensorSpec) -> Array:
    if not spec.quantized:
        return values.astype(spec.dtype)
    limits = np.iinfo(spec.dtype)
    steps = np.rint(values / spec.scale) + spec.zero_point
    return np.clip(steps, limits.min, limits.max).astype(spec.dtype)
