"""Frames as a 720p MJPEG camera would give them: 1280x720 JPEG files of about 160 kB, all different."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

SIZE = (1280, 720)
TARGET_BYTES = 160_000
GRAIN = 0.05
"""How much sensor noise is mixed in; without any, enlarged photos compress far below what a camera sends."""
PHOTOS = ("burger.jpg", "cats_and_dogs.jpg", "fox.jpeg", "hot_dog.jpg", "parrot.jpg", "pets.jpg")


def photos(reference: Path) -> list[Path]:
    """Return the reference photographs that are there, none when the set is not beside the checkout."""
    return [path for name in PHOTOS if (path := reference / "images" / name).is_file()]


def write(folder: Path, count: int, *, pictures: Sequence[Path] = (), size: tuple[int, int] = SIZE) -> list[int]:
    """Write ``count`` frames of ``pictures`` in turn, or of made-up shapes; return their sizes in bytes.

    They are made at 1280x720 and then brought to ``size``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = []
    for number in range(count):
        random = np.random.default_rng(number)
        scene = _photo(pictures[number % len(pictures)], random) if pictures else _shapes(random)
        noise = random.integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
        image = Image.blend(scene, Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1)), GRAIN)
        data = _jpeg(image if size == SIZE else image.resize(size))
        (folder / f"{number:04}.jpg").write_bytes(data)
        sizes.append(len(data))
    return sizes


def _photo(path: Path, random: np.random.Generator) -> Image.Image:
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    place = (float(random.random()), float(random.random()))
    return ImageOps.fit(picture, SIZE, Image.Resampling.BICUBIC, centering=place)


def _shapes(random: np.random.Generator) -> Image.Image:
    coarse = random.integers(0, 256, (45, 80, 3), np.uint8)
    return Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)


def _jpeg(image: Image.Image) -> bytes:
    """Return the JPEG, 4:2:0 as cameras send it, of the quality whose size is nearest to the target."""
    encoded = []
    low, high = 30, 97
    while low <= high:
        quality = (low + high) // 2
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality, subsampling="4:2:0")
        encoded.append(stream.getvalue())
        low, high = (quality + 1, high) if len(encoded[-1]) < TARGET_BYTES else (low, quality - 1)
    return min(encoded, key=lambda data: abs(len(data) - TARGET_BYTES))
