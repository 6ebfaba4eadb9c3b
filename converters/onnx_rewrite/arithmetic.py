"""Arithmetic that the converter takes in some of its forms only."""

import math
from typing import Final

import numpy as np

from converters.onnx_rewrite.trace import FLOAT, Answer, Array, Call, Trace


def matrix_product(trace: Trace, call: Call) -> Answer:
    """Gemm of two computed matrices; one with constant weights stays a fully connected layer."""
    a, b = call.inputs[:2]
    if trace.value(b) is not None or not trace.is_float(a):
        return None
    a = trace.op("Transpose", a, perm=[1, 0]) if call.get("transA", 0) else a
    b = trace.op("Transpose", b, perm=[1, 0]) if call.get("transB", 0) else b
    result = trace.op("MatMul", a, b)
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    if alpha != 1.0:
        result = trace.op("Mul", result, np.float32(alpha))
    if call.has(2) and beta != 0.0:
        added = call.inputs[2] if beta == 1.0 else trace.op("Mul", call.inputs[2], np.float32(beta))
        result = trace.op("Add", result, added)
    return result


def variadic(trace: Trace, call: Call) -> Answer:
    """Sum, Mean, Max and Min two by two."""
    kind = {"Sum": "Add", "Mean": "Add"}.get(call.op, call.op)
    if kind == call.op and len(call.inputs) == 2:
        return None
    result = call.inputs[0]
    for value in call.inputs[1:]:
        result = trace.op(kind, result, value)
    if call.op == "Mean" and len(call.inputs) > 1:
        result = trace.op("Mul", result, np.float32(1.0 / len(call.inputs)))
    return result


def dequantized(trace: Trace, call: Call) -> Answer:
    """(x - zero point) * scale, for constant integers with a scale that is computed."""
    x, scale = trace.value(call.inputs[0]), call.inputs[1]
    if x is None:
        return None
    zero = trace.value(call.inputs[2]) if call.has(2) else None
    if call.has(2) and zero is None:
        return None
    sides, axis, block = trace.shape(scale), call.get("axis", 1), call.get("block_size", 0)
    numbers = x.astype(np.float32)
    if zero is not None:
        numbers = numbers - _spread(zero.astype(np.float32), x.shape, axis, block)
    if block:
        places = np.arange(x.shape[axis]) // block
        return trace.op("Mul", numbers, trace.gather(scale, places, axis))
    if sides:
        shape = [1] * x.ndim
        shape[axis] = sides[0]
        scale = trace.reshape(scale, shape)
    return trace.op("Mul", numbers, scale)


def _spread(values: Array, shape: tuple[int, ...], axis: int, block: int) -> Array:
    if block:
        return np.repeat(values, block, axis)[tuple(slice(0, side) for side in shape)]
    if values.ndim == 1 and len(shape) > 1:
        sides = [1] * len(shape)
        sides[axis] = len(values)
        return values.reshape(sides)
    return values


def tangent(trace: Trace, call: Call) -> Answer:
    """Sin / cos."""
    return trace.op("Div", trace.op("Sin", call.inputs[0]), trace.op("Cos", call.inputs[0]))


def hyperbolic(trace: Trace, call: Call) -> Answer:
    """Sinh and cosh by exponentials."""
    x = call.inputs[0]
    up, down = trace.op("Exp", x), trace.op("Exp", trace.op("Neg", x))
    both = trace.op("Sub" if call.op == "Sinh" else "Add", up, down)
    return trace.op("Mul", both, np.float32(0.5))


def modulo(trace: Trace, call: Call) -> Answer:
    """Of floats: what is left after dividing, with the sign of x (fmod) or of y."""
    x, y = call.inputs
    if not trace.is_float(x):
        return None
    share = trace.op("Div", x, y)
    if not call.get("fmod", 0):
        return trace.op("Sub", x, trace.op("Mul", trace.op("Floor", share), y))
    whole = trace.op("Mul", trace.op("Sign", share), trace.op("Floor", trace.op("Abs", share)))
    return trace.op("Sub", x, trace.op("Mul", whole, y))


