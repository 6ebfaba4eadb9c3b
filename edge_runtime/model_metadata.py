"""TFLite Metadata: what a model says of its own inputs and outputs (names, normalisation, colours, label files).

Field numbers are those of ``metadata_schema.fbs`` of tensorflow/tflite-support, identifier M001. Score calibration and
tokenizers are noted, not applied.
"""

from dataclasses import dataclass
from typing import Final, Literal

from edge_runtime.errors import ModelError
from edge_runtime.flatbuffer import I8, U32, FlatBuffer, Table
from edge_runtime.model_file import ModelFile

BUFFER_NAME: Final = "TFLITE_METADATA"
_LIMIT: Final = 1000

_COLORS: Final[dict[int, Literal["RGB", "GRAY"]]] = {1: "RGB", 2: "GRAY"}
_FILE_TYPES: Final = {
    1: "descriptions",
    2: "axis_labels",
    3: "value_labels",
    4: "score_calibration",
    5: "vocabulary",
    6: "scann_index",
}
_CONTENTS: Final[dict[int, Literal["feature", "image", "boxes", "audio"]]] = {
    1: "feature",
    2: "image",
    3: "boxes",
    4: "audio",
}
_BOX_TYPES: Final[dict[int, Literal["boundaries", "upper_left", "center"]]] = {
    1: "boundaries",
    2: "upper_left",
    3: "center",
}
_NORMALIZATION, _SCORE_CALIBRATION = 1, 2


@dataclass(frozen=True, slots=True)
class AssociatedFile:
    """A file packed into the model, and what it is for."""

    name: str
    type: str
    """``axis_labels`` (one line per class), ``value_labels`` (one line per value of a class tensor) …, ``unknown``."""
    locale: str | None


@dataclass(frozen=True, slots=True)
class Boxes:
    """How four numbers are a box: ``index[i]`` is where the i-th of left, top, right, bottom (or its like) stands."""

    index: tuple[int, ...]
    type: Literal["boundaries", "upper_left", "center"] | None
    normalized: bool


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """What is said of one input or output; every part may be absent."""

    name: str | None = None
    description: str | None = None
    content: Literal["feature", "image", "boxes", "audio"] | None = None
    color: Literal["RGB", "GRAY"] | None = None
    sample_rate_hz: int | None = None
    channels: int | None = None
    boxes: Boxes | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    files: tuple[AssociatedFile, ...] = ()
    score_calibration: bool = False
    """Scores are meant to be calibrated by a table, which is not done here."""

    def label_file(self, types: tuple[str, ...] = ("axis_labels", "value_labels")) -> str | None:
        """Return the label file's name; one without a locale, or in English, before the others."""
        files = [file for file in self.files if file.type in types]
        files.sort(key=lambda file: (file.locale or "en").lower().split("-")[0] != "en")
        return files[0].name if files else None


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """The metadata of a model's main subgraph. ``inputs`` and ``outputs`` are in the order of the model's own."""

    name: str | None
    version: str | None
    description: str | None
    subgraph: str | None
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


def read_metadata(model: ModelFile) -> ModelMetadata | None:
    """Return the model's TFLite Metadata, or None where it has none. Raises ModelError when it is damaged."""
    content = model.metadata.get(BUFFER_NAME)
    if not content:
        return None
    name = f"{model.path} ({BUFFER_NAME})"
    if content[4:8] != b"M001":
        raise ModelError(f"{name} has not the identifier M001; write the metadata again or remove it")
    root = FlatBuffer(content, name).root()
    subgraph = root.item(3, 0) if root.count(3) else None
    return ModelMetadata(
        name=root.text(0),
        version=root.text(2),
        description=root.text(1),
        subgraph=subgraph.text(0) if subgraph else None,
        inputs=_tensors(subgraph, 2),
        outputs=_tensors(subgraph, 3),
    )


def _tensors(subgraph: Table | None, number: int) -> tuple[TensorMetadata, ...]:
    return tuple(_tensor(table) for table in subgraph.tables(number, _LIMIT)) if subgraph else ()


def _tensor(table: Table) -> TensorMetadata:
    content = table.table(3)
    kind = _CONTENTS.get(content.scalar(0, I8)) if content else None
    properties = content.table(1) if content else None
    mean, std, calibrated = _process_units(table)
    return TensorMetadata(
        name=table.text(0),
        description=table.text(1),
        content=kind,
        color=_COLORS.get(properties.scalar(0, I8)) if properties and kind == "image" else None,
        sample_rate_hz=(properties.scalar(0, U32) or None) if properties and kind == "audio" else None,
        channels=(properties.scalar(1, U32) or None) if properties and kind == "audio" else None,
        boxes=_boxes(properties) if properties and kind == "boxes" else None,
        mean=mean,
        std=std,
        files=tuple(_file(entry) for entry in table.tables(6, _LIMIT)),
        score_calibration=calibrated,
    )


def _process_units(table: Table) -> tuple[tuple[float, ...], tuple[float, ...], bool]:
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    calibrated = False
    for unit in table.tables(4, _LIMIT):
        options_type, options = unit.scalar(0, I8), unit.table(1)
        if options_type == _NORMALIZATION and options:
            mean = tuple(float(value) for value in options.numbers(0, "f")[:_LIMIT])
            std = tuple(float(value) for value in options.numbers(1, "f")[:_LIMIT])
        calibrated = calibrated or options_type == _SCORE_CALIBRATION
    return mean, std, calibrated


def _boxes(table: Table) -> Boxes:
    index = tuple(int(value) for value in table.numbers(0, "I")[:4])
    return Boxes(index, _BOX_TYPES.get(table.scalar(1, I8)), normalized=table.scalar(2, I8) == 0)


def _file(table: Table) -> AssociatedFile:
    return AssociatedFile(
        name=table.text(0) or "",
        type=_FILE_TYPES.get(table.scalar(2, I8), "unknown"),
        locale=table.text(3),
    )
