"""Constants that only hide values, as minus infinity does before a softmax, brought to a size that int8 can carry.

A scale that reaches from -1e9 to 5 has no step left for what is not hidden, and one that reaches to minus infinity ends
the interpreter's process. What hides needs to be no lower than what it hides from.
"""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.steps import observer
from converters.steps.repairs import packed
from edge_runtime.model_file import ModelFile, Operator, parse_model

_ADD, _CONCATENATION, _SOFTMAX, _MAXIMUM, _MINIMUM, _PADV2, _SELECT, _SELECT_V2 = 0, 2, 25, 55, 57, 60, 64, 123
_PASSING: Final = frozenset({_CONCATENATION, _MAXIMUM, _MINIMUM, _PADV2, _SELECT, _SELECT_V2})
"""What lets a value of one of its inputs through as it is."""
_MOVING: Final = frozenset({22, 39, 43, 70})
"""RESHAPE, TRANSPOSE, SQUEEZE, EXPAND_DIMS."""
_NO_VALUE: Final = 1e30
"""Beyond it a number stands for infinity: float32's lowest, which exports use, is -3.4e38."""
_HIDDEN: Final = 12.0
"""So far below every other logit a softmax gives exp(-12) = 6e-6, far below its int8 step of 1/256."""
_LOOKED_AT: Final = 8
"""Samples from which the size of what is hidden from is taken."""

Range = tuple[float, float]


def with_small_masks(content: bytes, samples: str) -> bytes:
    """Return a float model whose hiding constants are small. ``samples`` is an .npy of its inputs, (n, ...)."""
    model = parse_model(content, "the float model")
    hiding = _hiding(model)
    if not hiding:
        return content
    beside = {index for readers in hiding.values() for one in readers for index in one.inputs}
    seen = _ranges(content, samples, [index for index, _ in observer.computed(content) if index in beside])
    changed: dict[int, NDArray[np.float32]] = {}
    for index, readers in hiding.items():
        enough = [ends for one in readers if (ends := _far_enough(model, one, seen)) is not None]
        values = _constant(model, index)
        if not enough or values is None:
            continue
        low, high = np.float32(min(one[0] for one in enough)), np.float32(max(one[1] for one in enough))
        smaller = np.where(values > _NO_VALUE, high, np.where(values < -_NO_VALUE, low, values))
        if all(_makes_logits(model, one) for one in readers):
            smaller = np.maximum(smaller, low)
        if not np.array_equal(values, smaller):
            changed[index] = smaller.astype(np.float32)
    return _with_constants(content, changed) if changed else content


def _hiding(model: ModelFile) -> dict[int, list[Operator]]:
    """Return the constants that may hide something, by their size or by the softmax behind, with their readers."""
    found: dict[int, list[Operator]] = {}
    for operator in model.operators:
        for index in operator.inputs:
            if index >= 0 and _constant(model, index) is not None:
                found.setdefault(index, []).append(operator)
    for index, readers in list(found.items()):
        values = _constant(model, index)
        known = all(one.code.builtin == _ADD or one.code.builtin in _PASSING for one in readers)
        huge = values is not None and not np.isnan(values).any() and bool((np.abs(values) > _NO_VALUE).any())
        if not known or not (huge or all(_makes_logits(model, one) for one in readers)):
            del found[index]
    return found


def _far_enough(model: ModelFile, operator: Operator, seen: Mapping[int, Range]) -> Range | None:
    """Return how low and how high a constant must be to hide behind what the operator's other inputs held."""
    others = [seen[index] for index in operator.inputs if index in seen]
    if not others:
        return None
    low, high = min(one[0] for one in others), max(one[1] for one in others)
    if operator.code.builtin == _ADD:  # the sum must lie beyond every other, whatever it is added to
        low, high = low - high - _HIDDEN, high - low + _HIDDEN
    elif _feeds_softmax(model, operator):
        low, high = low - _HIDDEN, high + _HIDDEN
    return low, high


def _makes_logits(model: ModelFile, operator: Operator) -> bool:
    return operator.code.builtin == _ADD and _feeds_softmax(model, operator)


def _feeds_softmax(model: ModelFile, operator: Operator) -> bool:
    """Whether everything that reads the result, moved or not, is a softmax."""
    result = operator.outputs[0]
    readers = [one for one in model.operators if result in one.inputs]
    if not readers or result in model.outputs:
        return False
    return all(
        one.code.builtin == _SOFTMAX or (one.code.builtin in _MOVING and _feeds_softmax(model, one)) for one in readers
    )


def _ranges(content: bytes, samples: str, indices: Iterable[int]) -> Mapping[int, Range]:
    """Return the ends of tensors over the first samples, of the values that are numbers."""
    found: dict[int, Range] = {}
    for read in itertools.islice(observer.runs(content, samples), _LOOKED_AT):
        for index in indices:
            values = read(index)
            values = values[np.abs(values) < _NO_VALUE]
            if values.size:
                low, high = found.get(index, (np.inf, -np.inf))
                found[index] = min(low, float(values.min())), max(high, float(values.max()))
    return found


def _constant(model: ModelFile, index: int) -> NDArray[np.float32] | None:
    """Return a float constant's values, flat; None for a tensor that is computed."""
    tensor = model.tensors[index]
    data = model.buffer(tensor.buffer)
    return np.frombuffer(data, np.float32) if tensor.type.name == "float32" and len(data) else None


def _with_constants(content: bytes, changed: Mapping[int, NDArray[np.float32]]) -> bytes:
    from ai_edge_litert import schema_py_generated as schema

    model: Any = schema.ModelT.InitFromPackedBuf(content, 0)
    for index, values in changed.items():
        buffer = schema.BufferT()
        buffer.data = values.view(np.uint8)
        model.buffers.append(buffer)  # the old one may be shared with other tensors
        model.subgraphs[0].tensors[index].buffer = len(model.buffers) - 1
    return packed(model)
