"""Activations that the converter takes at their default parameters only, or not at all."""

import math

import numpy as np

from converters.onnx_rewrite.trace import FLOAT, Answer, Call, Trace


def elu(trace: Trace, call: Call) -> Answer:
    """max(x, 0) + alpha * (exp(min(x, 0)) - 1)."""
    return _exponential(trace, call.inputs[0], alpha=call.get("alpha", 1.0))


def celu(trace: Trace, call: Call) -> Answer:
    """Continuously differentiable Elu: the exponent is divided by alpha."""
    alpha = call.get("alpha", 1.0)
    return _exponential(trace, call.inputs[0], alpha=alpha, width=alpha)


def selu(trace: Trace, call: Call) -> Answer:
    """Gamma * Elu(x, alpha)."""
    alpha, gamma = call.get("alpha", 1.67326319217681884765625), call.get("gamma", 1.05070102214813232421875)
    return trace.op("Mul", _exponential(trace, call.inputs[0], alpha=alpha), np.float32(gamma))


def _exponential(trace: Trace, x: str, *, alpha: float, width: float = 1.0) -> str:
    below = trace.op("Neg", trace.op("Relu", trace.op("Neg", x)))
    if width != 1.0:
        below = trace.op("Mul", below, np.float32(1.0 / width))
    grown = trace.op("Mul", trace.op("Sub", trace.op("Exp", below), np.float32(1.0)), np.float32(alpha))
    return trace.op("Add", trace.op("Relu", x), grown)


def thresholded_relu(trace: Trace, call: Call) -> Answer:
    """X where it is above alpha, else 0."""
    x = call.inputs[0]
    above = trace.op("Greater", x, np.float32(call.get("alpha", 1.0)))
    return trace.op("Where", above, x, np.float32(0.0))


def shrink(trace: Trace, call: Call) -> Answer:
    """X + bias below -lambd, x - bias above lambd, else 0."""
    x, bias, limit = call.inputs[0], call.get("bias", 0.0), call.get("lambd", 0.5)
    low, high = trace.op("Less", x, np.float32(-limit)), trace.op("Greater", x, np.float32(limit))
    rest = trace.op("Where", high, trace.op("Sub", x, np.float32(bias)), np.float32(0.0))
    return trace.op("Where", low, trace.op("Add", x, np.float32(bias)), rest)


def hard_sigmoid(trace: Trace, call: Call) -> Answer:
    """max(0, min(1, alpha * x + beta))."""
    line = trace.op("Mul", call.inputs[0], np.float32(call.get("alpha", 0.2)))
    line = trace.op("Add", line, np.float32(call.get("beta", 0.5)))
    return trace.op("Clip", line, np.float32(0.0), np.float32(1.0))


def hard_swish(trace: Trace, call: Call) -> Answer:
    """X * max(0, min(1, x / 6 + 0.5))."""
    x = call.inputs[0]
    line = trace.op("Add", trace.op("Mul", x, np.float32(1.0 / 6.0)), np.float32(0.5))
    return trace.op("Mul", x, trace.op("Clip", line, np.float32(0.0), np.float32(1.0)))


