"""What is known of a model: flags, then manifest, then TFLite Metadata, then what its tensors say.

The file's name and place decide nothing about how it is run.
"""

import math
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Final, Literal, NoReturn

import numpy as np

from edge_runtime import model_defaults as defaults
from edge_runtime.errors import InputMismatchError, ModelError, UsageError
from edge_runtime.labels import LabelsError, fit_labels, parse_labels, read_labels
from edge_runtime.manifest_file import InputFacts, Manifest, from_metadata, overlay, read_embedded, read_sidecar
from edge_runtime.model_file import ModelFile, Tensor, read_model
from edge_runtime.model_metadata import ModelMetadata, read_metadata
from edge_runtime.types import (
    TASKS,
    ImageInput,
    ModelIdentity,
    ModelSpec,
    OutputFormat,
    Task,
    TensorSpec,
    WindowInput,
)

LABELLED: Final = frozenset({"classify", "detect", "segment", "audio"})
PICTURE_TASKS: Final = frozenset({"detect", "segment", "pose"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What flags say of a model; wins over everything in and beside its file."""

    labels: str | Path | None = None
    task: Task | None = None
    name: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    color: Literal["RGB", "BGR", "GRAY"] | None = None
    resize: Literal["stretch", "letterbox", "crop"] | None = None
    layout: Literal["NHWC", "NCHW"] | None = None

    def as_manifest(self) -> Manifest:
        """Return the flags in the form of a manifest, without the labels."""
        facts = InputFacts(mean=self.mean, std=self.std, color=self.color, resize=self.resize, layout=self.layout)
        return Manifest(name=self.name, task=self.task, input=facts)


def resolve(path: Path, overrides: Overrides | None = None) -> ModelSpec:
    """Read a model file and all that is said of it.

    Raises UsageError for a wrong flag or a file that is not there, ModelError for a model, manifest or metadata that
    does not hold together.
    """
    flags = overrides or Overrides()
    if flags.task is not None and flags.task not in TASKS:
        raise UsageError(f"unknown task {flags.task!r}; one of {', '.join(TASKS)}")
    model = read_model(path)
    if not model.inputs or not model.outputs:
        raise ModelError(f"{path} has no input or no output tensor; convert it again")
    metadata = read_metadata(model)
    written = [flags.as_manifest(), read_sidecar(path, model), read_embedded(model)]
    explicit = reduce(overlay, filter(None, written))
    given = overlay(explicit, from_metadata(metadata)) if metadata else explicit
    return _Resolution(model, flags=flags, given=given, metadata=metadata, order=explicit.output.order).spec(path)


def as_image(spec: ModelSpec) -> ImageInput:
    """Return how pictures are fed. Raises InputMismatchError for a model whose input is no picture."""
    if isinstance(spec.input, ImageInput):
        return spec.input
    raise InputMismatchError(
        f"{spec.path}: its input {list(spec.inputs[0].shape)} is no picture; give it --sensor, or another model"
    )


def as_window(spec: ModelSpec) -> WindowInput:
    """Return how samples are fed; ``length * channels`` is the number of elements of the input.

    Raises InputMismatchError for a model whose input can only be a picture.
    """
    if isinstance(spec.input, WindowInput):
        return spec.input
    if spec.window is not None:
        return spec.window
    raise InputMismatchError(
        f"{spec.path}: its input {list(spec.inputs[0].shape)} is a colour picture; give it --camera or --images"
    )


class _Resolution:
    """One model on its way to a ``ModelSpec``; collects what was inferred."""

    def __init__(
        self,
        model: ModelFile,
        *,
        flags: Overrides,
        given: Manifest,
        metadata: ModelMetadata | None,
        order: tuple[str, ...] | None,
    ) -> None:
        self._model = model
        self._flags = flags
        self._given = given
        self._metadata = metadata
        self._order = order
        self._inferred: list[str] = []
        self._input = _tensor_spec(model, model.tensors[model.inputs[0]])
        self._shapes = [model.tensors[index].shape for index in model.outputs]

    def spec(self, path: Path) -> ModelSpec:
        model, given = self._model, self._given
        self._check_input_is_fixed()
        kind = self._kind()
        task = given.task or self._task(kind)
        fed: ImageInput | WindowInput = self._image(task) if kind == "picture" else self._window()
        single = kind == "picture" and isinstance(fed, ImageInput) and fed.color == "GRAY"
        output = self._output(task, fed)
        return ModelSpec(
            path=str(path),
            identity=ModelIdentity(given.name or path.stem, given.version, model.sha256),
            task=task,
            labels=self._labels(task, output),
            inputs=tuple(_tensor_spec(model, model.tensors[index]) for index in model.inputs),
            outputs=tuple(_tensor_spec(model, model.tensors[index]) for index in model.outputs),
            input=fed,
            output=output,
            window=self._window() if single and _fits(given.input, self._input.shape) else None,
            edgetpu=model.edgetpu,
            inferred=tuple(self._inferred),
            accuracy=given.accuracy,
            reference=given.reference,
            provenance=given.provenance,
        )

    def _wrong(self, key: str, problem: str) -> NoReturn:
        """Raise for a value of ``input`` that does not fit: a flag's is a wrong use, a manifest's a wrong model."""
        if getattr(self._flags, key, None) is not None:
            raise UsageError(f"--{key}: {problem}")
        raise ModelError(f"{self._model.path}: manifest or metadata key input.{key}: {problem}")

    def _check_input_is_fixed(self) -> None:
        tensor = self._model.tensors[self._model.inputs[0]]
        if any(size < 1 for size in tensor.shape) or any(
            signature < 0 and size == 1
            for size, signature in zip(tensor.shape[1:], tensor.shape_signature[1:], strict=False)
        ):
            raise ModelError(
                f"{self._model.path}: its input {list(tensor.shape_signature)} has no fixed size; "
                "convert it with a fixed input shape"
            )
        if len(tensor.shape) > 2 and tensor.shape[0] > 1:
            raise ModelError(
                f"{self._model.path}: its input {list(tensor.shape)} is a batch of {tensor.shape[0]}; "
                "convert it with a batch of 1"
            )

    def _kind(self) -> defaults.Kind:
        facts, shape = self._given.input, self._input.shape
        if self._given.task == "audio" or facts.length or facts.channels or facts.sample_rate_hz:
            return "window"
        if not (facts.size or facts.layout or facts.color or self._given.task in PICTURE_TASKS):
            return defaults.input_kind(shape)
        if defaults.picture_sides(shape, facts.layout) is None:
            key = next((key for key in ("layout", "color", "size") if getattr(facts, key)), "size")
            self._wrong(key, f"the model's input {list(shape)} is no picture of this kind")
        return "picture"

    def _task(self, kind: defaults.Kind) -> Task:
        task = defaults.infer_task(
            kind=kind, input_shape=self._input.shape, shapes=self._shapes, operators=self._model.operators
        )
        shapes = ", ".join(str(list(shape)) for shape in self._shapes)
        self._inferred.append(f"task: {task}, from an input {list(self._input.shape)} and outputs {shapes}")
        return task

    def _image(self, task: Task) -> ImageInput:
        facts = self._given.input
        sides = defaults.picture_sides(self._input.shape, facts.layout)
        assert sides is not None
        layout, height, width, channels = sides
        if facts.size is not None and facts.size != (width, height):
            self._wrong("size", f"expected {[width, height]}, found {list(facts.size)}")
        mean, std = self._normalization(channels)
        raw = defaults.takes_raw_bytes(self._input, mean, std)
        return ImageInput(
            size=(width, height),
            layout=layout,
            color=self._color(channels),
            mean=mean,
            std=std,
            resize=facts.resize or "stretch",
            raw=raw,
            antialias=task != "classify",
        )

    def _color(self, channels: int) -> Literal["RGB", "BGR", "GRAY"]:
        color = self._given.input.color
        if channels == 1:
            if self._flags.color not in {None, "GRAY"}:
                self._wrong("color", f"the model's input has one channel; use GRAY, not {color}")
            return "GRAY"
        if color == "GRAY":
            self._wrong("color", "the model's input has three channels; use RGB or BGR")
        return color or "RGB"

    def _normalization(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        facts = self._given.input
        if facts.mean is None and facts.std is None:
            mean, std, sentence = defaults.default_normalization(self._input)
            self._inferred.append(f"normalisation: nothing says, {sentence}")
            return (mean,), (std,)
        return self._numbers("mean", channels, 0.0), self._numbers("std", channels, 1.0)

    def _numbers(self, key: Literal["mean", "std"], channels: int, default: float) -> tuple[float, ...]:
        values = _tuple(getattr(self._given.input, key))
        if not values:
            return (default,)
        if len(values) not in {1, channels}:
            self._wrong(key, f"expected one number or {channels} of them, found {len(values)}")
        if not all(math.isfinite(value) for value in values) or (
            key == "std" and not all(value > 0 for value in values)
        ):
            self._wrong(key, f"expected finite numbers{' above 0' if key == 'std' else ''}, found {list(values)}")
        return values

    def _window(self) -> WindowInput:
        facts, shape = self._given.input, self._input.shape
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

    def _output(self, task: Task, fed: ImageInput | WindowInput) -> OutputFormat:
        said, model = self._given.output, self._model
        format_, order, activation = said.format, self._order, said.score_activation
        if task == "detect":
            producer = defaults.detection_producer(model.operators)
            order = order or (defaults.detection_order(model.outputs, producer) if producer else None) or said.order
            if producer or defaults.is_detection_postprocess(self._shapes):
                format_ = format_ or "tflite"
            elif isinstance(fed, ImageInput) and defaults.is_yolo(self._shapes):
                format_ = format_ or defaults.yolo_format(self._shapes, fed.size)
        elif task in {"classify", "audio"} and len(model.outputs) == 1:
            activation = activation or defaults.infer_activation(model.outputs[0], model.operators)
            activation = None if (task, activation) == ("audio", "softmax") else activation
        return OutputFormat(
            format=format_,
            order=order,
            score_activation=activation,
            box_format=said.box_format,
            normalized=said.normalized,
            threshold=said.threshold,
            names=said.names or self._names(task),
            units=said.units or (),
        )

    def _names(self, task: Task) -> tuple[str, ...]:
        """Return the names that TFLite Metadata gives, where each is that of one value or of one raw tensor."""
        names = tuple(output.name or "" for output in self._metadata.outputs) if self._metadata else ()
        one_each = task == "raw" or all(defaults.vector_length(shape) == 1 for shape in self._shapes)
        return names if one_each and all(names) and len(names) == len(self._shapes) else ()

    def _labels(self, task: Task, output: OutputFormat) -> tuple[str, ...] | None:
        model = self._model
        count = defaults.class_count(model, task, output.format)
        at_most = task == "detect" and output.format == "tflite"
        if self._flags.labels is not None:
            try:
                return fit_labels(read_labels(Path(self._flags.labels)), count, at_most=at_most)
            except LabelsError as error:
                raise UsageError(f"--labels {self._flags.labels} {error}; give the model's own label file") from error
        try:
            labels = self._given.labels or _packed_labels(model, self._metadata)
            if labels is not None and task in LABELLED:
                return fit_labels(labels, count, at_most=at_most)
        except LabelsError as error:
            raise ModelError(f"{model.path}: its own label list {error}; give the right one with --labels") from error
        if labels is None and task in LABELLED:
            self._inferred.append("labels: the model has none, classes are numbered; give --labels FILE")
        return labels


def _packed_labels(model: ModelFile, metadata: ModelMetadata | None) -> tuple[str, ...] | None:
    """Return the labels of the label file that TFLite Metadata names. Raises ModelError, LabelsError."""
    named = [name for output in metadata.outputs if (name := output.label_file())] if metadata else []
    if not named:
        return None
    content = model.associated_files.get(named[0])
    if content is None:
        raise ModelError(
            f"{model.path}: the label file {named[0]!r} that its metadata names is not in it; give --labels"
        )
    return parse_labels(content)


def _tuple(value: tuple[float, ...] | float | None) -> tuple[float, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def _fits(facts: InputFacts, shape: tuple[int, ...]) -> bool:
    """Tell whether a picture's normalisation can be one of samples as well."""
    _, channels = defaults.window_sides(shape)
    return all(len(_tuple(value)) in {0, 1, channels} for value in (facts.mean, facts.std))


def _tensor_spec(model: ModelFile, tensor: Tensor) -> TensorSpec:
    if tensor.type.dtype is None:
        raise ModelError(
            f"{model.path}: tensor {tensor.name!r} is of type {tensor.type.name}, which cannot be fed or read"
        )
    scale, zero_point = 0.0, 0
    if tensor.scales.size == 1:
        scale = float(tensor.scales[0])
        zero_point = int(tensor.zero_points[0]) if tensor.zero_points.size else 0
        if not np.isfinite(scale) or scale < 0.0:
            raise ModelError(
                f"{model.path}: tensor {tensor.name!r} has the quantisation scale {scale}; convert it again"
            )
    return TensorSpec(tensor.name, tensor.shape, tensor.type.dtype, scale, zero_point)
