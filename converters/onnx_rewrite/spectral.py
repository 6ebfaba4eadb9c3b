"""Fourier transforms as products with constant matrices."""

from typing import Final

import numpy as np

from converters.onnx_rewrite.trace import Answer, Array, Call, Trace

_LARGEST: Final = 1 << 24


def fourier(trace: Trace, call: Call) -> Answer:
    """DFT along an axis: the matrix of the real and imaginary parts."""
    x = call.inputs[0]
    shape = trace.shape(x)
    axis = _axis(trace, call, len(shape))
    length = _scalar(trace, call, 1)
    if axis is None or (call.has(1) and length is None):
        return None
    count = shape[axis] if length is None else length
    matrix = _matrix(shape[axis], count, parts=shape[-1], inverse=bool(call.get("inverse", 0)))
    if call.get("onesided", 0):
        matrix = matrix[:, :, : count // 2 + 1]
    if matrix.size > _LARGEST:
        return None
    return _applied(trace, x, axis, matrix)


def _axis(trace: Trace, call: Call, rank: int) -> int | None:
    if call.version < 20:
        return int(call.get("axis", 1)) % rank
    if not call.has(2):
        return rank - 2
    value = trace.value(call.inputs[2])
    return None if value is None else int(value.reshape(-1)[0]) % rank


def _scalar(trace: Trace, call: Call, place: int) -> int | None:
    value = trace.value(call.inputs[place]) if call.has(place) else None
    return None if value is None else int(value.reshape(-1)[0])


def _matrix(old: int, count: int, *, parts: int, inverse: bool) -> Array:
    """Return the matrix (old, parts, count, 2) from real and imaginary parts to those of the transform."""
    angle = 2.0 * np.pi / count * np.outer(np.arange(old), np.arange(count)) * (1.0 if inverse else -1.0)
    cosine, sine = np.cos(angle), np.sin(angle)
    if old > count:
        cosine[count:], sine[count:] = 0.0, 0.0  # what is beyond the length is cut off
    matrix = np.zeros((old, parts, count, 2))
    matrix[:, 0, :, 0], matrix[:, 0, :, 1] = cosine, sine
    if parts == 2:
        matrix[:, 1, :, 0], matrix[:, 1, :, 1] = -sine, cosine
    return matrix / count if inverse else matrix


def _applied(trace: Trace, x: str, axis: int, matrix: Array) -> str:
    shape = trace.shape(x)
    rank = len(shape)
    order = [place for place in range(rank - 1) if place != axis] + [axis, rank - 1]
    turned = x if order == list(range(rank)) else trace.op("Transpose", x, perm=order)
    rest = [shape[place] for place in order[:-2]]
    old, parts, new, two = matrix.shape
    flat = trace.reshape(turned, [int(np.prod(rest)), old * parts])
    product = trace.op("MatMul", flat, matrix.reshape(old * parts, new * two).astype(np.float32))
    result = trace.reshape(product, [*rest, new, two])
    if order == list(range(rank)):
        return result
    return trace.op("Transpose", result, perm=[int(place) for place in np.argsort(order)])


def short_time_fourier(trace: Trace, call: Call) -> Answer:
    """STFT: frames cut by a GATHER, then one product that holds the window and the transform."""
    signal = call.inputs[0]
    shape = trace.shape(signal)
    parts = shape[2] if len(shape) == 3 else 1
    step, window = _scalar(trace, call, 1), trace.value(call.inputs[2]) if call.has(2) else None
    length = _scalar(trace, call, 3)
    if step is None or (call.has(2) and window is None):
        return None
    size = length if length is not None else len(window) if window is not None else 0
    if not size:
        return None
    frames = (shape[1] - size) // step + 1
    places = (np.arange(frames)[:, None] * step + np.arange(size)).reshape(-1)
    matrix = _matrix(size, size, parts=parts, inverse=False)
    if window is not None:
        matrix = matrix * window.astype(np.float64).reshape(-1, 1, 1, 1)
    if call.get("onesided", 1):
        matrix = matrix[:, :, : size // 2 + 1]
    cut = trace.gather(trace.reshape(signal, [shape[0], shape[1], parts]), places, 1)
    flat = trace.reshape(cut, [shape[0] * frames, size * parts])
    product = trace.op("MatMul", flat, matrix.reshape(size * parts, -1).astype(np.float32))
    return trace.reshape(product, [shape[0], frames, matrix.shape[2], 2])


RULES = {"DFT": fourier, "STFT": short_time_fourier}
