"""The file that is handed over: the network, what it is, and how it gets to the disk whole or not at all."""

import math
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from converters.arrays import Array
from converters.embed import append_files, embed_metadata
from converters.sample_pool import Drawn
from converters.tflite_metadata import LABEL_FILE, Described, Range, metadata_buffer
from edge_runtime.analysis.cost import macs
from edge_runtime.analysis.graph import build_graph
from edge_runtime.errors import EdgeRuntimeError, ModelError
from edge_runtime.manifest_file import BUFFER_NAME, SCHEMA, InputFacts, Manifest, OutputFacts
from edge_runtime.model_file import ModelFile
from edge_runtime.model_metadata import BUFFER_NAME as METADATA_BUFFER_NAME
from edge_runtime.types import ImageInput, ModelSpec

_MASKING: Final = frozenset({0, 2, 55, 57, 64, 123})
"""ADD, CONCATENATION, MAXIMUM, MINIMUM, SELECT, SELECT_V2."""
_QUANTIZING: Final = frozenset({6, 114})
"""DEQUANTIZE and QUANTIZE: float on one side by their nature."""


def input_facts(spec: ModelSpec) -> InputFacts:
    """Return the manifest's ``input`` of a model whose preprocessing is settled."""
    source = spec.input
    if isinstance(source, ImageInput):
        return InputFacts(
            size=source.size,
            layout=source.layout,
            color=source.color,
            mean=source.mean,
            std=source.std,
            resize=source.resize,
        )
    return InputFacts(
        length=source.length,
        channels=source.channels,
        sample_rate_hz=source.sample_rate_hz,
        mean=source.mean,
        std=source.std,
    )


def build_manifest(
    spec: ModelSpec,
    *,
    reference: dict[str, Any],
    provenance: dict[str, Any],
    accuracy: dict[str, Any] | None,
) -> Manifest:
    """Return the manifest of an artifact: everything the device needs, so that no flag is needed."""
    output = spec.output
    facts = OutputFacts(
        format=output.format,
        order=output.order,
        score_activation=output.score_activation,
        box_format=output.box_format,
        normalized=output.normalized,
        threshold=output.threshold,
        names=output.names or None,
        units=output.units or None,
    )
    return Manifest(
        schema=SCHEMA,
        name=spec.identity.name,
        version=spec.identity.version,
        task=spec.task,
        labels=spec.labels,
        input=input_facts(spec),
        output=facts,
        reference=reference,
        provenance=provenance,
        accuracy=accuracy,
    )


def describe(
    model: bytes, spec: ModelSpec, manifest: Manifest, *, output_names: Sequence[str], seen: Drawn | None
) -> bytes:
    """Return the model with TFLite Metadata, labels and manifest in it. Raises ModelError."""
    described = Described(
        name=spec.identity.name,
        version=spec.identity.version,
        input_names=[one.name for one in spec.inputs],
        output_names=output_names,
        input=spec.input,
        input_range=Range(seen.low, seen.high) if seen else None,
        has_labels=spec.labels is not None,
    )
    buffers = {METADATA_BUFFER_NAME: metadata_buffer(described), BUFFER_NAME: msgspec.json.encode(manifest)}
    content = embed_metadata(model, buffers)
    if spec.labels is not None:
        content = append_files(content, {LABEL_FILE: "".join(f"{label}\n" for label in spec.labels).encode()})
    return content


def statistics(name: str, values: Array) -> dict[str, Any]:
    """Return what is kept of a tensor over the calibration samples, to tell drift later."""
    count, mean, squares, low, high = 0, 0.0, 0.0, math.inf, -math.inf
    for row in values:  # a hundred pictures as float64 at once would be 120 MB
        numbers = row[np.isfinite(row)].astype(np.float64)
        if not numbers.size:
            continue
        off = float(numbers.mean()) - mean
        total = count + numbers.size
        squares += float(numbers.var()) * numbers.size + off**2 * count * numbers.size / total
        mean += off * numbers.size / total
        count, low, high = total, min(low, float(numbers.min())), max(high, float(numbers.max()))
    if not count:
        return {"name": name}
    return {"name": name, "min": low, "max": high, "mean": mean, "std": math.sqrt(squares / count)}


def float_operators(model: ModelFile) -> list[str]:
    """Return the outputs of operators that still compute in float; conversions from and to integers do not count."""
    names = []
    for operator in model.operators:
        outputs = [model.tensors[index] for index in operator.outputs if index >= 0]
        if operator.code.builtin not in _QUANTIZING and any(tensor.type.name == "float32" for tensor in outputs):
            names.append(outputs[0].name)
    return names


def int8_macs(model: ModelFile) -> float:
    """Return the share of multiply-accumulates that give 8-bit values; 1 for a network that has none."""
    graph = build_graph(model)
    counts = [(macs(graph, node), graph.tensors[node.outputs[0]].type.name) for node in graph.nodes if node.outputs]
    total = sum(count for count, _ in counts)
    return sum(count for count, kind in counts if kind in {"int8", "uint8"}) / total if total else 1.0


def refuse_bad_constants(model: ModelFile) -> None:
    """Refuse a network with weights that are no numbers. Raises ModelError that names the tensor.

    Minus infinity in what is added or chosen is a mask, as attention has it, and meant.
    """
    readers: dict[int, set[int]] = {}
    for operator in model.operators:
        for index in operator.inputs:
            readers.setdefault(index, set()).add(operator.code.builtin)
    for tensor in model.tensors:
        if tensor.type.name != "float32":
            continue
        constants = np.frombuffer(model.buffer(tensor.buffer), np.float32)
        broken = ~np.isfinite(constants)
        if readers.get(tensor.index, set()) <= _MASKING:
            broken &= ~np.isneginf(constants)
        if broken.any():
            bad = int(np.sum(broken))
            raise ModelError(
                f"the weights {tensor.name!r} have {bad} of {constants.size} values that are no numbers "
                "(NaN or infinite); the training went wrong: use an earlier checkpoint"
            )


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears under its name only when it is complete. Raises EdgeRuntimeError."""
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o666 & ~_umask())
        os.replace(temporary, path)  # noqa: PTH105 - the name is text here
    except OSError as error:
        raise EdgeRuntimeError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if temporary:
            with suppress(FileNotFoundError):
                os.unlink(temporary)  # noqa: PTH108


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
