"""The picture of the demo: one handwritten digit that drifts over a sheet of paper."""

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from edge_runtime.types import Size

if TYPE_CHECKING:
    from PIL import Image

SLOT_S: Final = 2.0
"""How long each digit is there, its crossing to the next included."""
CROSSING_S: Final = 0.3
SMALLEST: Final = 0.58
LARGEST: Final = 0.86
"""Height of a digit in shorter sides of the frame."""
_MOST_TILT_RAD: Final = math.radians(6.0)
_ROOM: Final = 1.14
"""What a digit takes with its tilt and its rounded strokes, in its heights; 0.86 of it still fits the frame."""
_GLYPH_PX: Final = 200
_BORDERED: Final = 10 / 8
"""A glyph is drawn with one cell of paper around its 8 x 8 cells."""
_PAPER: Final = ((250, 245, 235), (221, 232, 238))
_INKS: Final = ((32, 48, 96), (24, 88, 92), (104, 34, 66), (52, 52, 60), (120, 56, 20))


class Scene:
    """Renders frame n of a scene; what is on it depends on ``seed`` and n alone. Used by one thread.

    ``images`` (n, 8, 8) are digits in 0..16, ``labels`` (n,) what they are. Digits come in shuffled rounds of all ten.
    """

    def __init__(
        self, images: NDArray[np.uint8], labels: NDArray[np.uint8], *, size: Size, fps: float, seed: int
    ) -> None:
        self._images = images
        self._by_label = [np.flatnonzero(labels == label) for label in range(10)]
        self._size = size
        self._fps = fps
        self._seed = seed
        self._paper = _paper(size)
        self._glyph = lru_cache(maxsize=4)(lambda which: glyph(self._images[which]))

    def label(self, number: int) -> str | None:
        """Return the digit of frame ``number``, None while two of them cross."""
        slot, passed_s = divmod(number / self._fps, SLOT_S)
        return None if passed_s > SLOT_S - CROSSING_S else str(self._digit(int(slot))[0])

    def render(self, number: int) -> "Image.Image":
        """Return frame ``number`` as an RGB picture."""
        slot, passed_s = divmod(number / self._fps, SLOT_S)
        arriving = max(0.0, (passed_s - (SLOT_S - CROSSING_S)) / CROSSING_S)
        x, y, digit_px, tilt = self._place(int(slot), passed_s / SLOT_S)
        picture = self._paper.copy()
        for which, opacity in ((int(slot), 1.0 - arriving), (int(slot) + 1, arriving)):
            if opacity > 0.0:
                mask = self._turned(self._digit(which)[1], digit_px=digit_px, tilt=tilt, x=x % 1.0, y=y % 1.0)
                faded = mask.point([int(level * opacity) for level in range(256)])
                left, top = int(x) - mask.width // 2, int(y) - mask.height // 2
                box = (left, top, left + mask.width, top + mask.height)
                picture.paste(_INKS[which % len(_INKS)], box, mask=faded)
        return picture

    def _digit(self, slot: int) -> tuple[int, int]:
        """Return the label shown in a slot and the number of its image."""
        turn, within = divmod(slot, 10)
        label = int(np.random.default_rng((self._seed, turn)).permutation(10)[within])
        choice = np.random.default_rng((self._seed, slot, 1)).integers(len(self._by_label[label]))
        return label, int(self._by_label[label][choice])

    def _place(self, slot: int, progress: float) -> tuple[float, float, float, float]:
        """Return centre x, y and height in pixels and tilt in radians, on the way to the next slot's place."""
        now, then = (np.random.default_rng((self._seed, number, 2)).random(4) for number in (slot, slot + 1))
        x, y, grown, tilted = now + (then - now) * (progress * progress * (3.0 - 2.0 * progress))
        width, height = self._size
        digit_px = min(width, height) * (SMALLEST + (LARGEST - SMALLEST) * grown)
        room = digit_px * _ROOM
        x, y = room / 2 + (width - room) * x, room / 2 + (height - room) * y
        return x, y, digit_px, _MOST_TILT_RAD * (2 * tilted - 1)

    def _turned(self, which: int, *, digit_px: float, tilt: float, x: float, y: float) -> "Image.Image":
        """Return the opacity of the ink of a digit on a square with an even side.

        The digit's centre lies ``x``, ``y`` (fractions of a pixel, so that it glides) beside that of the square.
        """
        from PIL import Image

        half = math.ceil(digit_px * _BORDERED / 2 * (math.cos(tilt) + abs(math.sin(tilt)))) + 1
        step = _GLYPH_PX / (digit_px * _BORDERED)
        cosine, sine = math.cos(tilt) * step, math.sin(tilt) * step
        x, y, centre = half + x, half + y, _GLYPH_PX / 2
        matrix = (cosine, sine, centre - cosine * x - sine * y, -sine, cosine, centre + sine * x - cosine * y)
        size = (2 * half, 2 * half)
        return self._glyph(which).transform(size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR)


def glyph(cells: NDArray[np.uint8], *, edge: float = 0.34) -> "Image.Image":
    """Return the ink of a digit (8, 8) in 0..16 as a smooth, sharp shape of 200 x 200 in 0..255.

    ``edge`` is the share of full ink above which there is a stroke: the higher, the thinner the strokes.
    """
    from PIL import Image

    levels = np.pad(cells.astype(np.float32) * (255.0 / 16.0), 1).astype(np.uint8)
    smooth = Image.fromarray(levels).resize((_GLYPH_PX, _GLYPH_PX), Image.Resampling.BICUBIC)
    rise = np.clip((np.arange(256) / 255.0 - edge) / 0.12, 0.0, 1.0)
    return smooth.point([int(level) for level in 255.0 * rise * rise * (3.0 - 2.0 * rise)])


def _paper(size: Size) -> "Image.Image":
    """Return a sheet with a soft gradient from corner to corner."""
    from PIL import Image

    width, height = size
    ramp = (np.linspace(0.0, 1.0, width)[None, :, None] + np.linspace(0.0, 1.0, height)[:, None, None]) / 2.0
    light, dark = (np.array(tint, dtype=np.float64) for tint in _PAPER)
    return Image.fromarray(np.rint(light + (dark - light) * ramp).astype(np.uint8))
