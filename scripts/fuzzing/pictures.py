"""Damaged JPEG and PNG files through the real decoding and preprocessing, as a camera's frame and as a picture file."""

import io
from pathlib import Path
from random import Random

import numpy as np
from campaign import Campaign, damage, verdict
from PIL import Image

from edge_runtime.errors import BadFrameError
from edge_runtime.preprocess.image import ImagePreprocessor
from edge_runtime.sources.demo import DemoSource
from edge_runtime.types import Frame, FrameFormat, ImageInput, TensorSpec

SIDE = 96


def originals() -> list[bytes]:
    """Return one picture in many ways: baseline, progressive, grey, CMYK, turned by EXIF; PNG of every kind."""
    source = DemoSource(DemoSource.Config(size=(200, 150)), stream="fuzz", wants=None)
    source.open()
    frame = source.read(1.0)
    assert frame is not None
    picture = Image.open(io.BytesIO(bytes(frame.data))).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    ways: list[tuple[Image.Image, str, dict[str, object]]] = [
        (picture, "JPEG", {"quality": 85}),
        (picture, "JPEG", {"quality": 95, "subsampling": 0, "restart_marker_rows": 2}),
        (picture, "JPEG", {"progressive": True}),
        (picture, "JPEG", {"exif": exif}),
        (picture.convert("L"), "JPEG", {}),
        (picture.convert("CMYK"), "JPEG", {}),
        (picture, "PNG", {}),
        (picture.convert("RGBA"), "PNG", {}),
        (picture.convert("P"), "PNG", {"transparency": 3}),
        (picture.convert("1"), "PNG", {}),
        (deep, "PNG", {}),
    ]
    return [_encoded(image, kind, options) for image, kind, options in ways]


def _encoded(image: Image.Image, kind: str, options: dict[str, object]) -> bytes:
    with io.BytesIO() as file:
        image.save(file, kind, **options)  # type: ignore[arg-type]
        return file.getvalue()


def prepared(_folder: Path, _paths: list[Path]) -> Campaign:
    """A tensor or a BadFrameError."""
    sound = originals()
    tensor = TensorSpec("input", (1, SIDE, SIDE, 3), np.dtype(np.uint8), 1 / 255, 0)
    inputs = [ImageInput(size=(SIDE, SIDE), antialias=antialias) for antialias in (False, True)]
    preprocessors = [ImagePreprocessor(input=one, tensor=tensor) for one in inputs]

    def look(_number: int, chance: Random) -> str:
        data = chance.choice(sound)
        for _ in range(chance.choice((1, 1, 3))):
            data = damage(data, chance) or b"\xff"
        kind: FrameFormat = "picture" if not data.startswith(b"\xff\xd8") or chance.random() < 0.5 else "jpeg"
        frame = Frame(data=data, format=kind, stream="fuzz", sequence=0, captured_ns=0, arrived_ns=0)
        preprocess = chance.choice(preprocessors)
        try:
            tensors, _ = preprocess(frame)
        except BadFrameError as error:
            return verdict(error)
        whole = tensors[0].shape == (1, SIDE, SIDE, 3) and tensors[0].dtype == np.uint8
        preprocess.release(tensors)
        return "read" if whole else "a wrong tensor"

    return Campaign(f"damaged pictures from {len(sound)} originals", frozenset({"read", "refused"}), look, most_s=2.0)
