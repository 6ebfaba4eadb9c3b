"""The ranges that a network's tensors get, so that the interpreter can compute with all of them together."""

from collections.abc import Mapping
from typing import Final

from converters.rescue.ranges import Observed, RangeMethod, chosen_range
from edge_runtime.model_file import Operator, parse_model

_SUMS: Final = frozenset({0, 41, 99})
"""ADD, SUB, SQUARED_DIFFERENCE."""
_NARROWEST: Final = 2.0**-16
"""Of an operator's widest input. Below 2^-19 the kernels of sums end the process (CHECK in QuantizeMultiplier-
SmallerThanOneExp), and what is smaller than this is the rounding of the inputs' own 8 bits anyway."""

_SAME_SCALE: Final = frozenset({22, 36, 39, 43, 45, 49, 65, 70, 88, 102})
"""RESHAPE, GATHER, TRANSPOSE, SQUEEZE, STRIDED_SLICE, SPLIT, SLICE, EXPAND_DIMS, UNPACK, SPLIT_V: a part of a tensor is
quantised as the whole, however little the part holds."""

_BATCH_MATMUL: Final = 126
_SPLIT: Final = 49
"""Its axis comes before what it splits."""

Limits = dict[str, tuple[float, float]]


def chosen_limits(content: bytes, seen: Mapping[str, Observed], method: RangeMethod, *, levels: int = 255) -> Limits:
    """Return the range of each observed tensor of a float model."""
    limits = {name: chosen_range(one, method, levels=levels) for name, one in seen.items()}
    return with_centred_factors(content, with_wide_sums(content, limits))


def with_wide_sums(content: bytes, limits: Limits) -> Limits:
    """Widen sums that hardly differ from zero: of what cancels out, or of padding."""
    model = parse_model(content, "the float model")
    widened = dict(limits)
    width = {name: max(ends[1], 0.0) - min(ends[0], 0.0) for name, ends in limits.items()}
    for operator in model.operators:
        results = [name for index in operator.outputs if (name := model.tensors[index].name) in limits]
        inputs = (model.tensors[index].name for index in operator.inputs if index >= 0)
        widest = max((width[name] for name in inputs if name in width), default=0.0)
        if operator.code.builtin in _SAME_SCALE:
            width |= dict.fromkeys(results, widest)
        elif operator.code.builtin in _SUMS and results and width[results[0]] < _NARROWEST * widest:
            width[results[0]] = least = _NARROWEST * widest
            low, high = limits[results[0]]
            widened[results[0]] = (min(low, -least / 2.0), max(high, least / 2.0))
    return widened


def with_centred_factors(content: bytes, limits: Limits) -> Limits:
    """Give the second factor of a product of two computed tensors a range around zero, so that its zero point is 0.

    XNNPACK in ai-edge-litert 2.1.2 computes BATCH_MATMUL as if it were, whatever the tensor says, where the plain
    kernels heed it: an attention came out at 1 dB, and at 53 dB so.
    """
    model = parse_model(content, "the float model")
    made_by = {index: operator for operator in model.operators for index in operator.outputs}
    centred = dict(limits)
    for operator in model.operators:
        if operator.code.builtin != _BATCH_MATMUL:
            continue
        index: int | None = operator.inputs[1]
        while index is not None and (name := model.tensors[index].name) in limits:
            furthest = max(abs(end) for end in limits[name])
            centred[name] = (-furthest * 128.0 / 127.0, furthest)  # -128 and 127 steps
            index = _moved_from(made_by.get(index))
    return centred


def _moved_from(operator: Operator | None) -> int | None:
    """Return what an operator takes its values from as they are; None for one that computes."""
    if operator is None or operator.code.builtin not in _SAME_SCALE:
        return None
    return operator.inputs[1 if operator.code.builtin == _SPLIT else 0]
