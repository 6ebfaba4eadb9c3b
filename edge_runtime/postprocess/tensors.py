"""What every postprocessor needs of a tensor: real values, a checked place in the model, names for class ids."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputMismatchError, ModelError, UsageError
from edge_runtime.labels import LabelsError, fit_labels
from edge_runtime.types import ImageInput, ModelSpec, Prepared, Size, TensorSpec, Transform


def dequantize(values: NDArray[Any], spec: TensorSpec) -> NDArray[np.float32]:
    """Return ``(q - zero_point) * scale`` as float32 (TensorFlow Lite quantization specification).

    Values of a tensor that is not quantised are only converted. Any shape; a copy unless it is float32 already.
    """
    real = values.astype(np.float32, copy=False)
    if spec.quantized:
        real = (real - np.float32(spec.zero_point)) * np.float32(spec.scale)
    return real


def value_range(spec: TensorSpec) -> tuple[float, float] | None:
    """Return the smallest and the largest real value a quantised tensor can hold; None for others."""
    if not spec.quantized:
        return None
    limits = np.iinfo(spec.dtype)
    return (limits.min - spec.zero_point) * spec.scale, (limits.max - spec.zero_point) * spec.scale


def the_output(spec: ModelSpec) -> TensorSpec:
    """Return the only output. Raises ModelError when there is not exactly one."""
    if len(spec.outputs) != 1:
        raise ModelError(
            f"{spec.path}: task {spec.task} reads one output, this model has {len(spec.outputs)}; try --task raw"
        )
    return spec.outputs[0]


def picture_size(spec: ModelSpec) -> Size:
    """Return the size of the input picture. Raises InputMismatchError for a model that takes no picture."""
    if not isinstance(spec.input, ImageInput):
        raise InputMismatchError(f"{spec.path}: task {spec.task} needs a model whose input is a picture")
    return spec.input.size


def way_back(prepared: Prepared) -> Transform:
    """Return the way from input pixels to source pixels. Raises InputMismatchError for what is no picture."""
    if prepared.transform is None:
        raise InputMismatchError("this model's result is placed in a picture; a window of samples has none")
    return prepared.transform


def names_for(labels: tuple[str, ...] | None, classes: int) -> tuple[str, ...] | None:
    """Return the labels that belong to ``classes`` classes (0: not known before running), None without labels.

    Raises UsageError when there are too few or too many; see ``edge_runtime.labels`` for what fits nevertheless.
    """
    if labels is None:
        return None
    try:
        return fit_labels(labels, classes or None)
    except LabelsError as error:
        raise UsageError(f"the list of labels {error}; give a label file with one line for each") from error


def names_of(class_ids: NDArray[np.int64], labels: tuple[str, ...] | None) -> tuple[str | None, ...]:
    """Return the name of each id, None where there is none."""
    ids: Iterable[int] = class_ids.tolist()
    if labels is None:
        return tuple(None for _ in ids)
    return tuple((labels[i] or None) if 0 <= i < len(labels) else None for i in ids)
