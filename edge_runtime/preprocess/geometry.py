"""Where the model's pixels lie in the picture: orientation, crop, letterbox, and the way back."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import BadFrameError
from edge_runtime.types import ImageInput, Size, Transform, View


class Box(NamedTuple):
    """A rectangle as fractions of a picture's width and height, so that it holds at every decoded size."""

    left: float
    top: float
    right: float
    bottom: float

    def scaled(self, size: Size) -> "Box":
        """Return the rectangle in pixels of a picture of ``size``; not rounded."""
        width, height = size
        return Box(self.left * width, self.top * height, self.right * width, self.bottom * height)


WHOLE: Final = Box(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Orientation:
    """One of the eight ways a stored picture stands upright: axes swapped first, then mirrored."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def then(self, other: "Orientation") -> "Orientation":
        """Return this orientation followed by ``other``."""
        x, y = (self.mirror_y, self.mirror_x) if other.transpose else (self.mirror_x, self.mirror_y)
        return Orientation(self.transpose ^ other.transpose, x ^ other.mirror_x, y ^ other.mirror_y)

    def inverse(self) -> "Orientation":
        """Return the orientation that undoes this one."""
        if self.transpose:
            return Orientation(True, self.mirror_y, self.mirror_x)
        return self

    def size(self, size: Size) -> Size:
        """Return the (width, height) of a picture of ``size`` after this orientation."""
        return (size[1], size[0]) if self.transpose else size

    def pixels(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return a view of ``pixels``, (height, width, ...), put upright."""
        turned = pixels.swapaxes(0, 1) if self.transpose else pixels
        return turned[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]

    def box(self, box: Box) -> Box:
        """Return where a rectangle of the picture lies after this orientation."""
        left, top, right, bottom = (box.top, box.left, box.bottom, box.right) if self.transpose else box
        if self.mirror_x:
            left, right = 1.0 - right, 1.0 - left
        if self.mirror_y:
            top, bottom = 1.0 - bottom, 1.0 - top
        return Box(left, top, right, bottom)


UPRIGHT: Final = Orientation()
CLOCKWISE: Final = {
    0: UPRIGHT,
    90: Orientation(transpose=True, mirror_x=True),
    180: Orientation(mirror_x=True, mirror_y=True),
    270: Orientation(transpose=True, mirror_y=True),
}
EXIF: Final = {
    1: UPRIGHT,
    2: Orientation(mirror_x=True),
    3: CLOCKWISE[180],
    4: Orientation(mirror_y=True),
    5: Orientation(transpose=True),
    6: CLOCKWISE[90],
    7: Orientation(transpose=True, mirror_x=True, mirror_y=True),
    8: CLOCKWISE[270],
}
"""The EXIF tag Orientation (0x0112), EXIF 2.32 section 4.6.4 A: what puts such a picture upright."""


AS_IT_IS: Final = View()
"""Neither turned nor masked nor cropped."""


def orientation_of(view: View) -> Orientation:
    """Return the rotation and then the flip of a view."""
    return CLOCKWISE[view.rotate].then(Orientation(False, "h" in view.flip, "v" in view.flip))


@dataclass(frozen=True, slots=True)
class Placement:
    """Which part of a stored picture the model sees and where in its input that part goes."""

    stored: Size
    """The size of the stored picture this was worked out for."""
    orientation: Orientation
    box: Box
    """The part that is seen, as fractions of the stored picture."""
    content: Size
    """The size to which ``box`` is resized, before the orientation."""
    corner: tuple[int, int]
    """x, y of the content's upper left corner in the model's input."""
    transform: Transform

    def least(self, ratio: float) -> Size:
        """Return the size the whole picture must have for ``box`` to have ``ratio`` times the content's pixels."""
        (width, height), box = self.content, self.box
        return (_ceil(ratio * width / (box.right - box.left)), _ceil(ratio * height / (box.bottom - box.top)))


def place(stored: Size, orientation: Orientation, *, view: View, target: ImageInput) -> Placement:
    """Work out the placement of a picture of ``stored`` pixels which ``orientation`` puts upright.

    Raises BadFrameError when the view's crop lies outside the picture.
    """
    upright = orientation.size(stored)
    left, top, right, bottom = _cropped(upright, view)
    width, height = target.size
    content, corner = target.size, (0, 0)
    if target.resize == "crop":
        seen = min((right - left) / width, (bottom - top) / height)
        center_x, center_y = (left + right) / 2, (top + bottom) / 2
        left, right = center_x - seen * width / 2, center_x + seen * width / 2
        top, bottom = center_y - seen * height / 2, center_y + seen * height / 2
    elif target.resize == "letterbox":
        shrink = min(width / (right - left), height / (bottom - top))
        content = (_pixels((right - left) * shrink, width), _pixels((bottom - top) * shrink, height))
        corner = ((width - content[0]) // 2, (height - content[1]) // 2)
    scale = ((right - left) / content[0], (bottom - top) / content[1])
    offset = (left - corner[0] * scale[0], top - corner[1] * scale[1])
    fractions = Box(
        max(left / upright[0], 0.0),
        max(top / upright[1], 0.0),
        min(right / upright[0], 1.0),
        min(bottom / upright[1], 1.0),
    )
    return Placement(
        stored=stored,
        orientation=orientation,
        box=orientation.inverse().box(fractions),
        content=orientation.inverse().size(content),
        corner=corner,
        transform=Transform(input_size=target.size, frame_size=upright, scale=scale, offset=offset),
    )


def _cropped(upright: Size, view: View) -> tuple[float, float, float, float]:
    width, height = upright
    if view.crop is None:
        return 0.0, 0.0, float(width), float(height)
    x, y, w, h = view.crop
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    if left >= right or top >= bottom:
        raise BadFrameError(f"the crop {x},{y},{w},{h} lies outside the picture of {width}x{height}; change the crop")
    return float(left), float(top), float(right), float(bottom)


def _pixels(length: float, most: int) -> int:
    return min(max(round(length), 1), most)


def _ceil(length: float) -> int:
    return int(np.ceil(length - 1e-6))
