"""Resize: along each axis a constant matrix, or a GATHER for the nearest neighbour, found by ONNX's own operator."""

from typing import Any, Final

import numpy as np
from onnx import helper

from converters.onnx_rewrite import evaluate
from converters.onnx_rewrite.trace import Answer, Array, Call, Trace

_CORNERS: Final = "align_corners"
_PLAIN: Final = {
    ("linear", "half_pixel"),
    ("linear", "pytorch_half_pixel"),
    ("linear", _CORNERS),
    ("linear", "asymmetric"),
    ("nearest", "asymmetric"),
}
"""What the converter gets right, at sizes that both sides agree on."""


def resize(trace: Trace, call: Call) -> Answer:
    """Say a Resize with constant sizes axis by axis; a plain one of pictures is left to the converter."""
    data = call.inputs[0]
    shape = trace.shape(data)
    out = _sizes(trace, call, shape)
    if out is None or not trace.is_float(data):
        return None
    scales, sizes = out
    if _is_plain(call, shape, sizes):
        return None
    mode = _text(call.get("mode", "nearest"))
    outside: Array | None = None
    crop = _text(call.get("coordinate_transformation_mode", "half_pixel")) == "tf_crop_and_resize"
    result = data
    for axis, (old, new) in enumerate(zip(shape, sizes, strict=True)):
        roi = _roi(trace, call, axis, len(shape)) if crop else None
        if old == new and scales[axis] == 1.0 and roi in (None, (0.0, 1.0)):
            continue
        matrix = _matrix(trace, call, old, new, float(scales[axis]), roi)
        if matrix is None:
            return None
        inside = _inside(old, new, roi) if roi is not None else np.ones(new, bool)
        if not inside.all():
            sides = [1] * len(shape)
            sides[axis] = new
            mask = inside.reshape(sides)
            outside = mask if outside is None else outside & mask
        result = _along(trace, result, axis, matrix, nearest=mode == "nearest")
    return _with_outside(trace, call, result, outside)


def _with_outside(trace: Trace, call: Call, result: str, inside: Array | None) -> str:
    if inside is None:
        return result
    full = np.broadcast_to(inside, trace.shape(result))
    kept = trace.op("Mul", result, full.astype(np.float32))
    value = np.float32(call.get("extrapolation_value", 0.0))
    return trace.op("Add", kept, np.where(full, np.float32(0.0), value)) if value else kept


def _sizes(trace: Trace, call: Call, shape: tuple[int, ...]) -> tuple[list[float], list[int]] | None:
    """Return scale and new size of every axis."""
    axes = [int(axis) % len(shape) for axis in call.get("axes", range(len(shape)))]
    scales, sizes = [1.0] * len(shape), list(shape)
    by_scale = trace.value(call.inputs[2]) if call.has(2) else None
    by_size = trace.value(call.inputs[3]) if call.has(3) else None
    if by_size is not None and by_size.size:
        wanted = [int(size) for size in by_size]
        policy = _text(call.get("keep_aspect_ratio_policy", "stretch"))
        if policy != "stretch":
            ratios = [size / shape[axis] for size, axis in zip(wanted, axes, strict=True)]
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            wanted = [int(np.floor(shape[axis] * ratio + 0.5)) for axis in axes]
            for axis, size in zip(axes, wanted, strict=True):
                scales[axis], sizes[axis] = ratio, size
            return scales, sizes
        for axis, size in zip(axes, wanted, strict=True):
            scales[axis], sizes[axis] = size / shape[axis], size
        return scales, sizes
    if by_scale is not None and by_scale.size:
        for axis, scale in zip(axes, by_scale, strict=True):
            scales[axis], sizes[axis] = float(scale), int(np.floor(shape[axis] * float(scale)))
        return scales, sizes
    return None


