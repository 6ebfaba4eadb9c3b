"""The full picture of a frame, for snapshots and for eyes."""

import numpy as np
from numpy.typing import NDArray

from edge_runtime.preprocess.geometry import WHOLE, orientation_of
from edge_runtime.preprocess.masks import Masks
from edge_runtime.preprocess.rasters import open_raster
from edge_runtime.preprocess.resize import resize
from edge_runtime.types import Frame, FrameFormat, Size, View


def upright(frame: Frame, view: View, *, max_size: Size | None = None) -> NDArray[np.uint8]:
    """Return a frame's picture as (height, width, 3) RGB: upright, turned, flipped and masked, not cropped.

    ``frame.full`` is used where it is there; it shows the same field of view. The picture is shrunk to fit into
    ``max_size`` (width, height), never enlarged. Raises BadFrameError, ConfigError for a mask file that cannot be
    read. Called from any thread.
    """
    data, kind = frame.data, frame.format
    turn = orientation_of(view)
    if frame.full is not None:
        data, kind = frame.full, _full_kind(frame.full)
    raster = open_raster(data, kind, want="RGB", exact=True)
    orientation = raster.orientation.then(turn)
    size = _fitted(raster.size, None if max_size is None else orientation.inverse().size(max_size))
    # Masks are in source pixels, of which the picture at hand may have more or fewer.
    source = orientation.size(frame.nominal_size or raster.size)
    masks, parts = Masks(view), []
    for decoded in raster.planes(size):
        plane = masks.hide(decoded, upright=source, orientation=orientation)
        parts.append(resize(plane.pixels, box=WHOLE, size=size, exact=True))
    return np.ascontiguousarray(orientation.pixels(raster.colors(parts)))


def _full_kind(full: NDArray[np.uint8] | bytes) -> FrameFormat:
    return "rgb" if isinstance(full, np.ndarray) else "jpeg"


def _fitted(size: Size, most: Size | None) -> Size:
    if most is None:
        return size
    shrink = min(most[0] / size[0], most[1] / size[1], 1.0)
    return (max(round(size[0] * shrink), 1), max(round(size[1] * shrink), 1))
