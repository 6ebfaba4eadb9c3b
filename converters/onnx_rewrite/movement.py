"""Operators that only move values: said as one GATHER from the flattened input.

Where each value comes from is found by running the operator itself on the numbers 1, 2, 3 and so on; 0 is what it adds.
"""

from typing import Final

import numpy as np
from onnx import helper

from converters.onnx_rewrite import evaluate
from converters.onnx_rewrite.trace import Answer, Array, Call, Trace

_MOST_VALUES: Final = 1 << 22
"""A float32 counts up to 2^24 exactly."""


def moved(trace: Trace, call: Call) -> Answer:
    """Say an operator whose first input is data and whose others are constants. Its own constants become 0."""
    if not trace.is_float(call.inputs[0]) or any(name and trace.value(name) is None for name in call.inputs[1:]):
        return None
    places = _places(trace, call, [0])
    if places is None:
        return None
    return select(trace, call.inputs[:1], places)


def scattered(trace: Trace, call: Call) -> Answer:
    """Say a scatter with constant indices: its data and its updates are values, by reduction one after the other."""
    reduction = call.get("reduction", b"none")
    reduction = reduction.decode() if isinstance(reduction, bytes) else reduction
    if trace.value(call.inputs[1]) is None or not trace.is_float(call.inputs[0]):
        return None
    if reduction == "none":
        places = _places(trace, call, [0, 2])
        return None if places is None else select(trace, [call.inputs[0], call.inputs[2]], places)
    return _reduced(trace, call, {"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}[reduction])


def updated(trace: Trace, call: Call) -> Answer:
    """Say a TensorScatter at constant places: of the cache and of the update."""
    if not trace.is_float(call.inputs[0]):
        return None
    places = _places(trace, call, [0, 1])
    return None if places is None else select(trace, call.inputs[:2], places)


def _reduced(trace: Trace, call: Call, kind: str) -> Answer:
    """Combine the updates in rounds, in each of which every place is hit at most once."""
    targets = _targets(trace, call)
    if targets is None:
        return None
    data = call.inputs[0]
    shape = trace.shape(data)
    neutral = {"Add": 0.0, "Mul": 1.0}.get(kind)
    seen: dict[int, int] = {}
    rounds: list[Array] = []
    for source, target in enumerate(targets):
        turn = seen.get(int(target), 0)
        seen[int(target)] = turn + 1
        if turn == len(rounds):
            rounds.append(np.zeros(int(np.prod(shape)), np.int64))
        rounds[turn][int(target)] = source + 1
    result = data
    for places in rounds:
        if neutral is not None:
            hit = select(trace, [call.inputs[2]], places.reshape(shape), fill=neutral)
        else:  # where nothing comes, the data themselves
            own = len(targets) + 1 + np.arange(places.size)
            hit = select(trace, [call.inputs[2], data], np.where(places, places, own).reshape(shape))
        result = trace.op(kind, result, hit)
    return result


def _targets(trace: Trace, call: Call) -> Array | None:
    """Return for each update, flattened, which place of the flattened data it goes to."""
    data, updates = trace.shape(call.inputs[0]), trace.shape(call.inputs[2])
    indices = trace.value(call.inputs[1])
    assert indices is not None
    numbers = np.arange(int(np.prod(data))).reshape(data)
    if call.op == "ScatterND":
        index = np.where(indices < 0, indices + np.asarray(data[: indices.shape[-1]]), indices)
        return np.asarray(numbers[tuple(np.moveaxis(index, -1, 0))]).reshape(-1)
    axis = call.get("axis", 0) % len(data)
    index = np.where(indices < 0, indices + data[axis], indices)
    grids = list(np.indices(updates))
    grids[axis] = index
    return np.asarray(numbers[tuple(grids)]).reshape(-1)


def _places(trace: Trace, call: Call, data: list[int]) -> Array | None:
    """Return the flat place, from 1, of each output value among the data inputs; 0 for one that is none of them."""
    given, start = {}, 1
    names = []
    for number, name in enumerate(call.inputs):
        if not name:
            names.append("")
            continue
        names.append(f"input{number}")
        if number in data:
            shape = trace.shape(name)
            size = int(np.prod(shape))
            given[f"input{number}"] = np.arange(start, start + size, dtype=np.float32).reshape(shape)
            start += size
        else:
            value = trace.value(name)
            if value is None:
                return None
            given[f"input{number}"] = np.zeros_like(value) if value.dtype.kind == "f" else value
    if start > _MOST_VALUES:
        return None
    attributes = {name: value for name, value in call.attributes.items() if name not in {"value", "reduction"}}
    node = helper.make_node(call.op, names, ["places"], domain=call.domain, **attributes)
    found = evaluate.run(node, given, trace.version, list(trace.opsets))
    return None if found is None else np.rint(found[0]).astype(np.int64)


def select(trace: Trace, values: list[str] | tuple[str, ...], places: Array, *, fill: float = 0.0) -> str:
    """Return ``concatenation of the flattened values [places - 1]``, and ``fill`` where a place is 0."""
    parts = [trace.reshape(value, [int(np.prod(trace.shape(value)))]) for value in values]
    total = sum(trace.shape(part)[0] for part in parts)
    if (places == 0).any():
        parts.append(trace.constant(np.full(1, fill, np.float32)))
        places = np.where(places == 0, total + 1, places)
    flat = trace.concat(parts, 0)
    found = trace.gather(flat, places.reshape(-1) - 1, 0)
    return trace.reshape(found, places.shape)