def _is_plain(call: Call, shape: tuple[int, ...], sizes: list[int]) -> bool:
    if len(shape) != 4 or shape[:2] != tuple(sizes[:2]) or call.get("antialias", 0) or call.get("axes") is not None:
        return False
    how = (_text(call.get("mode", "nearest")), _text(call.get("coordinate_transformation_mode", "half_pixel")))
    grown = all(new % old == 0 and new >= old for old, new in zip(shape[2:], sizes[2:], strict=True))
    if min(*shape[2:], *sizes[2:]) < 2 or how not in _PLAIN or not grown:
        return False
    return how[0] != "nearest" or _text(call.get("nearest_mode", "round_prefer_floor")) in {
        "floor",
        "round_prefer_floor",
    }


def _roi(trace: Trace, call: Call, axis: int, rank: int) -> tuple[float, float]:
    axes = [int(place) % rank for place in call.get("axes", range(rank))]
    roi = trace.value(call.inputs[1]) if call.has(1) else None
    if roi is None or axis not in axes:
        return 0.0, 1.0
    place = axes.index(axis)
    return float(roi[place]), float(roi[place + len(axes)])


def _inside(old: int, new: int, roi: tuple[float, float]) -> Any:
    start, end = roi
    places = np.arange(new)
    at = (
        start * (old - 1) + places * (end - start) * (old - 1) / (new - 1)
        if new > 1
        else np.full(1, 0.5 * (start + end) * (old - 1))
    )
    return (at >= 0) & (at <= old - 1)


def _matrix(
    trace: Trace, call: Call, old: int, new: int, scale: float, roi: tuple[float, float] | None
) -> Array | None:
    """Return the (old, new) matrix of one axis: the operator on the unit vectors."""
    attributes = {
        name: value for name, value in call.attributes.items() if name not in {"axes", "keep_aspect_ratio_policy"}
    }
    attributes["extrapolation_value"] = 0.0
    limits = np.asarray([0.0, roi[0], 1.0, roi[1]] if roi else [], np.float32)
    names = ["data", "roi" if roi else "", "scales" if new == int(np.floor(old * scale)) else "", ""]
    given: dict[str, Array] = {"data": np.eye(old, dtype=np.float32)}
    if roi:
        given["roi"] = limits
    if names[2]:
        given["scales"] = np.asarray([1.0, scale], np.float32)
    else:
        names[3] = "sizes"
        given["sizes"] = np.asarray([old, new], np.int64)
    node = helper.make_node(call.op, names, ["y"], **attributes)
    if names[2] and old * scale != new and _text(attributes.get("coordinate_transformation_mode", "")) == _CORNERS:
        # ONNX's evaluator puts the last corner at old * scale, onnxruntime (and the specification) at the whole size.
        del given["scales"]
        given["sizes"] = np.asarray([old, new], np.int64)
        node.input[2:] = ["", "sizes"]
    found = evaluate.by_evaluator(node, given, trace.version, list(trace.opsets))
    return found if found is not None and found.shape == (old, new) else None


def _along(trace: Trace, value: str, axis: int, matrix: Array, *, nearest: bool) -> str:
    if nearest and (np.sort(matrix, axis=0)[:-1] == 0).all() and (matrix.max(axis=0) == 1).all():
        return trace.gather(value, matrix.argmax(axis=0), axis)
    rank = trace.rank(value)
    order = [place for place in range(rank) if place != axis] + [axis]
    last = value if order == list(range(rank)) else trace.op("Transpose", value, perm=order)
    rest = list(trace.shape(last)[:-1])
    flat = trace.reshape(last, [int(np.prod(rest)), matrix.shape[0]])
    product = trace.reshape(trace.op("MatMul", flat, matrix.astype(np.float32)), [*rest, matrix.shape[1]])
    if order == list(range(rank)):
        return product
    return trace.op("Transpose", product, perm=[int(place) for place in np.argsort(order)])


def upsample(trace: Trace, call: Call) -> Answer:
    """The older name: asymmetric, rounding down."""
    mode = _text(call.get("mode", "nearest"))
    scales = call.inputs[1] if call.has(1) else trace.constant(np.asarray(call.get("scales"), np.float32))
    return trace.op(
        "Resize",
        call.inputs[0],
        "",
        scales,
        mode=mode,
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


RULES = {"Resize": resize, "Upsample": upsample}
