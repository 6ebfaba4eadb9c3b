"""Write TFLite Metadata: what other tools read of a model's inputs and outputs.

Field numbers are those of ``metadata_schema.fbs`` of tensorflow/tflite-support, identifier M001; the reader of the same
is ``edge_runtime.model_metadata``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from edge_runtime.types import ImageInput, WindowInput

LABEL_FILE: Final = "labels.txt"
_NORMALIZATION, _IMAGE, _AUDIO, _AXIS_LABELS = 1, 2, 4, 2
_COLORS: Final = {"RGB": 1, "GRAY": 2}
_PARSER_VERSION: Final = "1.0.0"


@dataclass(frozen=True, slots=True)
class Range:
    """The smallest and the largest value an input was seen with."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Described:
    """What the metadata says of a model."""

    name: str
    version: str | None
    input_names: Sequence[str]
    """Of several inputs each is described by its name, and its numbers are taken as they are."""
    output_names: Sequence[str]
    input: ImageInput | WindowInput
    input_range: Range | None = None
    has_labels: bool = False
    description: str = field(default="Converted by edge-convert")


def metadata_buffer(described: Described) -> bytes:
    """Return the content of the buffer ``TFLITE_METADATA``.

    A BGR input is described without a colour order, which the format cannot say; the manifest says it.
    """
    writer = _Writer()
    subgraph = writer.table(
        [
            None,
            None,
            writer.tables([_input(writer, described, name) for name in described.input_names]),
            writer.tables([_output(writer, described, index) for index in range(len(described.output_names))]),
        ]
    )
    root = writer.table(
        [
            writer.text(described.name),
            writer.text(described.description),
            writer.text(described.version) if described.version else None,
            writer.tables([subgraph]),
            None,
            None,
            None,
            writer.text(_PARSER_VERSION),
        ]
    )
    return writer.finish(root)


def _input(writer: "_Writer", described: Described, name: str) -> int:
    source = described.input
    limits = described.input_range if len(described.input_names) == 1 else None
    normalization = writer.table([writer.floats(source.mean), writer.floats(source.std)])
    unit = writer.union(_NORMALIZATION, normalization)
    stats = writer.table([writer.floats([limits.high]), writer.floats([limits.low])]) if limits else None
    return writer.table(
        [
            writer.text(name),
            None,
            None,
            _content(writer, source),
            writer.tables([unit]),
            stats,
        ]
    )


def _content(writer: "_Writer", source: ImageInput | WindowInput) -> int | None:
    if isinstance(source, ImageInput):
        width, height = source.size
        size = writer.numbers([width, height])
        return writer.union(_IMAGE, writer.image(_COLORS.get(source.color, 0), size))
    if source.sample_rate_hz:
        return writer.union(_AUDIO, writer.numbers([round(source.sample_rate_hz), source.channels]))
    return None


def _output(writer: "_Writer", described: Described, index: int) -> int:
    labelled = described.has_labels and index == 0
    files = writer.tables([writer.file(LABEL_FILE, _AXIS_LABELS)]) if labelled else None
    name = writer.text(described.output_names[index])
    return writer.table([name, None, None, None, None, None, files])


class _Writer:
    """Tables of the schema, innermost first, as the builder wants them."""

    def __init__(self) -> None:
        import flatbuffers  # comes with LiteRT

        self._builder = flatbuffers.Builder(1024)

    def text(self, value: str) -> int:
        return int(self._builder.CreateString(value))

    def floats(self, values: Sequence[float]) -> int:
        self._builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self._builder.PrependFloat32(value)
        return int(self._builder.EndVector())

    def tables(self, offsets: Sequence[int]) -> int:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return int(self._builder.EndVector())

    def table(self, offsets: Sequence[int | None]) -> int:
        """A table whose fields are all offsets; None leaves one out."""
        self._builder.StartObject(len(offsets))
        for number, offset in enumerate(offsets):
            if offset is not None:
                self._builder.PrependUOffsetTRelativeSlot(number, offset, 0)
        return int(self._builder.EndObject())

    def numbers(self, values: Sequence[int]) -> int:
        """A table of unsigned 32-bit fields."""
        self._builder.StartObject(len(values))
        for number, value in enumerate(values):
            self._builder.PrependUint32Slot(number, value, 0)
        return int(self._builder.EndObject())

    def union(self, kind: int, value: int) -> int:
        """A table of a union: its type, then the value."""
        self._builder.StartObject(2)
        self._builder.PrependUint8Slot(0, kind, 0)
        self._builder.PrependUOffsetTRelativeSlot(1, value, 0)
        return int(self._builder.EndObject())

    def image(self, color: int, size: int) -> int:
        self._builder.StartObject(2)
        self._builder.PrependInt8Slot(0, color, 0)
        self._builder.PrependUOffsetTRelativeSlot(1, size, 0)
        return int(self._builder.EndObject())

    def file(self, name: str, kind: int) -> int:
        offset = self.text(name)
        self._builder.StartObject(3)
        self._builder.PrependUOffsetTRelativeSlot(0, offset, 0)
        self._builder.PrependInt8Slot(2, kind, 0)
        return int(self._builder.EndObject())

    def finish(self, root: int) -> bytes:
        self._builder.Finish(root, b"M001")
        return bytes(self._builder.Output())
