"""Control flow whose course is known: a constant condition, a constant number of rounds."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from converters.onnx_rewrite.trace import Answer, Call, Trace

_MOST_ROUNDS: Final = 256


def branch(trace: Trace, call: Call) -> Answer:
    """If with a constant condition: the branch itself."""
    condition = trace.value(call.inputs[0])
    if condition is None:
        return None
    graph = call.get("then_branch" if bool(condition.reshape(-1)[0]) else "else_branch")
    return _played(trace, graph, {})


def loop(trace: Trace, call: Call) -> Answer:
    """Loop with a constant number of rounds and a condition that stays constant: written out."""
    graph, count = call.get("body"), trace.value(call.inputs[0]) if call.has(0) else None
    going = trace.value(call.inputs[1]) if call.has(1) else np.asarray(True)
    if count is None or going is None or int(count) > _MOST_ROUNDS:
        return None
    states, kept = list(call.inputs[2:]), list[list[str]]()
    names = [value.name for value in graph.input]
    for number in range(int(count)):
        if not bool(going):
            break
        given = [trace.constant(np.asarray(number, np.int64)), trace.constant(np.asarray(True)), *states]
        results = _played(trace, graph, dict(zip(names, given, strict=True)))
        going = trace.value(results[0])
        if going is None:
            return None
        states = results[1 : 1 + len(states)]
        kept.append(results[1 + len(states) :])
    return [*states, *(_stacked(trace, rows, 0) for rows in zip(*kept, strict=True))]


def scan(trace: Trace, call: Call) -> Answer:
    """Scan over a known length: written out."""
    graph, count = call.get("body"), call.get("num_scan_inputs")
    carried = len(call.inputs) - count
    states, scanned = list(call.inputs[:carried]), call.inputs[carried:]
    axes = _listed(call, "scan_input_axes", count, 0)
    backwards = _listed(call, "scan_input_directions", count, 0)
    length = trace.shape(scanned[0])[axes[0]]
    if length > _MOST_ROUNDS:
        return None
    names, kept = [value.name for value in graph.input], list[list[str]]()
    for step in range(length):
        parts = []
        for value, axis, back in zip(scanned, axes, backwards, strict=True):
            place = length - 1 - step if back else step
            shape = [side for number, side in enumerate(trace.shape(value)) if number != axis % trace.rank(value)]
            parts.append(trace.reshape(trace.cut(value, axis % trace.rank(value), place, place + 1), shape))
        results = _played(trace, graph, dict(zip(names, [*states, *parts], strict=True)))
        states = results[:carried]
        kept.append(results[carried:])
    columns = [list(rows) for rows in zip(*kept, strict=True)]
    out_axes = _listed(call, "scan_output_axes", len(columns), 0)
    out_backwards = _listed(call, "scan_output_directions", len(columns), 0)
    stacked = [
        _stacked(trace, rows[::-1] if back else rows, axis)
        for rows, axis, back in zip(columns, out_axes, out_backwards, strict=True)
    ]
    return [*states, *stacked]


def _listed(call: Call, name: str, count: int, default: int) -> list[int]:
    return [int(value) for value in call.get(name, [default] * count)]


def _stacked(trace: Trace, rows: Sequence[str], axis: int) -> str:
    shape = list(trace.shape(rows[0]))
    place = axis % (len(shape) + 1)
    shape.insert(place, 1)
    return trace.concat([trace.op("Reshape", row, shape) for row in rows], place)


def _played(trace: Trace, graph: Any, bound: dict[str, str]) -> list[str]:
    for tensor in graph.initializer:
        bound[tensor.name] = trace.initializer(tensor)
    return trace.inline(graph.node, bound, [value.name for value in graph.output])


RULES = {"If": branch, "Loop": loop, "Scan": scan}
