"""Operators that are linear in their first input: said as one matrix, found by running them on the unit vectors.

So the result is ONNX's own, whatever the attributes.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from onnx import helper

from converters.onnx_rewrite import evaluate
from converters.onnx_rewrite.trace import Answer, Array, Call, Trace

LARGEST: Final = 1 << 22
"""Elements of a matrix (16 MB); beyond it the operator is kept."""
_AT_ONCE: Final = 256


def whole(trace: Trace, call: Call) -> Answer:
    """Say the operator as a matrix over all its values, or over those behind the first axis where it is a batch."""
    shape = trace.shape(call.inputs[0])
    given = _constants(trace, call)
    if given is None or not trace.is_float(call.inputs[0]):
        return None
    size = int(np.prod(shape))
    rows = []
    zero = run(trace, call, given, np.zeros(shape, np.float32))
    if zero is None or size * zero.size > LARGEST or not np.isfinite(zero).all():
        return None
    for place in range(size):
        unit = np.zeros(size, np.float32)
        unit[place] = 1.0
        row = run(trace, call, given, unit.reshape(shape))
        assert row is not None
        rows.append((row - zero).reshape(-1))
    flat = trace.reshape(call.inputs[0], [1, size])
    result = trace.op("MatMul", flat, np.stack(rows).astype(np.float32))
    if zero.any():
        result = trace.op("Add", result, zero.reshape(1, -1).astype(np.float32))
    return trace.reshape(result, zero.shape)


def per_row(trace: Trace, call: Call) -> Answer:
    """Say an operator that treats every entry of the first axis alike."""
    shape = trace.shape(call.inputs[0])
    given = _constants(trace, call)
    if given is None or len(shape) < 2 or not trace.is_float(call.inputs[0]):
        return None
    size = int(np.prod(shape[1:]))
    zero = run(trace, call, given, np.zeros((1, *shape[1:]), np.float32))
    if zero is None or size * zero.size > LARGEST:
        return None
    units = np.eye(size, dtype=np.float32).reshape(size, *shape[1:])
    parts = [run(trace, call, given, units[start : start + _AT_ONCE]) for start in range(0, size, _AT_ONCE)]
    matrix = np.concatenate([part for part in parts if part is not None]).reshape(size, -1) - zero.reshape(1, -1)
    result = trace.op("MatMul", trace.reshape(call.inputs[0], [shape[0], size]), matrix.astype(np.float32))
    if zero.any():
        result = trace.op("Add", result, zero.reshape(1, -1).astype(np.float32))
    return trace.reshape(result, [shape[0], *zero.shape[1:]])


def _constants(trace: Trace, call: Call) -> dict[str, Array] | None:
    given = {}
    for number, name in enumerate(call.inputs[1:], 1):
        if not name:
            continue
        value = trace.value(name)
        if value is None:
            return None
        given[f"input{number}"] = value
    return given


def run(
    trace: Trace, call: Call, given: Mapping[str, Array], data: Array, *, attributes: Mapping[str, Any] | None = None
) -> Array | None:
    """Return the operator's answer to ``data``, with other attributes where they are given; None where it has none."""
    names = ["input0", *(f"input{number}" if name else "" for number, name in enumerate(call.inputs[1:], 1))]
    node = helper.make_node(call.op, names, ["linear"], domain=call.domain, **(attributes or call.attributes))
    found = evaluate.run(node, {"input0": data, **given}, trace.version, list(trace.opsets))
    return None if found is None else np.asarray(found[0], np.float64)
