"""Text and colours for pictures: a font that has the letters, a colour that stays with its class."""

import unicodedata
from functools import lru_cache
from typing import Final

from PIL import ImageFont

Color = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PALETTE: Final[tuple[Color, ...]] = (
    (255, 179, 0),
    (64, 156, 255),
    (52, 199, 89),
    (255, 89, 94),
    (191, 130, 255),
    (0, 199, 190),
    (255, 138, 61),
    (255, 120, 196),
    (166, 217, 60),
    (140, 160, 255),
)
"""Bright enough for black text on them, and apart from each other."""
_FONT_FILES: Final = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "FreeSans.ttf",
    "unifont.otf",
)
"""Fonts of a Debian system, asked in this order for letters that Pillow's own font lacks; none need be there."""


def color_of(class_id: int) -> Color:
    """Return the colour of a class, the same in every picture."""
    return PALETTE[class_id % len(PALETTE)]


@lru_cache(maxsize=256)
def legible(text: str, size: int) -> tuple[str, Font]:
    """Return a font of ``size`` pixels that can write ``text``, and the text as it can be written.

    Pillow's own font writes ASCII. For anything else a font of the system is taken; where none has the letters,
    accents are dropped and the rest becomes ``?``, so that nobody has to read boxes.
    """
    for file in (None, *_FONT_FILES):
        font = _font(file, size)
        if font is not None and _can_write(font, text):
            return text, font
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    own = _font(None, size) or ImageFont.load_default()
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in plain), own


@lru_cache(maxsize=32)
def _font(file: str | None, size: int) -> Font | None:
    try:
        return ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)
    except OSError:
        return None


def _can_write(font: Font, text: str) -> bool:
    # A letter that a font lacks is drawn as its "missing" box; U+FFFF is no letter, so no font has it.
    missing = bytes(font.getmask("\uffff"))
    return text.isprintable() and all(bytes(font.getmask(c)) != missing for c in set(text) if not c.isascii())
