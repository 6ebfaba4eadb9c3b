"""The published conditions under which an operator maps to an Edge TPU, each with a network that breaks it."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from analysis_models import ModelBuilder, schema

from edge_runtime.analysis.edgetpu import map_operators

Made = tuple[Sequence[int], Sequence[int]]


def numbers(model: ModelBuilder, *values: int) -> int:
    index = model.tensor([len(values)], "int32", constant=True)
    model.model.buffers[-1].data = np.array(values, np.int32).view(np.uint8)
    return index


def options(kind: str, **values: object) -> object:
    made = getattr(schema, f"{kind}OptionsT")()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def pool(model: ModelBuilder, activation: int) -> Made:
    fed = model.tensor([1, 8, 8, 4])
    settings = options(
        "Pool2D", strideH=2, strideW=2, filterHeight=2, filterWidth=2, fusedActivationFunction=activation
    )
    return [fed], [model.op("MAX_POOL_2D", [fed], [1, 4, 4, 4], settings)]


def dense(model: ModelBuilder, *, rows: int = 1, scales: int = 1) -> Made:
    fed, weights = model.tensor([rows, 16]), model.weights([4, 16])
    model.graph.tensors[weights].quantization.scale = [0.5] * scales
    model.graph.tensors[weights].quantization.zeroPoint = [0] * scales
    return [fed], [model.op("FULLY_CONNECTED", [fed, weights], [rows, 4], options("FullyConnected"))]


def conv(model: ModelBuilder, dilation: int, other: int) -> Made:
    fed = model.tensor([1, 8, 8, 4])
    inputs = [fed, model.weights([4, 3, 3, 4]), model.weights([4], "int32")]
    settings = options("Conv2D", strideH=1, strideW=1, dilationHFactor=dilation, dilationWFactor=other)
    return [fed], [model.op("CONV_2D", inputs, [1, 8, 8, 4], settings)]


def mean(model: ModelBuilder, axes: tuple[int, ...], channels: int) -> Made:
    fed = model.tensor([1, 8, 8, channels])
    return [fed], [model.op("MEAN", [fed, numbers(model, *axes)], [1, 8, 8], options("Reducer"))]


def slice_by(model: ModelBuilder, step: int, ellipsis: int = 0) -> Made:
    fed = model.tensor([1, 8, 8, 4])
    inputs = [fed, numbers(model, 0, 0, 0, 0), numbers(model, 1, 8, 8, 4), numbers(model, 1, step, 1, 1)]
    settings = options("StridedSlice", ellipsisMask=ellipsis)
    return [fed], [model.op("STRIDED_SLICE", inputs, [1, 8 // step, 8, 4], settings)]


def join(model: ModelBuilder, value: int, activation: int = 0) -> Made:
    fed, constant = model.tensor([1, 8, 8, 4]), model.weights([1, 8, 8, 4])
    model.model.buffers[-1].data = np.full(256, value, np.uint8)
    settings = options("Concatenation", axis=3, fusedActivationFunction=activation)
    return [fed], [model.op("CONCATENATION", [fed, constant], [1, 8, 8, 8], settings)]


def pad(model: ModelBuilder, batch: int) -> Made:
    fed, margins = model.tensor([1, 8, 8, 4]), numbers(model, batch, 0, 1, 1, 1, 1, 0, 0)
    return [fed], [model.op("PAD", [fed, margins], [1 + batch, 10, 10, 4], options("Pad"))]


def softmax(model: ModelBuilder, *shape: int) -> Made:
    fed = model.tensor(shape)
    return [fed], [model.op("SOFTMAX", [fed], shape, options("Softmax"))]


def prelu(model: ModelBuilder, *slopes: int) -> Made:
    fed = model.tensor([1, 8, 8, 4])
    return [fed], [model.op("PRELU", [fed, model.weights(slopes)], [1, 8, 8, 4])]


def squeeze(model: ModelBuilder, *shape: int) -> Made:
    fed = model.tensor(shape)
    return [fed], [model.op("SQUEEZE", [fed], [side for side in shape if side > 1], options("Squeeze"))]


def pack(model: ModelBuilder, axis: int) -> Made:
    fed = model.tensor([1, 8, 4])
    out = [2, 1, 8, 4] if axis == 0 else [1, 2, 8, 4]
    return [fed], [model.op("PACK", [fed, fed], out, options("Pack", axis=axis, valuesCount=2))]


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda model: pool(model, 0), None),
        (lambda model: pool(model, 1), "MAX_POOL_2D has a fused relu"),
        (dense, None),
        (lambda model: dense(model, rows=3), "FULLY_CONNECTED gives [3, 4]; only one row"),
        (lambda model: dense(model, scales=4), "FULLY_CONNECTED has a scale for each row"),
        (lambda model: conv(model, 2, 2), None),
        (lambda model: conv(model, 1, 2), "CONV_2D has a dilation of 1 by 2"),
        (lambda model: mean(model, (1, 2), 5), None),
        (lambda model: mean(model, (3,), 8), None),
        (lambda model: mean(model, (-1,), 5), "MEAN averages 5 channels"),
        (lambda model: slice_by(model, 1), None),
        (lambda model: slice_by(model, 2), "STRIDED_SLICE takes every second value"),
        (lambda model: slice_by(model, 1, ellipsis=1), "STRIDED_SLICE has an ellipsis"),
        (lambda model: join(model, 0), None),
        (lambda model: join(model, 1), "CONCATENATION joins a constant"),
        (lambda model: join(model, 0, activation=1), "CONCATENATION has a fused relu"),
        (lambda model: pad(model, 0), None),
        (lambda model: pad(model, 1), "PAD has a batch of 2"),
        (lambda model: softmax(model, 1, 1000), None),
        (lambda model: softmax(model, 1, 16_001), "SOFTMAX is over 16001 values"),
        (lambda model: softmax(model, 4, 10), "SOFTMAX gives [4, 10]"),
        (lambda model: prelu(model, 1, 1, 4), None),
        (lambda model: prelu(model, 8, 8, 4), "PRELU has slopes of shape [8, 8, 4]"),
        (lambda model: squeeze(model, 1, 1, 5, 10), None),
        (lambda model: squeeze(model, 1, 5, 1, 10), "SQUEEZE takes [1, 5, 1, 10]"),
        (lambda model: pack(model, 1), None),
        (lambda model: pack(model, 0), "PACK has a batch of 2"),
        (lambda model: softmax(model, 2, 3, 4, 5, 6), "SOFTMAX has a batch of 2"),
        (lambda model: softmax(model, 1, 3, 4, 5, 6), "only the innermost three sizes"),
    ],
)
def test_what_breaks_a_rule_is_named(build: Callable[[ModelBuilder], Made], reason: str | None) -> None:
    model = ModelBuilder()
    found = map_operators(model.build(*build(model)))
    if reason is None:
        assert (found.reason, found.mapped) == (None, (True,))
    else:
        assert reason in (found.reason or "")


def test_a_float_network_is_judged_by_what_quantising_will_not_change() -> None:
    model = ModelBuilder("float32")
    fed = model.tensor([1, 8, 8, 4])
    kept = model.conv(fed, 8)
    graph = model.build([fed], [model.op("SIN", [kept], [1, 8, 8, 8])])
    found = map_operators(graph, quantized=False)
    assert found.mapped == (True, False)
    assert found.obstacles == (None, "SIN is not supported")
