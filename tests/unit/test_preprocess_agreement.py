"""The fast path and the careful path must name the same things: a real classifier judges them."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from edge_runtime.preprocess.factory import build
from edge_runtime.types import Frame, FrameFormat, ImageInput, TensorSpec

MODEL = "models/classify/mobilenet_v2_1.0_224_quant.tflite"
TOLERANCE = 0.12
"""Of a score, from the reference set's own notes."""


class Classifier:
    """A bare interpreter with a quantised ImageNet classifier in it."""

    def __init__(self, path: Path) -> None:
        interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
        self._interpreter = interpreter(str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        (source,), (result,) = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._source, self._result, self._scale = source["index"], result["index"], result["quantization"][0]
        self.size = (int(source["shape"][2]), int(source["shape"][1]))
        scale, zero_point = source["quantization"]
        self.tensor = TensorSpec("input", tuple(source["shape"].tolist()), np.dtype(source["dtype"]), scale, zero_point)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        self._interpreter.set_tensor(self._source, pixels)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._result)[0] * self._scale

    def see(self, data: bytes, kind: FrameFormat) -> NDArray[np.float64]:
        target = ImageInput(size=self.size, raw=True, antialias=False)
        (pixels,), _ = build(target, tensor=self.tensor)(Frame(data, kind, "camera0", 0, 0, 0))
        return self.scores(pixels)

    def see_carefully(self, picture: Image.Image) -> NDArray[np.float64]:
        return self.scores(np.asarray(picture.resize(self.size, Image.Resampling.BILINEAR))[None])


def camera_frames(reference: Path) -> list[bytes]:
    """Return the reference photographs as a 720p camera would send them."""
    frames = []
    for path in sorted((reference / "images").glob("**/*")):
        if path.suffix not in (".jpg", ".jpeg", ".bmp") or "mask" in path.name or "mnist" in path.name:
            continue
        with Image.open(path) as picture:
            stream = io.BytesIO()
            ImageOps.fit(picture.convert("RGB"), (1280, 720)).save(stream, "JPEG", quality=88)
        frames.append(stream.getvalue())
    return frames


def test_the_fast_path_of_a_camera_keeps_the_top_class(reference: Path) -> None:
    classifier = Classifier(reference / MODEL)
    agreed, differences = 0, []
    frames = camera_frames(reference)
    for data in frames:
        fast = classifier.see(data, "jpeg")
        with Image.open(io.BytesIO(data)) as picture:
            careful = classifier.see_carefully(picture)
        same = fast.argmax() == careful.argmax()
        agreed += int(same)
        differences.append(float(np.abs(fast - careful).max()))
        second, first = np.sort(careful)[-2:]
        assert same or first - second < TOLERANCE / 2, "only a near tie may fall the other way"
    assert len(frames) >= 15
    assert agreed >= 0.85 * len(frames)
    assert np.mean(differences) < 0.08


def expected_classes(reference: Path, model: str) -> list[dict[str, Any]]:
    index = json.loads((reference / "index.json").read_text())
    return [row for row in index["expected"]["classify"] if row["model"] == model]


def test_files_give_the_expected_classes(reference: Path) -> None:
    rows = [row for row in expected_classes(reference, MODEL) if row["norm"] == "m11"]
    assert rows
    classifier = Classifier(reference / MODEL)
    for row in rows:
        scores = classifier.see((reference / row["image"]).read_bytes(), "picture")
        class_id, _, score = row["top5"][0]
        assert scores.argmax() == class_id
        assert scores[class_id] == pytest.approx(score, abs=TOLERANCE)
