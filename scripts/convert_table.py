"""Convert every network at hand and write the table in docs/converting.md; by hand, it takes minutes.

    scripts/convert_table                        all of them
    scripts/convert_table torch_gru kws          some, their rows replaced

Each runs as the command would, in a process of its own. Rows that were not run stay as they are.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT.parent / "shared/reference"
PAGE = ROOT / "docs/converting.md"
BEGIN, END = "<!-- table: scripts/convert_table -->", "<!-- end of table -->"
HEAD = (
    "| network | route | dB | same best class | bits | float → converted | time, s | memory, MB |\n"
    + "| --- " * 8
    + "|"
)
PICTURES = REFERENCE / "cifar10"
DEADLINE_S = 1800
PHOTOGRAPHS, DIGITS = 200, 300


@dataclass(frozen=True)
class Case:
    title: str
    model: Callable[[Path], Path]
    flags: Callable[[Path], list[str]]


def at(path: Path) -> Callable[[Path], Path]:
    return lambda _: path


def keras_network(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / f"{name}.keras"
        if not path.exists():
            run("drawn_scenes.py", folder / "scenes")
            run("keras_networks.py", folder, folder / "scenes/fit", name)
        return path

    return make


def run(script: str, *arguments: object) -> None:
    command = [sys.executable, ROOT / "scripts" / script, *arguments]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


def seen_scenes(*flags: str) -> Callable[[Path], list[str]]:
    """Other sightings of the scenes than those that the last layer was fitted to."""

    def make(folder: Path) -> list[str]:
        seen = str(folder / "scenes/seen")
        return ["--calibration", seen, "--eval", seen, "--task", "classify", *flags]

    return make


def said(*flags: object) -> Callable[[Path], list[str]]:
    return lambda _: [str(flag) for flag in flags]


def series(length: int, channels: int, *, walk: bool) -> Callable[[Path], list[str]]:
    """Random numbers, or wanderings of them, as the fixtures were settled with."""

    def make(folder: Path) -> list[str]:
        values = np.random.default_rng(2).normal(size=(300, length, channels)).astype(np.float32)
        path = folder / f"series_{length}x{channels}.npy"
        np.save(path, values.cumsum(1) * np.float32(0.4) if walk else values)
        shape = f"{length}x{channels}"
        return ["--calibration", str(path), "--preset", "raw", "--window", shape, "--task", "classify"]

    return make


def frames(folder: Path) -> list[str]:
    values = np.fromfile(REFERENCE / "sensor/normal_id_01_00000000_hist_librosa.bin", "<f4").reshape(200, 128)
    windows = np.stack([values[start : start + 5].reshape(-1) for start in range(196)])
    np.savez(folder / "frames.npz", x=windows, y=windows)
    return ["--calibration", str(folder / "frames.npz"), "--preset", "raw"]


def photographs(*flags: str) -> Callable[[Path], list[str]]:
    """Parts of the reference photographs, of many sizes, as a camera would see them."""

    def make(folder: Path) -> list[str]:
        generator = np.random.default_rng(3)
        target = folder / "photographs"
        target.mkdir(exist_ok=True)
        paths = sorted(path for path in (REFERENCE / "images").rglob("*") if path.suffix in {".jpg", ".jpeg"})
        for number in range(PHOTOGRAPHS):
            photo = Image.open(paths[number % len(paths)]).convert("RGB")
            side = int(generator.uniform(0.3, 1.0) * min(photo.size))
            left, top = (int(generator.uniform(0, length - side + 1)) for length in photo.size)
            photo.crop((left, top, left + side, top + side)).save(target / f"{number:03}.jpg", quality=92)
        return ["--calibration", str(target), *flags]

    return make


def digits(folder: Path) -> list[str]:
    """Digits drawn with a font in many sizes and places, white on black as in MNIST, and their labels."""
    generator = np.random.default_rng(4)
    pictures, labels = [], []
    for number in range(DIGITS):
        picture = Image.new("L", (28, 28))
        place = tuple(generator.uniform(12.0, 16.0, 2))
        font = ImageFont.load_default(size=float(generator.uniform(18, 24)))
        ImageDraw.Draw(picture).text(place, str(number % 10), 255, font, anchor="mm")
        pictures.append(np.asarray(picture.rotate(float(generator.uniform(-12, 12)))))
        labels.append(number % 10)
    np.savez(folder / "digits.npz", x=np.stack(pictures), y=np.asarray(labels))
    drawn = str(folder / "digits.npz")
    return ["--calibration", drawn, "--eval", drawn, "--preset", "raw", "--task", "classify"]


TINY, ONNX, TORCH = REFERENCE / "models/mlperf_tiny", REFERENCE / "models/onnx", ROOT / "tests/convert/fixtures"
PICTURE_FLAGS = ("--calibration", PICTURES, "--preset", "tf", "--task", "classify")
SPOKEN = ("--window", "49x10", "--task", "audio", "--preset", "raw", "--calibration", "keyword_speech:spoken",
          "--eval", "keyword_speech:labelled")  # fmt: skip
CASES = {
    "resnet8": Case("ResNet-8, CIFAR-10, trained, `.h5`", at(TINY / "pretrainedResnet.h5"),
                    said("--calibration", PICTURES, "--eval", PICTURES, "--preset", "raw")),
    "resnet8_tflite": Case("the same, float `.tflite`", at(TINY / "pretrainedResnet.tflite"),
                           said("--calibration", PICTURES, "--eval", PICTURES, "--preset", "raw")),
    "ad01": Case("ad01 autoencoder, trained, `.h5`", at(TINY / "ad01.h5"), frames),
    "kws": Case("keyword DS-CNN, trained, SavedModel, spoken words", at(TINY / "kws_ref_model"), said(*SPOKEN)),
    "flowers": Case("MobileNetV2 0.35, flowers, trained, `.onnx`",
                    at(ONNX / "mobilenet_v2_0.35_128_tfs_channel_first.onnx"),
                    photographs("--preset", "0-1", "--task", "classify")),
    "mnist": Case("MNIST, trained, `.onnx`, digits drawn with a font", at(ONNX / "mnist.onnx"), digits),
    "rfb": Case("face detector RFB-320, trained, `.onnx`", at(ONNX / "version-RFB-320.onnx"),
                photographs("--mean", "127", "--std", "128", "--task", "raw")),
    "mobilenet_v2": Case("MobileNetV2 224, Keras", keras_network("mobilenet_v2"), seen_scenes("--preset", "tf")),
    "mobilenet_v3_small": Case("MobileNetV3-Small 224, Keras", keras_network("mobilenet_v3_small"), seen_scenes()),
    "efficientnet_v2_b0": Case("EfficientNetV2-B0 224, Keras", keras_network("efficientnet_v2_b0"), seen_scenes()),
    "torch_cnn": Case("CNN, torch", at(TORCH / "torch_cnn.onnx"), said(*PICTURE_FLAGS)),
    "torch_residual_se": Case("residual, squeeze-excite, torch", at(TORCH / "torch_residual_se.onnx"),
                              said(*PICTURE_FLAGS)),
    "torch_yolo_head": Case("detector with YOLOv8's head, torch", at(TORCH / "torch_yolo_head.onnx"),
                            said("--calibration", PICTURES, "--preset", "tf", "--task", "raw")),
    "torch_conv1d": Case("Conv1D, torch", at(TORCH / "torch_conv1d.onnx"), series(128, 3, walk=True)),
    "torch_lstm": Case("LSTM, torch", at(TORCH / "torch_lstm.onnx"), series(20, 6, walk=True)),
    "torch_gru": Case("GRU, torch", at(TORCH / "torch_gru.onnx"), series(20, 6, walk=True)),
    "torch_transformer": Case("transformer encoder, torch", at(TORCH / "torch_transformer.onnx"),
                              series(16, 32, walk=False)),
}  # fmt: skip


def convert(name: str, folder: Path, through: Sequence[str]) -> str:
    case = CASES[name]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'tests/convert'}:{ROOT}"}
    command = [sys.executable, "-m", "converters.cli", str(case.model(folder)), "-o", str(folder / f"{name}.tflite")]
    done = subprocess.run(
        [*through, *command, "--json", *case.flags(folder)], capture_output=True, text=True, env=environment,
        timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    if not done.stdout.strip():
        return f"| {case.title} | {done.stderr.strip().removeprefix('edge-convert: error: ')} | | | | | | |"
    return row(case.title, json.loads(done.stdout))


def row(title: str, result: dict[str, object]) -> str:
    verdict = result["verdict"]
    outputs = ", ".join(f"{output['sqnr_db']:.1f}" for output in verdict["outputs"])
    same = "" if verdict["agreement"] is None else f"{verdict['agreement']:.1%} of {verdict['samples']}"
    bits = "" if verdict["class_entropy_bits"] is None else f"{verdict['class_entropy_bits']:.2f}"
    scored = ""
    if verdict["accuracy"] is not None:
        scored = f"{verdict['accuracy']['before']:.1%} → {verdict['accuracy']['after']:.1%} right"
    elif verdict["mean_squared_error"] is not None:
        scored = "mean squared error {:.4g} → {:.4g}".format(*verdict["mean_squared_error"])
    refused = "" if result["passed"] else f"; refused: {'; '.join(verdict['failures'])}"
    chosen = [one["recipe"] for one in result["candidates"] if one["chosen"]]
    how = f", {chosen[0]['ranges']} ranges" if chosen else ""
    route = f"{result['route'].replace(' -> float .tflite -> ', ' → ')}{how}{refused}"
    cells = [title, route, outputs, same, bits, scored, f"{result['seconds']:.0f}", f"{result['peak_mb']:.0f}"]
    return f"| {' | '.join(cells)} |"


def write(rows: dict[str, str]) -> None:
    """Replace rows by their title, in the order of the cases."""
    page = PAGE.read_text("utf-8")
    before, rest = page.split(BEGIN)
    table, after = rest.split(END)
    old = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("| ")}
    lines = [rows.get(name) or old.get(case.title, "") for name, case in CASES.items()]
    body = "\n".join(line for line in lines if line)
    PAGE.write_text(f"{before}{BEGIN}\n{HEAD}\n{body}\n{END}{after}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *CASES], default=[])
    parser.add_argument(
        "--through", nargs="*", default=[], help="a command to run each conversion with: taskset -c 0,1"
    )
    parser.add_argument("--folder", type=Path, help="where networks and results are kept")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="convert-table-"))
    folder.mkdir(exist_ok=True)
    for name in args.names or CASES:
        line = convert(name, folder, args.through)
        print(line, flush=True)
        write({name: line})


if __name__ == "__main__":
    main()
