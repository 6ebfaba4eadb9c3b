"""Reductions that the converter lacks, or gets wrong over nothing."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from converters.onnx_rewrite.trace import Answer, Call, Trace

_OVER_NOTHING: Final = {
    "ReduceSum": 0.0,
    "ReduceL1": 0.0,
    "ReduceL2": 0.0,
    "ReduceSumSquare": 0.0,
    "ReduceProd": 1.0,
    "ReduceMax": -np.inf,
    "ReduceMin": np.inf,
    "ReduceLogSum": -np.inf,
    "ReduceLogSumExp": -np.inf,
}


def axes_of(trace: Trace, call: Call) -> list[int] | None:
    """Return the axes, none of them negative: of the attribute or the input, all where none are given."""
    rank = trace.rank(call.inputs[0])
    given = call.get("axes")
    if call.has(1):
        value = trace.value(call.inputs[1])
        if value is None:
            return None
        given = [int(axis) for axis in value.reshape(-1)]
    if given is None or len(given) == 0:
        return [] if call.get("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(int(axis) % rank for axis in given)


def reduction(trace: Trace, call: Call) -> Answer:
    """Say a reduction by sums, means, products and extremes over axes that are written out."""
    if not trace.is_float(call.inputs[0]):
        return None
    axes = axes_of(trace, call)
    if axes is None:
        return None
    x, keep = call.inputs[0], bool(call.get("keepdims", 1))
    shape = trace.shape(x)
    if not all(shape) and call.op in _OVER_NOTHING:
        left = [1 if place in axes else side for place, side in enumerate(shape) if keep or place not in axes]
        return trace.constant(np.full(left, _OVER_NOTHING[call.op], np.float32))
    write = _WRITTEN.get(call.op)
    if write is not None:
        return write(trace, x, axes, keep)
    if not axes:
        return x
    return None if _is_plain(trace, call, axes) else trace.reduce(call.op, x, axes, keepdims=keep)


def _is_plain(trace: Trace, call: Call, axes: list[int]) -> bool:
    given = call.get("axes")
    if call.has(1):
        value = trace.value(call.inputs[1])
        given = None if value is None else list(value.reshape(-1))
    return given is not None and list(given) == axes and "noop_with_empty_axes" not in call.attributes


def _summed(trace: Trace, x: str, axes: Sequence[int], keep: bool) -> str:
    return trace.reduce("ReduceSum", x, axes, keepdims=keep) if axes else x


def _l1(trace: Trace, x: str, axes: Sequence[int], keep: bool) -> str:
    return _summed(trace, trace.op("Abs", x), axes, keep)


def _l2(trace: Trace, x: str, axes: Sequence[int], keep: bool) -> str:
    return trace.op("Sqrt", _sum_square(trace, x, axes, keep))


def _sum_square(trace: Trace, x: str, axes: Sequence[int], keep: bool) -> str:
    return _summed(trace, trace.op("Mul", x, x), axes, keep)


def _log_sum(trace: Trace, x: str, axes: Sequence[int], keep: bool) -> str:
    return trace.op("Log", _summed(trace, x, axes, keep))


def _log_sum_exp(trace: Trace, x: str, axes: Sequence[int], keep: bool) -> str:
    """The largest value is taken out first, so that nothing overflows."""
    if not axes:
        return x
    top = trace.reduce("ReduceMax", x, axes)
    total = trace.op("Log", trace.reduce("ReduceSum", trace.op("Exp", trace.op("Sub", x, top)), axes))
    result = trace.op("Add", total, top)
    shape = [side for place, side in enumerate(trace.shape(result)) if keep or place not in axes]
    return trace.reshape(result, shape)


_WRITTEN: Final = {
    "ReduceL1": _l1,
    "ReduceL2": _l2,
    "ReduceSumSquare": _sum_square,
    "ReduceLogSum": _log_sum,
    "ReduceLogSumExp": _log_sum_exp,
}
RULES = dict.fromkeys([*_OVER_NOTHING, "ReduceMean"], reduction)
