"""Cutting, padding and splitting, with every size written out."""

import itertools
import math
from typing import Any, Final

import numpy as np

from converters.onnx_rewrite.movement import moved
from converters.onnx_rewrite.trace import Answer, Call, Trace

_MOST_AXES: Final = 5


def padded(trace: Trace, call: Call) -> Answer:
    """Pad: on all axes, nothing cut off; a wrap-around by places."""
    x, pads = call.inputs[0], trace.value(call.inputs[1]) if call.has(1) else None
    if pads is None or not trace.is_float(x):
        return None
    rank = trace.rank(x)
    axes = list(range(rank))
    if call.has(3):
        given = trace.value(call.inputs[3])
        if given is None:
            return None
        axes = [int(axis) % rank for axis in given]
    full = np.zeros(2 * rank, np.int64)
    for place, axis in enumerate(axes):
        full[axis], full[axis + rank] = pads[place], pads[place + len(pads) // 2]
    mode = _text(call.get("mode", "constant"))
    if mode == "wrap" or (mode != "constant" and (full < 0).any()):
        return moved(trace, call)
    if not call.has(3) and not (full < 0).any():
        return None
    for axis in range(rank):
        start, end = -min(int(full[axis]), 0), trace.shape(x)[axis] + min(int(full[axis + rank]), 0)
        x = trace.cut(x, axis, start, end)
    full = np.maximum(full, 0)
    if not full.any():
        return x
    value = call.inputs[2] if call.has(2) else np.zeros((), np.float32)
    return trace.op("Pad", x, full, value, mode=mode)


def split(trace: Trace, call: Call) -> Answer:
    """Split: parts of sizes that are written out."""
    if call.get("num_outputs") is None or call.has(1):
        return None
    axis = call.get("axis", 0) % trace.rank(call.inputs[0])
    size, count = trace.shape(call.inputs[0])[axis], call.get("num_outputs")
    each = -(-size // count)
    sizes = [each] * (count - 1) + [size - each * (count - 1)]
    ends = itertools.pairwise(itertools.accumulate(sizes, initial=0))
    return [trace.cut(call.inputs[0], axis, start, end) for start, end in ends]


def sliced(trace: Trace, call: Call) -> Answer:
    """Slice backwards: by places along each axis."""
    given = [trace.value(name) if name else None for name in call.inputs[1:]]
    result, count = call.inputs[0], 0 if given[0] is None else given[0].size
    given += [None] * (4 - len(given))
    defaults = (None, None, np.arange(count), np.ones(count, np.int64))
    filled = [
        default if not call.has(place) else value
        for place, (value, default) in enumerate(zip(given, defaults, strict=True), 1)
    ]
    if any(value is None for value in filled):
        return None
    starts, ends, axes, steps = ([int(number) for number in value.reshape(-1)] for value in filled if value is not None)
    shape = trace.shape(result)
    if min(steps, default=1) > 0:
        return _cut_flat(trace, result, list(zip(starts, ends, axes, steps, strict=True)))
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = axis % len(shape)
        places = np.arange(shape[place])[slice(*_bounds(start, end, step, shape[place]))]
        if not len(places):
            return None
        result = trace.gather(result, places, place)
    return result


def _cut_flat(trace: Trace, value: str, cuts: list[tuple[int, int, int, int]]) -> Answer:
    """Slices of more axes than the interpreter takes: one axis after the other, what is around it made one."""
    if trace.rank(value) <= _MOST_AXES:
        return None
    for start, end, axis, step in cuts:
        shape = list(trace.shape(value))
        place = axis % len(shape)
        flat = trace.reshape(value, [math.prod(shape[:place]), shape[place], math.prod(shape[place + 1 :])])
        part = trace.op("Slice", flat, [start], [end], [1], [step])
        shape[place] = trace.shape(part)[1]
        value = trace.reshape(part, shape)
    return value


def reshaped(trace: Trace, call: Call) -> Answer:
    """Reshape to the shape that is there already, or to a single number, for which it takes no empty constant."""
    wanted, shape = trace.value(call.inputs[1]), trace.shape(call.inputs[0])
    if wanted is None:
        return None
    sides = [int(side) for side in wanted]
    if not call.get("allowzero", 0):
        sides = [shape[place] if side == 0 else side for place, side in enumerate(sides)]
    if len(sides) == len(shape) and all(side in {-1, old} for side, old in zip(sides, shape, strict=True)):
        return call.inputs[0]
    return trace.op("Squeeze", call.inputs[0], list(range(len(shape)))) if not sides and shape else None


def flattened(trace: Trace, call: Call) -> Answer:
    """Flatten with its sizes written out."""
    shape = trace.shape(call.inputs[0])
    axis = call.get("axis", 1)
    axis += len(shape) if axis < 0 else 0
    return trace.reshape(call.inputs[0], [math.prod(shape[:axis]), math.prod(shape[axis:])])


def _bounds(start: int, end: int, step: int, size: int) -> tuple[int | None, int | None, int]:
    """Return what Python's slice takes: an end before the first place is no end."""
    if step < 0 and end < -size:
        return start, None, step
    return start, end, step


def padded_convolution(trace: Trace, call: Call) -> Answer:
    """A convolution that pads the lower side more: padding written out."""
    mode = _text(call.get("auto_pad", "NOTSET"))
    if mode != "SAME_LOWER":
        return None
    sizes, kernel = trace.shape(call.inputs[0])[2:], trace.shape(call.inputs[1])[2:]
    strides = call.get("strides", [1] * len(sizes))
    dilations = call.get("dilations", [1] * len(sizes))
    before, after = [], []
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        reach = dilation * (width - 1) + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        before.append(total - total // 2)
        after.append(total // 2)
    attributes = {name: value for name, value in call.attributes.items() if name not in {"auto_pad", "pads"}}
    return trace.op(call.op, *call.inputs, pads=[*before, *after], **attributes)


def one_hot(trace: Trace, call: Call) -> Answer:
    """OneHot of computed indices: compared with every class; a negative one counts from the end."""
    indices, depth, values = call.inputs[0], trace.value(call.inputs[1]), trace.value(call.inputs[2])
    if depth is None or (values is None and trace.value(indices) is None):
        return None
    if values is None:
        return _with_computed_values(trace, call, int(depth.reshape(-1)[0]))
    if not trace.is_float(indices):
        return None
    count = int(depth.reshape(-1)[0])
    shape = trace.shape(indices)
    axis = call.get("axis", -1) % (len(shape) + 1)
    below = trace.op("Less", indices, np.float32(0.0))
    indices = trace.op("Where", below, trace.op("Add", indices, np.float32(count)), indices)
    wide = trace.op("Reshape", indices, [*shape[:axis], 1, *shape[axis:]])
    sides = [1] * (len(shape) + 1)
    sides[axis] = count
    hit = trace.op("Equal", wide, np.arange(count, dtype=np.float32).reshape(sides))
    off, on = (np.float32(value) for value in values)
    return trace.op("Where", hit, on, off)


def _with_computed_values(trace: Trace, call: Call, count: int) -> str:
    """Return ``off + hit * (on - off)``, where the hits are constant."""
    indices = trace.value(call.inputs[0])
    assert indices is not None
    axis = call.get("axis", -1) % (indices.ndim + 1)
    places = np.expand_dims(np.where(indices < 0, indices + count, indices), axis)
    sides = [1] * (indices.ndim + 1)
    sides[axis] = count
    hit = (places == np.arange(count).reshape(sides)).astype(np.float32)
    off, on = trace.cut(call.inputs[2], 0, 0, 1), trace.cut(call.inputs[2], 0, 1, 2)
    return trace.op("Add", trace.op("Mul", trace.op("Sub", on, off), hit), off)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


RULES: Final = {
    "Pad": padded,
    "Split": split,
    "Slice": sliced,
    "Conv": padded_convolution,
    "OneHot": one_hot,
    "Reshape": reshaped,
    "Flatten": flattened,
}
