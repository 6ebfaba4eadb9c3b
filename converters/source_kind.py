"""What kind of model a file or folder is, by its content."""

from pathlib import Path
from typing import Final

from edge_runtime.errors import ModelError, UsageError
from edge_runtime.file_kind import describe_file

_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_ZIP: Final = b"PK\x03\x04"
ACCEPTED: Final = "edge-convert takes .keras, .h5, a SavedModel folder, .onnx and float .tflite"
MODULES: Final = {
    "keras": "keras_model",
    "savedmodel": "keras_model",
    "onnx": "onnx_model",
    "tflite": "float_model",
}
"""Which of ``converters.steps`` handles a kind."""


def source_kind(source: Path) -> str:
    """Return ``keras``, ``savedmodel``, ``onnx`` or ``tflite``. Raises UsageError, ModelError for anything else."""
    if source.is_dir():
        if (source / "saved_model.pb").is_file():
            return "savedmodel"
        raise ModelError(f"{source} is a folder without saved_model.pb; {ACCEPTED}")
    try:
        with source.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror or error}") from error
    if head.startswith(_HDF5):
        return "keras"
    if head.startswith(_ZIP) and source.suffix == ".keras":
        return "keras"
    if head[4:8] == b"TFL3":
        return "tflite"
    described = describe_file(head, source.name)
    if described.startswith("an ONNX model"):
        return "onnx"
    raise ModelError(f"{source} is {described.partition(';')[0]}; {ACCEPTED}")
