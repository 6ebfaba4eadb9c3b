"""Small real inputs for every source that can be opened on any machine."""

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_runtime.protocols import WantedInput
from edge_runtime.types import ImageInput, WindowInput

PICTURE = ImageInput(size=(32, 32), color="GRAY")
SAMPLES = WindowInput(length=40, channels=1, sample_rate_hz=8000.0)


def images(folder: Path) -> tuple[dict[str, Any], WantedInput]:
    for number in range(3):
        Image.new("RGB", (40, 30), (number * 80, 0, 0)).save(folder / f"{number}.png")
    return {"paths": (str(folder),)}, PICTURE


def csv(folder: Path) -> tuple[dict[str, Any], WantedInput]:
    np.savetxt(folder / "x.csv", np.arange(100.0))
    return {"path": str(folder / "x.csv")}, SAMPLES


def wav(folder: Path) -> tuple[dict[str, Any], WantedInput]:
    with wave.open(str(folder / "x.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.arange(120, dtype="<i2").tobytes())
    return {"path": str(folder / "x.wav")}, SAMPLES


def demo(_: Path) -> tuple[dict[str, Any], WantedInput]:
    return {"fps": 100.0}, PICTURE


def video(folder: Path) -> tuple[dict[str, Any], WantedInput]:
    import av

    with av.open(str(folder / "x.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 64, 48
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
        container.mux(stream.encode())
    return {"url": str(folder / "x.mp4")}, PICTURE


@pytest.fixture
def openable(tmp_path: Path) -> Callable[[str], tuple[dict[str, Any], WantedInput]]:
    """Settings and wanted input of a source type that needs no device and no server."""
    makers = {"images": images, "csv": csv, "wav": wav, "demo": demo, "video": video}
    return lambda name: makers[name](tmp_path)
