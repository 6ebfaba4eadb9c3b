"""The manifest: what a model is and how it is fed.

It is JSON, in the model's metadata buffer ``edge_runtime.manifest`` or beside the file as
``NAME.manifest.json``; the one beside wins and is bound to the model by ``model_sha256``. Keys that are not known here
are left alone, so that a manifest of tomorrow can be read today.
"""

import re
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from edge_runtime.errors import ModelError
from edge_runtime.model_file import ModelFile
from edge_runtime.model_metadata import Boxes, ModelMetadata, TensorMetadata
from edge_runtime.types import Task

BUFFER_NAME: Final = "edge_runtime.manifest"
SCHEMA: Final = 1
MAX_MANIFEST_BYTES: Final = 64 * 1024 * 1024
S = TypeVar("S", bound=msgspec.Struct)


class InputFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``input`` of a manifest. ``size`` is (width, height); ``mean`` and ``std`` in pixels of 0..255 or in samples."""

    size: tuple[int, int] | None = None
    layout: Literal["NHWC", "NCHW"] | None = None
    color: Literal["RGB", "BGR", "GRAY"] | None = None
    mean: tuple[float, ...] | float | None = None
    std: tuple[float, ...] | float | None = None
    resize: Literal["stretch", "letterbox", "crop"] | None = None
    length: int | None = None
    """Samples of a window; with ``channels`` it says that the input is no picture."""
    channels: int | None = None
    sample_rate_hz: float | None = None


class OutputFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``output`` of a manifest; the fields of ``types.OutputFormat``."""

    format: str | None = None
    order: tuple[str, ...] | None = None
    score_activation: Literal["none", "softmax", "sigmoid"] | None = None
    box_format: Literal["yxyx", "xyxy", "cxcywh"] | None = None
    normalized: bool | None = None
    threshold: float | None = None
    names: tuple[str, ...] | None = None
    units: tuple[str, ...] | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The manifest; every field may be absent."""

    schema: int | None = None
    model_sha256: str | None = None
    name: str | None = None
    version: str | None = None
    task: Task | None = None
    labels: tuple[str, ...] | None = None
    input: InputFacts = InputFacts()
    output: OutputFacts = OutputFacts()
    reference: dict[str, Any] | None = None
    provenance: dict[str, Any] | None = None
    accuracy: dict[str, Any] | None = None


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Read a manifest. Raises ModelError that names ``where``, the key, what was expected and what was found."""
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.ValidationError as error:
        raise ModelError(f"{where}: {_explain(error)}; correct or remove it") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{where} is no JSON: {error}; correct or remove it") from error
    if manifest.schema not in {None, SCHEMA}:
        raise ModelError(f"{where}: key schema: expected {SCHEMA}, found {manifest.schema}; this program is too old")
    return manifest


def _explain(error: msgspec.ValidationError) -> str:
    """Turn ``Expected `str`, got `int` - at `$.name``` into ``key name: expected str, found int``."""
    text, _, place = str(error).partition(" - at `$")
    key = place.rstrip("`").lstrip(".") or "(the whole)"
    text = re.sub(r"^Expected ", "expected ", text).replace(", got ", ", found ").replace("`", "")
    return f"key {key}: {text[:1].lower()}{text[1:]}"


def sidecar_path(model: Path) -> Path:
    """Return where the manifest beside a model lies: ``NAME.manifest.json`` for ``NAME.tflite``."""
    return model.with_name(f"{model.stem}.manifest.json")


def read_sidecar(path: Path, model: ModelFile) -> Manifest | None:
    """Return the manifest beside a model, or None where there is none.

    Raises ModelError when it cannot be read or does not belong to this very file.
    """
    beside = sidecar_path(path)
    try:
        with beside.open("rb") as file:
            content = file.read(MAX_MANIFEST_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelError(f"{beside} cannot be read: {error.strerror or error}; correct or remove it") from error
    manifest = parse_manifest(content, str(beside))
    if (manifest.model_sha256 or "").lower() != model.sha256:
        found = manifest.model_sha256 or "nothing"
        raise ModelError(
            f"{beside}: key model_sha256: expected {model.sha256} of {path.name}, found {found[:64]}; "
            "the manifest is another model's: remove it or write the right one"
        )
    return manifest


def read_embedded(model: ModelFile) -> Manifest | None:
    """Return the manifest in the model's own metadata, or None. Raises ModelError when it is malformed."""
    content = model.metadata.get(BUFFER_NAME)
    return parse_manifest(content, f"{model.path} (metadata {BUFFER_NAME})") if content else None


def from_metadata(metadata: ModelMetadata) -> Manifest:
    """Return what TFLite Metadata says, in the form of a manifest, without the labels and the outputs' names."""
    source = metadata.inputs[0] if metadata.inputs else TensorMetadata()
    boxes = next((output.boxes for output in metadata.outputs if output.boxes), None)
    audio = source.content == "audio"
    return Manifest(
        name=metadata.name or None,
        version=metadata.version or None,
        task="detect" if boxes else None,
        input=InputFacts(
            color=source.color,
            mean=source.mean or None,
            std=source.std or None,
            channels=(source.channels or 1) if audio else None,
            sample_rate_hz=source.sample_rate_hz if audio else None,
        ),
        output=OutputFacts(
            order=_detection_order(metadata.outputs) if boxes else None,
            box_format=_box_format(boxes) if boxes else None,
            normalized=boxes.normalized if boxes else None,
        ),
    )


def _detection_order(outputs: tuple[TensorMetadata, ...]) -> tuple[str, ...] | None:
    order = tuple(_detection_part(output) for output in outputs)
    return order if sorted(order) == ["boxes", "classes", "count", "scores"] else None


def _detection_part(output: TensorMetadata) -> str:
    name = (output.name or "").lower()
    if output.boxes:
        return "boxes"
    if output.label_file(("value_labels",)) or "class" in name or "categor" in name:
        return "classes"
    if "score" in name:
        return "scores"
    return "count" if "number" in name or "count" in name else ""


_BOUNDARIES: Final[dict[tuple[int, ...], Literal["yxyx", "xyxy"]]] = {(1, 0, 3, 2): "yxyx", (0, 1, 2, 3): "xyxy"}


def _box_format(boxes: Boxes) -> Literal["yxyx", "xyxy", "cxcywh"] | None:
    if boxes.type == "boundaries":
        return _BOUNDARIES.get(boxes.index)
    return "cxcywh" if boxes.type == "center" and boxes.index == (0, 1, 2, 3) else None


def overlay(upper: S, lower: S) -> S:
    """Return ``upper`` with what it leaves open taken from ``lower``, one struct within another included."""
    merged: dict[str, Any] = {}
    for field in msgspec.structs.fields(upper):
        high, low = getattr(upper, field.name), getattr(lower, field.name)
        merged[field.name] = overlay(high, low) if isinstance(high, msgspec.Struct) else low if high is None else high
    return type(upper)(**merged)
