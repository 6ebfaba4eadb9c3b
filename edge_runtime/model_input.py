"""How a model's input tensor is fed: as a picture or as samples, from what is said of it and what it is."""

import math
from typing import Final, Literal, NoReturn

import numpy as np

from edge_runtime import model_defaults as defaults
from edge_runtime.errors import ModelError, UsageError
from edge_runtime.manifest_file import InputFacts
from edge_runtime.model_file import ModelFile, Tensor
from edge_runtime.types import ImageInput, Task, TensorSpec, WindowInput

PICTURE_TASKS: Final = frozenset({"detect", "segment", "pose"})


class InputReading:
    """One model's first input and what is said of it. ``flagged`` are the keys that a flag gave."""

    def __init__(self, model: ModelFile, *, facts: InputFacts, task: Task | None, flagged: frozenset[str]) -> None:
        self._path = model.path
        self._facts = facts
        self._task = task
        self._flagged = flagged
        tensor = model.tensors[model.inputs[0]]
        _check_size_is_fixed(model.path, tensor)
        self.spec = tensor_spec(model.path, tensor)
        self.inferred: list[str] = []
        """Sentences for the log."""

    def kind(self) -> defaults.Kind:
        """Return whether it is a picture. Raises UsageError or ModelError when it cannot be what is said."""
        facts, shape = self._facts, self.spec.shape
        samples = facts.length or facts.channels or facts.sample_rate_hz or self._task == "audio"
        if samples and not facts.size:
            return "window"
        said = next((key for key in ("size", "layout", "color") if getattr(facts, key)), None)
        if said is None and self._task not in PICTURE_TASKS:
            return defaults.input_kind(shape)
        if defaults.picture_sides(shape, facts.layout) is None:
            self._wrong(said or "task", f"the model's input {list(shape)} is no picture of this kind")
        return "picture"

    def image(self, task: Task) -> ImageInput:
        """Return how pictures are fed. Raises UsageError or ModelError for values that do not fit."""
        facts = self._facts
        sides = defaults.picture_sides(self.spec.shape, facts.layout)
        assert sides is not None
        layout, height, width, channels = sides
        if facts.size is not None and facts.size != (width, height):
            self._wrong("size", f"expected {[width, height]}, found {list(facts.size)}")
        mean, std = self._normalization(channels)
        return ImageInput(
            size=(width, height),
            layout=layout,
            color=self._color(channels),
            mean=mean,
            std=std,
            resize=facts.resize or "stretch",
            raw=defaults.takes_raw_bytes(self.spec, mean, std),
            antialias=task != "classify",
        )

    def window(self) -> WindowInput:
        """Return how samples are fed. Raises UsageError or ModelError for values that do not fit."""
        facts, shape = self._facts, self.spec.shape
        elements = math.prod(shape)
        length, channels = defaults.window_sides(shape)
        spread = max(len(_tuple(facts.mean)), len(_tuple(facts.std)))
        if facts.channels or facts.length:
            channels = facts.channels or elements // max(facts.length or 1, 1)
            length = facts.length or elements // max(channels, 1)
        elif channels == 1 and spread > 1:
            length, channels = elements // spread, spread
        if length < 1 or channels < 1 or length * channels != elements:
            self._wrong("length", f"expected {elements} values in all, found {length} of {channels} channels")
        return WindowInput(
            length=length,
            channels=channels,
            sample_rate_hz=facts.sample_rate_hz,
            mean=self._numbers("mean", channels, 0.0),
            std=self._numbers("std", channels, 1.0),
        )

    def window_beside(self, image: ImageInput) -> WindowInput | None:
        """Return the same input as samples, where a picture of one channel may as well be a table of them."""
        _, channels = defaults.window_sides(self.spec.shape)
        fits = all(len(_tuple(value)) in {0, 1, channels} for value in (self._facts.mean, self._facts.std))
        return self.window() if image.color == "GRAY" and fits else None

    def _color(self, channels: int) -> Literal["RGB", "BGR", "GRAY"]:
        color = self._facts.color
        if channels == 1:
            if color != "GRAY" and "color" in self._flagged:
                self._wrong("color", f"the model's input has one channel; use GRAY, not {color}")
            return "GRAY"
        if color == "GRAY":
            self._wrong("color", "the model's input has three channels; use RGB or BGR")
        return color or "RGB"

    def _normalization(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        if self._facts.mean is None and self._facts.std is None:
            mean, std, sentence = defaults.default_normalization(self.spec)
            beside = "; samples of a sensor as they are" if channels == 1 else ""
            self.inferred.append(f"normalisation: nothing says, {sentence}{beside}")
            return (mean,), (std,)
        return self._numbers("mean", channels, 0.0), self._numbers("std", channels, 1.0)

    def _numbers(self, key: Literal["mean", "std"], channels: int, default: float) -> tuple[float, ...]:
        values = _tuple(getattr(self._facts, key))
        if not values:
            return (default,)
        if len(values) not in {1, channels}:
            self._wrong(key, f"expected one number or {channels} of them, found {len(values)}")
        if not all(math.isfinite(value) and (key == "mean" or value > 0) for value in values):
            self._wrong(key, f"expected finite numbers{' above 0' if key == 'std' else ''}, found {list(values)}")
        return values

    def _wrong(self, key: str, problem: str) -> NoReturn:
        """Raise for a value that does not fit: a flag's is a wrong use, a manifest's or metadata's a wrong model."""
        if key in self._flagged:
            raise UsageError(f"--{key}: {problem}")
        raise ModelError(f"{self._path}: manifest or metadata, {'' if key == 'task' else 'input.'}{key}: {problem}")


def tensor_spec(path: str, tensor: Tensor) -> TensorSpec:
    """Return what the engine will say of a tensor. Raises ModelError for types and scales that cannot be used."""
    if tensor.type.dtype is None:
        raise ModelError(f"{path}: tensor {tensor.name!r} is of type {tensor.type.name}, which cannot be fed or read")
    scale, zero_point = 0.0, 0
    if tensor.scales.size == 1:
        scale = float(tensor.scales[0])
        zero_point = int(tensor.zero_points[0]) if tensor.zero_points.size else 0
        if not np.isfinite(scale) or scale < 0.0:
            raise ModelError(f"{path}: tensor {tensor.name!r} has the quantisation scale {scale}; convert it again")
    return TensorSpec(tensor.name, tensor.shape, tensor.type.dtype, scale, zero_point)


def _check_size_is_fixed(path: str, tensor: Tensor) -> None:
    shape, signature = tensor.shape, tensor.shape_signature
    open_sides = [given < 0 and size == 1 for size, given in zip(shape[1:], signature[1:], strict=False)]
    if any(open_sides) or any(size < 1 for size in shape):
        raise ModelError(f"{path}: its input {list(signature)} has no fixed size; convert it with a fixed input shape")
    if len(shape) > 2 and shape[0] > 1:
        raise ModelError(f"{path}: its input {list(shape)} is a batch of {shape[0]}; convert it with a batch of 1")


def _tuple(value: tuple[float, ...] | float | None) -> tuple[float, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)