def softplus(trace: Trace, call: Call) -> Answer:
    """max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    x = call.inputs[0]
    tail = trace.op("Exp", trace.op("Neg", trace.op("Abs", x)))
    return trace.op("Add", trace.op("Relu", x), trace.op("Log", trace.op("Add", tail, np.float32(1.0))))


def softsign(trace: Trace, call: Call) -> Answer:
    """X / (1 + |x|)."""
    x = call.inputs[0]
    return trace.op("Div", x, trace.op("Add", trace.op("Abs", x), np.float32(1.0)))


def mish(trace: Trace, call: Call) -> Answer:
    """X * tanh(softplus(x))."""
    return trace.op("Mul", call.inputs[0], trace.op("Tanh", trace.op("Softplus", call.inputs[0])))


def swish(trace: Trace, call: Call) -> Answer:
    """X * sigmoid(alpha * x)."""
    x, alpha = call.inputs[0], call.get("alpha", 1.0)
    inner = x if alpha == 1.0 else trace.op("Mul", x, np.float32(alpha))
    return trace.op("Mul", x, trace.op("Sigmoid", inner))


def gelu(trace: Trace, call: Call) -> Answer:
    """x/2 * (1 + erf(x / sqrt 2)), or its approximation by tanh where that is asked for."""
    x = call.inputs[0]
    if _text(call.get("approximate", "none")) == "tanh":
        cubed = trace.op("Mul", trace.op("Mul", trace.op("Mul", x, x), x), np.float32(0.044715))
        inner = trace.op("Mul", trace.op("Add", x, cubed), np.float32(math.sqrt(2.0 / math.pi)))
        share = trace.op("Add", trace.op("Tanh", inner), np.float32(1.0))
    else:
        inner = trace.op("Mul", x, np.float32(math.sqrt(0.5)))
        share = trace.op("Add", trace.op("Erf", inner), np.float32(1.0))
    return trace.op("Mul", trace.op("Mul", x, np.float32(0.5)), share)


def prelu(trace: Trace, call: Call) -> Answer:
    """max(x, 0) + slope * min(x, 0), for slopes that are no constant vector of the channels."""
    x, slope = call.inputs[:2]
    shape, sides = trace.shape(x), trace.shape(slope)
    per_channel = len(sides) == len(shape) - 1 and sides[:1] == shape[1:2] and all(side == 1 for side in sides[1:])
    if trace.value(slope) is not None and per_channel and len(shape) == 4:
        return None
    below = trace.op("Neg", trace.op("Relu", trace.op("Neg", x)))
    return trace.op("Add", trace.op("Relu", x), trace.op("Mul", below, slope))


def hardmax(trace: Trace, call: Call) -> Answer:
    """1 at the first largest value along an axis, 0 elsewhere."""
    x = call.inputs[0]
    shape = trace.shape(x)
    axis = call.get("axis", -1) % len(shape)
    best = trace.op("ArgMax", x, axis=axis, keepdims=1)
    sides = [1] * len(shape)
    sides[axis] = shape[axis]
    places = np.arange(shape[axis], dtype=np.int64).reshape(sides)
    return trace.op("Cast", trace.op("Equal", best, places), to=FLOAT)


def softmax(trace: Trace, call: Call) -> Answer:
    """Along the last axis, where the converter's own is along."""
    return _along_last(trace, call)


def _along_last(trace: Trace, call: Call) -> Answer:
    x = call.inputs[0]
    rank = trace.rank(x)
    axis = call.get("axis", -1) % max(rank, 1)
    if axis == rank - 1:
        return None
    order = [place for place in range(rank) if place != axis] + [axis]
    turned = trace.op(call.op, trace.op("Transpose", x, perm=order), axis=rank - 1)
    return trace.op("Transpose", turned, perm=[int(place) for place in np.argsort(order)])


def log_softmax(trace: Trace, call: Call) -> Answer:
    """X - max - log(sum(exp(x - max))), which keeps its precision."""
    x = call.inputs[0]
    axis = [call.get("axis", -1) % max(trace.rank(x), 1)]
    moved = trace.op("Sub", x, trace.reduce("ReduceMax", x, axis))
    return trace.op("Sub", moved, trace.op("Log", trace.reduce("ReduceSum", trace.op("Exp", moved), axis)))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


RULES = {
    "Elu": elu,
    "Celu": celu,
    "Selu": selu,
    "ThresholdedRelu": thresholded_relu,
    "Shrink": shrink,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "Softplus": softplus,
    "Softsign": softsign,
    "Mish": mish,
    "Swish": swish,
    "Gelu": gelu,
    "PRelu": prelu,
    "Hardmax": hardmax,
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
}
