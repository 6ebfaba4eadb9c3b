"""The interpreter that is installed, LiteRT or tflite-runtime, through the real pipeline and the real command.

Kernels differ between the two by up to 30 steps of 1/256, so the measure here is the same interpreter without us.
"""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edge_runtime
from edge_runtime.interpreter import load_runtime, quiet_native_output

pytestmark = [pytest.mark.e2e, pytest.mark.runtime]

CLASSIFIERS = ("mobilenet_v1_0.25_128_quant", "mobilenet_v1_0.25_224_quant", "mobilenet_v1_0.75_192_quant")


@pytest.fixture(scope="session")
def pictures(reference: Path) -> list[Path]:
    index = json.loads((reference / "index.json").read_text())
    return sorted({reference / case["image"] for case in index["expected"]["classify"]})


def bare(model: Path, pictures: list[Path], folder: Path) -> list[tuple[Path, np.ndarray]]:
    """Resize each picture to the input with Pillow; return the files, with the bare interpreter's scores of 0 to 1."""
    with quiet_native_output():
        interpreter = load_runtime().interpreter(model_path=str(model), num_threads=1)
        interpreter.allocate_tensors()
    (entry,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    _, height, width, _ = entry["shape"]
    scale, zero_point = out["quantization"]
    scored = []
    for number, picture in enumerate(pictures):
        pixels = Image.open(picture).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        pixels.save(folder / f"{number}.png")
        interpreter.set_tensor(entry["index"], np.asarray(pixels, np.uint8)[None])
        interpreter.invoke()
        scores = (interpreter.get_tensor(out["index"])[0].astype(np.float32) - zero_point) * scale
        scored.append((folder / f"{number}.png", scores))
    return scored


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_command_gives_what_the_bare_interpreter_gives(
    name: str, reference: Path, pictures: list[Path], predictions: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    model = reference / f"models/classify/{name}.tflite"
    scored = bare(model, pictures, tmp_path)
    files = [file for file, _ in scored]
    found = predictions("--images", *files, "--model", model, "--threads", "1")
    for (file, scores), line in zip(scored, found, strict=True):
        assert [row["score"] for row in line["result"]] == pytest.approx(sorted(scores)[:-6:-1], abs=1e-4), file
        best = line["result"][0]
        assert scores[best["class_id"]] == scores.max()


def test_the_python_api_and_the_command_give_the_same(
    reference: Path, pictures: list[Path], predictions: Callable[..., list[dict[str, Any]]]
) -> None:
    model = reference / "models/classify/mobilenet_v1_0.25_128_quant.tflite"
    with edge_runtime.load(model) as loaded:
        called = [list(loaded(str(picture)).result) for picture in pictures]
    assert called == [line["result"] for line in predictions("--images", *pictures, "--model", model)]


def test_info_names_the_interpreter(reference: Path, edge_infer: Any, mosquitto: Any, subscriber: Any) -> None:
    listener = subscriber("edge-infer/+/info")
    picture = reference / "images/parrot.jpg"
    model = Path(edge_runtime.__file__).parent / "demo/digits.tflite"
    ended = edge_infer("--images", picture, "--model", model, "--broker", mosquitto.url)
    assert ended.status == 0, ended.err
    assert json.loads(listener.wait(1)[0].payload)["runtime"] == load_runtime().version


def test_a_runtime_that_is_not_installed_is_wrong_usage(reference: Path, edge_infer: Any, tmp_path: Path) -> None:
    absent = {"ai_edge_litert": "litert", "tflite_runtime": "tflite-runtime"}
    names = [name for package, name in absent.items() if importlib.util.find_spec(package) is None]
    if not names:
        pytest.skip("both runtimes are installed here")
    words = ("--images", reference / "images/parrot.jpg", "--broker", "none", "-q")
    model = Path(edge_runtime.__file__).parent / "demo/digits.tflite"
    by_environment = edge_infer(*words, "--model", model, EDGE_INFER_RUNTIME=names[0])
    (tmp_path / "edge.toml").write_text(f'[engine]\nruntime = "{names[0]}"\n')
    by_file = edge_infer(*words, "--model", model, "--config", tmp_path / "edge.toml")
    for ended in (by_environment, by_file):
        assert ended.status == 2
        assert "asked for and not installed: pip install" in ended.err
        assert len(ended.err.splitlines()) == 1
