"""What is known of a model: flags, then manifest, then TFLite Metadata, then what its tensors say.

The file's name and place decide nothing about how it is run.
"""

from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Final, Literal

from edge_runtime import model_defaults as defaults
from edge_runtime.errors import InputMismatchError, ModelError, UsageError
from edge_runtime.labels import LabelsError, fit_labels, parse_labels, read_labels
from edge_runtime.manifest_file import (
    InputFacts,
    Manifest,
    OutputFacts,
    from_metadata,
    overlay,
    read_embedded,
    read_sidecar,
)
from edge_runtime.model_file import ModelFile, read_model
from edge_runtime.model_input import InputReading, tensor_spec
from edge_runtime.model_metadata import ModelMetadata, read_metadata
from edge_runtime.types import (
    TASKS,
    ImageInput,
    ModelIdentity,
    ModelSpec,
    OutputFormat,
    Task,
    WindowInput,
)
from edge_runtime.yolo_export import read_export_notes

LABELLED: Final = frozenset({"classify", "detect", "segment", "audio"})


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

    def keys(self) -> frozenset[str]:
        """Return the names of the flags that were given."""
        return frozenset(name for name in self.__slots__ if getattr(self, name) is not None)

    def as_manifest(self) -> Manifest:
        """Return the flags in the form of a manifest, without the labels."""
        facts = InputFacts(mean=self.mean, std=self.std, color=self.color, resize=self.resize, layout=self.layout)
        return Manifest(name=self.name, task=self.task, input=facts)


def resolve(path: Path, overrides: Overrides | None = None, *, model: ModelFile | None = None) -> ModelSpec:
    """Read a model file and all that is said of it; ``model`` is that file where it has been read already.

    Raises UsageError for a wrong flag or a file that is not there, ModelError for a model, manifest or metadata that
    does not hold together.
    """
    flags = overrides or Overrides()
    if flags.task is not None and flags.task not in TASKS:
        raise UsageError(f"unknown task {flags.task!r}; one of {', '.join(TASKS)}")
    model = model or read_model(path)
    if not model.inputs or not model.outputs:
        raise ModelError(f"{path} has no input or no output tensor; convert it again")
    metadata = read_metadata(model)
    said = [flags.as_manifest(), read_sidecar(path, model), read_embedded(model), read_export_notes(model)]
    # The operator knows the order of its own outputs better than who wrote about them.
    said.append(Manifest(output=OutputFacts(order=defaults.detection_order(model))))
    said.append(from_metadata(metadata) if metadata else None)
    return _Resolution(model, flags=flags, given=reduce(overlay, filter(None, said)), metadata=metadata).spec(path)


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

    def __init__(self, model: ModelFile, *, flags: Overrides, given: Manifest, metadata: ModelMetadata | None) -> None:
        self._model = model
        self._flags = flags
        self._given = given
        self._metadata = metadata
        self._inferred: list[str] = []
        self._shapes = [model.tensors[index].shape for index in model.outputs]

    def spec(self, path: Path) -> ModelSpec:
        model, given = self._model, self._given
        reading = InputReading(model, facts=given.input, task=given.task, flagged=self._flags.keys())
        kind = reading.kind()
        task = given.task or self._task(kind, reading.spec.shape)
        fed: ImageInput | WindowInput = reading.image(task) if kind == "picture" else reading.window()
        self._inferred += reading.inferred
        output = self._output(task, fed)
        return ModelSpec(
            path=str(path),
            identity=ModelIdentity(given.name or path.stem, given.version, model.sha256),
            task=task,
            labels=self._labels(task, output),
            inputs=tuple(tensor_spec(model.path, model.tensors[index]) for index in model.inputs),
            outputs=tuple(tensor_spec(model.path, model.tensors[index]) for index in model.outputs),
            input=fed,
            output=output,
            window=reading.window_beside(fed) if isinstance(fed, ImageInput) else None,
            edgetpu=model.edgetpu,
            inferred=tuple(self._inferred),
            accuracy=given.accuracy,
            reference=given.reference,
            provenance=given.provenance,
        )

    def _task(self, kind: defaults.Kind, shape: tuple[int, ...]) -> Task:
        task = defaults.infer_task(kind=kind, input_shape=shape, shapes=self._shapes, operators=self._model.operators)
        outputs = ", ".join(str(list(output)) for output in self._shapes)
        self._inferred.append(f"task: {task}, from an input {list(shape)} and outputs {outputs}")
        return task

    def _output(self, task: Task, fed: ImageInput | WindowInput) -> OutputFormat:
        said, model = self._given.output, self._model
        said_nothing = self._given.input.mean is None and self._given.input.std is None
        format_, activation = said.format, said.score_activation
        if task == "detect":
            if defaults.detection_producer(model.operators) or defaults.is_detection_postprocess(self._shapes):
                format_ = format_ or "tflite"
            elif isinstance(fed, ImageInput) and defaults.is_yolo(self._shapes):
                format_ = format_ or defaults.yolo_format(self._shapes, fed.size)
                if said_nothing and fed.std == (127.5,):
                    self._inferred.append("YOLO models are mostly trained on px / 255: try --mean 0 --std 255")
        elif task in {"classify", "audio"} and len(model.outputs) == 1:
            activation = activation or defaults.infer_activation(model.outputs[0], model.operators)
            activation = None if (task, activation) == ("audio", "softmax") else activation
        return OutputFormat(
            format=format_,
            order=said.order,
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
