"""The ranges that a network's tensors get, so that the interpreter can compute with all of them together."""

from collections.abc import Mapping
from typing import Final

from converters.rescue.ranges import Observed, RangeMethod, chosen_range
from edge_runtime.model_file import parse_model

_SUMS: Final = frozenset({0, 41, 99})
"""ADD, SUB, SQUARED_DIFFERENCE."""
_NARROWEST: Final = 2.0**-16
"""Of an operator's widest input. Below 2^-19 the kernels of sums end the process (CHECK in QuantizeMultiplier-
SmallerThanOneExp), and what is smaller than this is the rounding of the inputs' own 8 bits anyway."""

_SAME_SCALE: Final = frozenset({22, 36, 39, 43, 45, 49, 65, 70, 88, 102})
"""RESHAPE, GATHER, TRANSPOSE, SQUEEZE, STRIDED_SLICE, SPLIT, SLICE, EXPAND_DIMS, UNPACK, SPLIT_V: a part of a tensor is
quantised as the whole, however little the part holds."""

Limits = dict[str, tuple[float, float]]


def chosen_limits(content: bytes, seen: Mapping[str, Observed], method: RangeMethod, *, levels: int = 255) -> Limits:
    """Return the range of each observed tensor of a float model."""
    return with_wide_sums(content, {name: chosen_range(one, method, levels=levels) for name, one in seen.items()})


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
