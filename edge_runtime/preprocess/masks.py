"""Privacy masks: parts of the picture that nothing behind this point ever sees."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_runtime.errors import ConfigError
from edge_runtime.preprocess.geometry import Box, Orientation
from edge_runtime.preprocess.jpeg import PILLOW_ERRORS
from edge_runtime.preprocess.rasters import Plane
from edge_runtime.types import Size, View

MID_GREY = 128


class Masks:
    """Paints over what a view hides, at whatever size a picture was decoded; rounds outwards, so that nothing shows.

    May be called from several threads.
    """

    def __init__(self, view: View) -> None:
        self._rectangles = view.masks
        self._file = view.mask_file
        self._dark: Image.Image | None = None
        self._stencils: dict[tuple[Size, Orientation], NDArray[np.bool_]] = {}

    def hide(self, plane: Plane, *, upright: Size, orientation: Orientation) -> Plane:
        """Return ``plane`` with black where the masks lie.

        ``upright`` is the size in whose pixels the rectangles are given, ``orientation`` puts the plane upright.
        Raises ConfigError when the mask file cannot be read: a picture that should be hidden is not shown instead.
        """
        if not self._rectangles and self._file is None:
            return plane
        pixels = plane.pixels
        if not plane.owned or not isinstance(pixels, np.ndarray) or not pixels.flags.writeable:
            pixels = np.array(pixels)
        back = orientation.inverse()
        size = (pixels.shape[1], pixels.shape[0])
        for x, y, width, height in self._rectangles:
            box = Box(x / upright[0], y / upright[1], (x + width) / upright[0], (y + height) / upright[1])
            left, top, right, bottom = back.box(box).scaled(size)
            rows, columns = _outwards(top, bottom), _outwards(left, right)
            pixels[rows, columns] = plane.black if pixels.ndim == 3 else plane.black[0]
        if self._file is not None:
            pixels[self._stencil(self._file, size, orientation)] = plane.black if pixels.ndim == 3 else plane.black[0]
        return plane._replace(pixels=pixels, owned=True)

    def _stencil(self, file: str, size: Size, orientation: Orientation) -> NDArray[np.bool_]:
        key = (size, orientation)
        stencil = self._stencils.get(key)
        if stencil is None:
            if self._dark is None:
                self._dark = read_mask(file)
            fitted = np.asarray(self._dark.resize(orientation.size(size), Image.Resampling.BOX))
            stencil = np.ascontiguousarray(orientation.inverse().pixels(fitted > 0))
            if len(self._stencils) > 4:
                self._stencils.clear()
            self._stencils[key] = stencil
        return stencil


def _outwards(start: float, end: float) -> slice:
    """Return the pixels that an extent touches; a millionth of one is the arithmetic's, not the mask's."""
    return slice(max(int(np.floor(start + 1e-6)), 0), max(int(np.ceil(end - 1e-6)), 0))


def read_mask(file: str) -> Image.Image:
    """Return a picture that is 255 where a mask file is darker than mid-grey, else 0. Raises ConfigError."""
    try:
        with Path(file).open("rb") as stream, Image.open(stream) as picture:
            grey: NDArray[Any] = np.asarray(picture.convert("L"))
    except PILLOW_ERRORS as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no picture"
        raise ConfigError(f"the mask {file} cannot be used: {reason}") from error
    return Image.fromarray(np.where(grey < MID_GREY, 255, 0).astype(np.uint8))
