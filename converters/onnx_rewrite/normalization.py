"""Normalisations, written out as means, products and square roots."""

import numpy as np

from converters.onnx_rewrite.trace import Answer, Call, Trace


def layer_normalization(trace: Trace, call: Call) -> Answer:
    """Over the axes from ``axis`` on; mean and inverse deviation are outputs too."""
    x = call.inputs[0]
    rank = trace.rank(x)
    axes = list(range(call.get("axis", -1) % rank, rank))
    mean = trace.reduce("ReduceMean", x, axes)
    moved = trace.op("Sub", x, mean)
    inverse = _inverse_deviation(trace, moved, axes, call.get("epsilon", 1e-5))
    result = trace.op("Mul", trace.op("Mul", moved, inverse), call.inputs[1])
    if call.has(2):
        result = trace.op("Add", result, call.inputs[2])
    return [result, mean, inverse]


def rms_normalization(trace: Trace, call: Call) -> Answer:
    """As the layer's, without the mean."""
    x = call.inputs[0]
    rank = trace.rank(x)
    axes = list(range(call.get("axis", -1) % rank, rank))
    inverse = _inverse_deviation(trace, x, axes, call.get("epsilon", 1e-5))
    return trace.op("Mul", trace.op("Mul", x, inverse), call.inputs[1])


def group_normalization(trace: Trace, call: Call) -> Answer:
    """Over the channels of a group and all positions; scale and bias per channel (per group before version 21)."""
    x, scale, bias = call.inputs
    shape, groups = trace.shape(x), call.get("num_groups")
    flat = trace.reshape(x, [shape[0], groups, int(np.prod(shape[1:])) // groups])
    normal = trace.reshape(_normalized(trace, flat, [2], call.get("epsilon", 1e-5)), shape)
    if trace.shape(scale) == (groups,) and groups != shape[1]:
        repeats = np.repeat(np.arange(groups), shape[1] // groups)
        scale, bias = trace.gather(scale, repeats, 0), trace.gather(bias, repeats, 0)
    return _scaled(trace, normal, scale, bias)


def instance_normalization(trace: Trace, call: Call) -> Answer:
    """Over all positions of each channel."""
    x, scale, bias = call.inputs
    normal = _normalized(trace, x, list(range(2, trace.rank(x))), call.get("epsilon", 1e-5))
    return _scaled(trace, normal, scale, bias)


def mean_variance_normalization(trace: Trace, call: Call) -> Answer:
    """(x - mean) / (deviation + 1e-9)."""
    x, axes = call.inputs[0], [int(axis) for axis in call.get("axes", [0, 2, 3])]
    moved = trace.op("Sub", x, trace.reduce("ReduceMean", x, axes))
    deviation = trace.op("Sqrt", trace.reduce("ReduceMean", trace.op("Mul", moved, moved), axes))
    return trace.op("Div", moved, trace.op("Add", deviation, np.float32(1e-9)))


def lp_normalization(trace: Trace, call: Call) -> Answer:
    """X / its norm along an axis; 0 where the norm is 0."""
    x = call.inputs[0]
    axis = [call.get("axis", -1) % trace.rank(x)]
    norm = trace.reduce("ReduceL1" if call.get("p", 2) == 1 else "ReduceL2", x, axis)
    empty = trace.op("Cast", trace.op("Equal", norm, np.float32(0.0)), to=1)
    return trace.op("Div", x, trace.op("Add", norm, empty))


def local_response(trace: Trace, call: Call) -> Answer:
    """X / (bias + alpha / size * the sum of squares of the neighbouring channels) ^ beta."""
    x, size = call.inputs[0], call.get("size")
    shape = trace.shape(x)
    before, after = (size - 1) // 2, size // 2
    places = np.arange(shape[1])
    near = ((places[None] >= places[:, None] - before) & (places[None] <= places[:, None] + after)).astype(np.float32)
    squares = trace.reshape(trace.op("Mul", x, x), [shape[0], shape[1], int(np.prod(shape[2:]))])
    last = trace.op("Transpose", squares, perm=[0, 2, 1])
    sums = trace.op("MatMul", last, near.T * np.float32(call.get("alpha", 1e-4) / size))
    sums = trace.reshape(trace.op("Transpose", sums, perm=[0, 2, 1]), shape)
    base = trace.op("Add", sums, np.float32(call.get("bias", 1.0)))
    # A power of a positive number, without an operator POW that needs the exponent as a tensor.
    power = trace.op("Exp", trace.op("Mul", trace.op("Log", base), np.float32(-call.get("beta", 0.75))))
    return trace.op("Mul", x, power)


def batch_normalization(trace: Trace, call: Call) -> Answer:
    """One product and one sum per channel, where all is constant; of pictures it is left for fusing into the CONV."""
    x = call.inputs[0]
    shape = trace.shape(x)
    values = [trace.value(name) for name in call.inputs[1:5]]
    if len(shape) == 4 or call.get("training_mode", 0) or any(value is None for value in values):
        return None
    scale, bias, mean, variance = (np.asarray(value, np.float64) for value in values)
    factor = scale / np.sqrt(variance + call.get("epsilon", 1e-5))
    sides = [1, len(factor), *[1] * (len(shape) - 2)]
    product = trace.op("Mul", x, factor.astype(np.float32).reshape(sides))
    return trace.op("Add", product, (bias - mean * factor).astype(np.float32).reshape(sides))


def _inverse_deviation(trace: Trace, moved: str, axes: list[int], epsilon: float) -> str:
    variance = trace.reduce("ReduceMean", trace.op("Mul", moved, moved), axes)
    deviation = trace.op("Sqrt", trace.op("Add", variance, np.float32(epsilon)))
    return trace.op("Div", np.float32(1.0), deviation)


def _normalized(trace: Trace, x: str, axes: list[int], epsilon: float) -> str:
    moved = trace.op("Sub", x, trace.reduce("ReduceMean", x, axes))
    return trace.op("Mul", moved, _inverse_deviation(trace, moved, axes, epsilon))


def _scaled(trace: Trace, normal: str, scale: str, bias: str) -> str:
    sides = [1, trace.shape(scale)[0], *[1] * (trace.rank(normal) - 2)]
    product = trace.op("Mul", normal, trace.reshape(scale, sides))
    return trace.op("Add", product, trace.reshape(bias, sides))


RULES = {
    "LayerNormalization": layer_normalization,
    "RMSNormalization": rms_normalization,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "LpNormalization": lp_normalization,
    "LRN": local_response,
    "BatchNormalization": batch_normalization,
}
