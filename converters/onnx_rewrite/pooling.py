"""Pooling beyond the plain: any number of axes, dilated, asymmetrically padded, rounded up; each place one slice."""

import itertools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from converters.onnx_rewrite.trace import Answer, Call, Trace

_MOST_PLACES: Final = 512
_LOWEST: Final = np.float32(-3.4028235e38)


@dataclass(frozen=True, slots=True)
class Window:
    """A pooling window over the axes behind batch and channels."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    """Padding that the attributes say."""
    more: tuple[int, ...]
    """Padding that rounding up adds."""
    out: tuple[int, ...]


def window_of(call: Call, sizes: tuple[int, ...]) -> Window:
    """Return the window of a pooling operator for inputs of these sizes."""
    kernel = tuple(call.get("kernel_shape"))
    count = len(kernel)
    strides = tuple(call.get("strides", [1] * count))
    dilations = tuple(call.get("dilations", [1] * count))
    pads = list(call.get("pads", [0] * 2 * count))
    mode = _text(call.get("auto_pad", "NOTSET"))
    before, after, more, out = [], [], [], []
    for axis, size in enumerate(sizes):
        reach = dilations[axis] * (kernel[axis] - 1) + 1
        start, end = pads[axis], pads[axis + count]
        if mode in {"SAME_UPPER", "SAME_LOWER"}:
            length = -(-size // strides[axis])
            total = max((length - 1) * strides[axis] + reach - size, 0)
            start = total // 2 if mode == "SAME_UPPER" else total - total // 2
            end = total - start
        elif mode == "VALID":
            start = end = 0
        room = size + start + end - reach
        length = room // strides[axis] + 1
        if call.get("ceil_mode", 0) and mode in {"NOTSET", ""}:
            length = -(-room // strides[axis]) + 1
            if (length - 1) * strides[axis] >= size + start:
                length -= 1  # the last window would begin in the padding
        extra = max((length - 1) * strides[axis] + reach - (size + start + end), 0)
        before.append(start)
        after.append(end)
        more.append(extra)
        out.append(length)
    return Window(kernel, strides, dilations, tuple(before), tuple(after), tuple(more), tuple(out))


def pool(trace: Trace, call: Call) -> Answer:
    """Say a pooling as the extreme or the mean of one slice per place of the window."""
    x = call.inputs[0]
    shape = trace.shape(x)
    if call.wants(1) or not trace.is_float(x):
        return None
    view = window_of(call, shape[2:])
    if _is_plain(view, call) or int(np.prod(view.kernel)) > _MOST_PLACES:
        return None
    if call.op == "MaxPool":
        return _combined(trace, "Max", _slices(trace, x, view, fill=_LOWEST))
    if call.op == "LpPool":
        return _lp(trace, x, view, call.get("p", 2))
    total = _combined(trace, "Add", _slices(trace, x, view, fill=np.float32(0.0)))
    counts = _counts(view, shape[2:], padding=bool(call.get("count_include_pad", 0)))
    return trace.op("Mul", total, (1.0 / counts).astype(np.float32)[None, None])


def _is_plain(view: Window, call: Call) -> bool:
    """Whether the converter takes it as it is: 2-D, no dilation, and padding that changes no mean."""
    if call.op == "LpPool" or len(view.kernel) != 2 or set(view.dilations) != {1} or any(view.more):
        return False
    if call.op == "AveragePool" and any(view.before + view.after):
        return False
    return not any(view.before + view.after) or view.before == view.after


def _slices(trace: Trace, x: str, view: Window, *, fill: Any) -> list[str]:
    """Return, for each place of the window, what all windows see there: arrays of the output's shape."""
    padded = _padded(trace, x, view, fill)
    parts = []
    for place in itertools.product(*(range(size) for size in view.kernel)):
        starts = [step * where for step, where in zip(view.dilations, place, strict=True)]
        ends = [
            start + (length - 1) * stride + 1
            for start, length, stride in zip(starts, view.out, view.strides, strict=True)
        ]
        axes = list(range(2, 2 + len(starts)))
        parts.append(trace.op("Slice", padded, starts, ends, axes, list(view.strides)))
    return parts


def _padded(trace: Trace, x: str, view: Window, fill: Any) -> str:
    result = x
    for axis, (before, end, more) in enumerate(zip(view.before, view.after, view.more, strict=True), 2):
        shape = list(trace.shape(result))
        parts = [result]
        for size, first in ((before, True), (end + more, False)):
            if size:
                shape[axis] = size
                edge = trace.constant(np.full(shape, fill, np.float32))
                parts = [edge, *parts] if first else [*parts, edge]
        result = trace.concat(parts, axis)
    return result


def _combined(trace: Trace, kind: str, parts: list[str]) -> str:
    result = parts[0]
    for part in parts[1:]:
        result = trace.op(kind, result, part)
    return result


def _counts(view: Window, sizes: tuple[int, ...], *, padding: bool) -> np.ndarray:
    """Return how many values each window averages over."""
    counts = np.ones((), np.float64)
    for axis, size in enumerate(sizes):
        starts = np.arange(view.out[axis]) * view.strides[axis] - view.before[axis]
        places = starts[:, None] + np.arange(view.kernel[axis]) * view.dilations[axis]
        low, high = (-view.before[axis], size + view.after[axis]) if padding else (0, size)
        counts = counts[..., None] * np.sum((places >= low) & (places < high), axis=1)
    return np.maximum(counts, 1.0)


def _lp(trace: Trace, x: str, view: Window, power: int) -> str:
    def raised(value: str) -> str:
        result = trace.op("Abs", value)
        base = result
        for _ in range(power - 1):
            result = trace.op("Mul", result, base)
        return result

    total = _combined(trace, "Add", _slices(trace, raised(x), view, fill=np.float32(0.0)))
    if power == 1:
        return total
    return trace.op("Sqrt", total) if power == 2 else trace.op("Pow", total, np.float32(1.0 / power))


def global_pool(trace: Trace, call: Call) -> Answer:
    """Over all positions, where there are not two axes of them."""
    x = call.inputs[0]
    rank = trace.rank(x)
    axes = list(range(2, rank))
    if call.op == "GlobalLpPool":
        power = call.get("p", 2)
        if power in {1, 2}:
            return trace.reduce(f"ReduceL{power}", x, axes)
        powered = trace.op("Pow", trace.op("Abs", x), np.float32(power))
        return trace.op("Pow", trace.reduce("ReduceSum", powered, axes), np.float32(1.0 / power))
    if rank == 4:
        return None
    return trace.reduce("ReduceMean" if call.op == "GlobalAveragePool" else "ReduceMax", x, axes)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


RULES = {
    "AveragePool": pool,
    "MaxPool": pool,
    "LpPool": pool,
    "GlobalAveragePool": global_pool,
    "GlobalMaxPool": global_pool,
    "GlobalLpPool": global_pool,
}
