"""RoiAlign with constant regions: a matrix where it averages, gathers and a maximum where it takes the largest."""

import math
from typing import Any, Final

import numpy as np

from converters.onnx_rewrite import linear
from converters.onnx_rewrite.trace import Answer, Array, Call, Trace

_CORNERS: Final = 4
_HALF_PIXEL_SINCE: Final = 16
"""Version of the operator from which regions are moved by half a pixel unless told otherwise."""


def regions(trace: Trace, call: Call) -> Answer:
    """Say RoiAlign for the regions that are known."""
    rois, entries = (trace.value(name) for name in call.inputs[1:3])
    if rois is None or entries is None or not trace.is_float(call.inputs[0]):
        return None
    if _text(call.get("mode", "avg")) == "avg":
        return linear.whole(trace, call)
    return _largest(trace, call, rois, entries)


def _largest(trace: Trace, call: Call, rois: Array, entries: Array) -> Answer:
    """Take the largest of the four weighted corners of all points of a bin, as ONNX defines it."""
    batch, channels, height, width = trace.shape(call.inputs[0])
    rows, columns = int(call.get("output_height", 1)), int(call.get("output_width", 1))
    corners = [_corners(trace, call, roi, (height, width), (rows, columns)) for roi in rois]
    found = [one for one in corners if one is not None]
    if not found or len(found) != len(corners):
        return None
    most = max(places.shape[1] for places, _ in found)
    # A bin with fewer points than others has its first one several times.
    padded = [[np.pad(part, ((0, 0), (0, most - part.shape[1])), mode="edge") for part in one] for one in found]
    places = np.stack([one[0] for one in padded]) + entries.reshape(-1, 1, 1) * height * width
    weights = np.stack([one[1] for one in padded])
    flat = trace.reshape(call.inputs[0], [batch, channels, height * width])
    table = trace.reshape(trace.op("Transpose", flat, perm=[0, 2, 1]), [batch * height * width, channels])
    values = trace.op("Gather", table, places.reshape(-1).astype(np.int32), axis=0)
    weighted = trace.op("Mul", values, weights.reshape(-1, 1).astype(np.float32))
    bins = len(rois) * rows * columns
    largest = trace.reduce("ReduceMax", trace.reshape(weighted, [bins, most, channels]), [1])
    return trace.op("Transpose", trace.reshape(largest, [len(rois), rows, columns, channels]), perm=[0, 3, 1, 2])


def _corners(
    trace: Trace, call: Call, roi: Array, size: tuple[int, int], bins: tuple[int, int]
) -> tuple[Array, Array] | None:
    """Return places in the picture and their weights, (bins, points * 4) each, of a region's points.

    Found by running the operator itself with a bin for each point over the unit pictures.
    """
    points = _points(call, roi, bins)
    pixels = size[0] * size[1]
    count = bins[0] * points[0] * bins[1] * points[1]
    if not count or pixels * count > linear.LARGEST:
        return None
    settings = {"output_height": bins[0] * points[0], "output_width": bins[1] * points[1], "sampling_ratio": 1}
    attributes: dict[str, Any] = {**call.attributes, **settings, "mode": "avg"}
    given = {"input1": roi.reshape(1, -1), "input2": np.zeros(1, np.int64)}
    units = np.eye(pixels, dtype=np.float32).reshape(1, pixels, *size)
    matrix = linear.run(trace, call, given, units, attributes=attributes)
    if matrix is None:
        return None
    flat = matrix.reshape(pixels, count).T
    # A corner without weight counts too, as zero.
    places = np.argsort(-np.abs(flat), axis=1, kind="stable")[:, :_CORNERS]
    weights = np.take_along_axis(flat, places, axis=1)
    return _by_bin(places, bins, points), _by_bin(weights, bins, points)


def _points(call: Call, roi: Array, bins: tuple[int, int]) -> tuple[int, int]:
    """Return how many points a bin has, down and across."""
    ratio = int(call.get("sampling_ratio", 0))
    if ratio > 0:
        return ratio, ratio
    default = "half_pixel" if call.version >= _HALF_PIXEL_SINCE else "output_half_pixel"
    least = 0.0 if _text(call.get("coordinate_transformation_mode", default)) == "half_pixel" else 1.0
    left, top, right, bottom = roi * np.float32(call.get("spatial_scale", 1.0))
    sides = (float(bottom - top), float(right - left))
    down, across = (math.ceil(max(side, least) / count) for side, count in zip(sides, bins, strict=True))
    return max(down, 0), max(across, 0)


def _by_bin(values: Array, bins: tuple[int, int], points: tuple[int, int]) -> Array:
    apart = values.reshape(bins[0], points[0], bins[1], points[1], values.shape[1])
    return apart.transpose(0, 2, 1, 3, 4).reshape(bins[0] * bins[1], -1)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


RULES: Final = {"RoiAlign": regions}
