"""What preparing one camera frame costs: variants side by side, in turns, so that a busy machine slows all alike.

    python scripts/benchmarks/preprocess.py [--json] [--size 224] [--rounds 100] [PICTURE.jpg]

Prints milliseconds of CPU (of the whole process, so that other threads count) and of wall time, the median and the
least of all rounds, and how far the pixels are from a full decode with a filtered resize (0..255, mean and maximum).
"""

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from edge_runtime.preprocess.factory import build
from edge_runtime.types import Frame, FrameFormat, ImageInput, TensorSpec

FRAME = (1280, 720)
BILINEAR = Image.Resampling.BILINEAR
Prepare = Callable[[], NDArray[Any]]


def camera_frame(picture: str | None) -> bytes:
    """Return a 1280x720 JPEG: of a picture, or of shapes and grain that compress to about 160 kB."""
    if picture is not None:
        with Image.open(picture) as opened:
            image = ImageOps.fit(opened.convert("RGB"), FRAME)
    else:
        random = np.random.default_rng(1)
        coarse = Image.fromarray(random.integers(0, 256, (45, 80, 3), np.uint8)).resize(FRAME, Image.Resampling.BICUBIC)
        grain = Image.fromarray(random.integers(0, 256, (720, 1280, 3), np.uint8)).filter(ImageFilter.GaussianBlur(1))
        image = Image.blend(coarse, grain, 0.05)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def ours(data: Any, kind: FrameFormat, *, size: int, antialias: bool) -> Prepare:
    target = ImageInput(size=(size, size), raw=True, antialias=antialias)
    tensor = TensorSpec("input", (1, size, size, 3), np.dtype(np.uint8), 1 / 128, 128)
    preprocessor = build(target, tensor=tensor)
    frame = Frame(data, kind, "benchmark", 0, 0, 0)

    def prepare() -> NDArray[Any]:
        inputs, _ = preprocessor(frame)
        preprocessor.release(inputs)
        return inputs[0][0]

    return prepare


def variants(jpeg: bytes, size: int) -> dict[str, Prepare]:
    with Image.open(io.BytesIO(jpeg)) as opened:
        full = opened.convert("RGB")
    rgb = np.asarray(full)
    ycbcr = np.asarray(full.convert("YCbCr")).astype(np.float32)
    limited = np.rint(ycbcr * np.float32([219, 224, 224]) / 255 + np.float32([16, 16, 16])).astype(np.uint8)
    yuyv = np.stack(
        (limited[..., 0], np.where(np.arange(1280) % 2, np.roll(limited[..., 2], 1, 1), limited[..., 1])), -1
    )
    i420 = np.concatenate(
        [
            plane.reshape(-1, 1280)
            for plane in (
                limited[..., 0],
                np.ascontiguousarray(limited[::2, ::2, 1]),
                np.ascontiguousarray(limited[::2, ::2, 2]),
            )
        ]
    )

    def half() -> NDArray[np.uint8]:
        return simplejpeg.decode_jpeg(jpeg, "RGB", True, True, min_width=640, min_height=360)

    def draft() -> NDArray[Any]:
        with Image.open(io.BytesIO(jpeg)) as picture:
            picture.draft("RGB", (size, size))
            return np.asarray(picture.resize((size, size), BILINEAR))

    return {
        "Pillow, full decode": lambda: np.asarray(Image.open(io.BytesIO(jpeg)).resize((size, size), BILINEAR)),
        "Pillow, draft": draft,
        "simplejpeg 1/2, Pillow": lambda: np.asarray(Image.fromarray(half()).resize((size, size), BILINEAR)),
        "simplejpeg 1/2, decode alone": half,
        "camera JPEG, classifier": ours(jpeg, "jpeg", size=size, antialias=False),
        "camera JPEG, detector": ours(jpeg, "jpeg", size=size, antialias=True),
        "JPEG file": ours(jpeg, "picture", size=size, antialias=False),
        "RGB, classifier": ours(rgb, "rgb", size=size, antialias=False),
        "RGB, detector": ours(rgb, "rgb", size=size, antialias=True),
        "YUYV, classifier": ours(np.ascontiguousarray(yuyv), "yuyv", size=size, antialias=False),
        "YUYV, detector": ours(np.ascontiguousarray(yuyv), "yuyv", size=size, antialias=True),
        "I420, classifier": ours(i420, "i420", size=size, antialias=False),
        "I420, detector": ours(i420, "i420", size=size, antialias=True),
    }


def measure(candidates: dict[str, Prepare], rounds: int) -> list[dict[str, Any]]:
    careful = candidates["Pillow, full decode"]().astype(int)
    cpu_ms: dict[str, list[float]] = {name: [] for name in candidates}
    wall_ms: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, prepare in candidates.items():
            wall, cpu = time.perf_counter(), time.process_time()
            prepare()
            cpu_ms[name].append((time.process_time() - cpu) * 1000)
            wall_ms[name].append((time.perf_counter() - wall) * 1000)
    rows = []
    for name, prepare in candidates.items():
        pixels = prepare()
        difference = np.abs(pixels - careful) if pixels.shape == careful.shape else None
        rows.append(
            {
                "variant": name,
                "cpu_ms": round(statistics.median(cpu_ms[name]), 3),
                "cpu_ms_min": round(min(cpu_ms[name]), 3),
                "wall_ms": round(statistics.median(wall_ms[name]), 3),
                "wall_ms_min": round(min(wall_ms[name]), 3),
                "difference_mean": None if difference is None else round(float(difference.mean()), 2),
                "difference_max": None if difference is None else int(difference.max()),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", nargs="?", help="a picture to make the frame of; default: made up")
    parser.add_argument("--size", type=int, default=224, help="side of the model's input in pixels")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    if arguments.picture is not None and not Path(arguments.picture).is_file():
        parser.error(f"{arguments.picture} is not there")
    jpeg = camera_frame(arguments.picture)
    rows = measure(variants(jpeg, arguments.size), arguments.rounds)
    if arguments.json:
        print(json.dumps({"frame": FRAME, "jpeg_bytes": len(jpeg), "size": arguments.size, "variants": rows}))
        return
    print(f"{FRAME[0]}x{FRAME[1]}, JPEG of {len(jpeg) / 1000:.0f} kB, to {arguments.size}x{arguments.size}x3 uint8")
    print(f"{'':30}{'CPU ms':>8}{'min':>8}{'wall ms':>9}{'min':>8}{'  difference: mean':>20}{'max':>5}")
    for row in rows:
        mean, most = row["difference_mean"], row["difference_max"]
        print(
            f"{row['variant']:30}{row['cpu_ms']:8.2f}{row['cpu_ms_min']:8.2f}{row['wall_ms']:9.2f}"
            f"{row['wall_ms_min']:8.2f}{'' if mean is None else mean:>20}{'' if most is None else most:>5}"
        )


if __name__ == "__main__":
    main()