def summed_up(trace: Trace, call: Call) -> Answer:
    """Cumulative sum along an axis: a product with a triangle of ones."""
    x, axis = call.inputs[0], trace.value(call.inputs[1])
    if axis is None or not trace.is_float(x):
        return None
    shape = trace.shape(x)
    place = int(axis.reshape(-1)[0]) % len(shape)
    count = shape[place]
    triangle = np.triu(np.ones((count, count), np.float32), 1 if call.get("exclusive", 0) else 0)
    triangle = triangle[::-1, ::-1] if call.get("reverse", 0) else triangle
    return along(trace, x, place, np.ascontiguousarray(triangle))


def along(trace: Trace, value: str, axis: int, matrix: Array) -> str:
    """Multiply the values along an axis with a constant (old, new) matrix."""
    rank = trace.rank(value)
    order = [place for place in range(rank) if place != axis] + [axis]
    last = value if axis == rank - 1 else trace.op("Transpose", value, perm=order)
    rest = trace.shape(last)[:-1]
    flat = trace.reshape(last, [math.prod(rest), matrix.shape[0]])
    product = trace.reshape(trace.op("MatMul", flat, matrix.astype(np.float32)), [*rest, matrix.shape[1]])
    return product if axis == rank - 1 else trace.op("Transpose", product, perm=[int(x) for x in np.argsort(order)])


def binarized(trace: Trace, call: Call) -> Answer:
    """1 above a threshold, else 0 (of the domain ai.onnx.ml)."""
    above = trace.op("Greater", call.inputs[0], np.float32(call.get("threshold", 0.0)))
    return trace.op("Cast", above, to=FLOAT)


def passed_on(trace: Trace, call: Call) -> Answer:
    """Identity, and what does nothing when it is not trained."""
    del trace
    return None if call.wants(1) else call.inputs[0]


def dropped_out(trace: Trace, call: Call) -> Answer:
    """Dropout of a network that is not trained passes everything."""
    mask = trace.constant(np.ones(trace.shape(call.inputs[0]), bool)) if call.wants(1) else ""
    return [call.inputs[0], mask]


def shape_of(trace: Trace, call: Call) -> Answer:
    """The shape is known: a constant."""
    shape = trace.shape(call.inputs[0])
    if call.op == "Size":
        return trace.constant(np.asarray(math.prod(shape), np.int64))
    start, end = call.get("start", 0), call.get("end", len(shape))
    return trace.constant(np.asarray(shape[start:end], np.int64))


def same_type(trace: Trace, call: Call) -> Answer:
    """CastLike: the type is known."""
    wanted = trace.elem_type(call.inputs[1])
    if not wanted:
        return None
    if wanted == trace.elem_type(call.inputs[0]):
        return call.inputs[0]
    return trace.op("Cast", call.inputs[0], to=wanted)


def cast(trace: Trace, call: Call) -> Answer:
    """Cast to the type that is there already."""
    return call.inputs[0] if call.get("to") == trace.elem_type(call.inputs[0]) else None


def clipped(trace: Trace, call: Call) -> Answer:
    """Limits that are left out, or that are the wrong way round."""
    x = call.inputs[0]
    limits = [trace.value(call.inputs[place]) if call.has(place) else None for place in (1, 2)]
    if not call.has(1) and not call.has(2):
        return x
    low, high = limits
    if low is not None and high is not None and float(low) <= float(high):
        return None
    if call.has(1):
        x = trace.op("Max", x, call.inputs[1])
    return trace.op("Min", x, call.inputs[2]) if call.has(2) else x


RULES: Final = {
    "Gemm": matrix_product,
    "Sum": variadic,
    "Mean": variadic,
    "Max": variadic,
    "Min": variadic,
    "DequantizeLinear": dequantized,
    "Tan": tangent,
    "Sinh": hyperbolic,
    "Cosh": hyperbolic,
    "Mod": modulo,
    "CumSum": summed_up,
    "Identity": passed_on,
    "Dropout": dropped_out,
    "Shape": shape_of,
    "Size": shape_of,
    "Cast": cast,
    "CastLike": same_type,
    "Clip": clipped,
}
