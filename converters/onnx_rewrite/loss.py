"""Losses with constant classes: what counts is picked out by its place."""

from typing import Final

import numpy as np

from converters.onnx_rewrite.movement import select
from converters.onnx_rewrite.trace import Answer, Array, Call, Trace


def negative_log_likelihood(trace: Trace, call: Call) -> Answer:
    """The weighted negative value of the wanted class at each place."""
    return _picked(trace, call, call.inputs[0])


def cross_entropy(trace: Trace, call: Call) -> Answer:
    """The same of the logarithm of the softmax over the classes, which is an output too."""
    shape = trace.shape(call.inputs[0])
    flat = trace.reshape(call.inputs[0], [shape[0], shape[1], int(np.prod(shape[2:]))])
    logarithm = trace.reshape(trace.op("LogSoftmax", flat, axis=1), shape)
    loss = _picked(trace, call, logarithm)
    return None if loss is None else [loss, logarithm]


def _picked(trace: Trace, call: Call, values: str) -> str | None:
    target = trace.value(call.inputs[1])
    weights = trace.value(call.inputs[2]) if call.has(2) else None
    if target is None or (call.has(2) and weights is None):
        return None
    shape = trace.shape(values)
    ignored = target == call.get("ignore_index", np.iinfo(np.int64).min)
    classes = np.where(ignored, 0, target)
    share = np.ones(classes.shape) if weights is None else weights.astype(np.float64)[classes]
    share = np.where(ignored, 0.0, share)
    places = np.arange(int(np.prod(shape))).reshape(shape)
    wanted = np.take_along_axis(places, np.expand_dims(classes, 1), 1).squeeze(1)
    reduction = call.get("reduction", b"mean")
    reduction = reduction.decode() if isinstance(reduction, bytes) else reduction
    return _reduced(trace, values, wanted, share, reduction)


def _reduced(trace: Trace, values: str, wanted: Array, share: Array, reduction: str) -> str:
    if reduction == "mean":
        share = share / share.sum()
    if reduction == "none":
        return trace.op("Mul", select(trace, [values], wanted + 1), (-share).astype(np.float32))
    flat = trace.reshape(select(trace, [values], wanted + 1), [1, wanted.size])
    product = trace.op("MatMul", flat, (-share).astype(np.float32).reshape(-1, 1))
    return trace.op("Reshape", product, np.zeros(0, np.int64))


RULES: Final = {"NegativeLogLikelihoodLoss": negative_log_likelihood, "SoftmaxCrossEntropyLoss": cross_entropy}
