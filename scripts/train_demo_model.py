#!/usr/bin/env python3
"""Trains the model of the demo and writes it, its manifest and the digits of the demo scene to edge_runtime/demo/.

Data: scikit-learn's handwritten digits, the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin,
C. Kaynak, UCI Machine Learning Repository, 1998, doi 10.24432/C50P49), licence CC BY 4.0. 30 % of it is held out: the
accuracy printed here is of drawings of held-out digits only, and the scene shows some of them.

Needs TensorFlow, which the project itself does not:

    python3.11 -m venv /tmp/tfvenv
    /tmp/tfvenv/bin/pip install tensorflow-cpu scikit-learn pillow msgspec
    /tmp/tfvenv/bin/python scripts/train_demo_model.py        # some minutes on two cores
"""

import argparse
import hashlib
import json
import math
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from edge_runtime.sources._demo_scene import glyph  # noqa: E402

SIDE = 32
LABELS = [*"0123456789", "none"]
NONE = 10
HELD_OUT = 0.3
SHOWN_PER_DIGIT = 20
EDGES = (0.24, 0.30, 0.36, 0.42, 0.48)
"""From thick strokes to thin ones; the scene draws with 0.34."""
SEED = 20261122


def draw(ink: Image.Image | None, rng: np.random.Generator) -> np.ndarray:
    """Return one training picture (32, 32) uint8: ink somewhere on paper, or paper alone.

    The frame of a camera is stretched to a square, so a digit loses up to half of its width (16:9) or, upright, of
    its height. Either ink or paper may be the darker. Drawn at twice the size and reduced with or without a filter,
    because the runtime may decode a JPEG at a fraction of its size.
    """
    large = SIDE * 2
    paper, contrast = rng.uniform(0.0, 1.0), rng.uniform(0.3, 1.0)
    tone = paper - contrast if paper > 0.5 else paper + contrast
    canvas = paper + rng.uniform(-0.12, 0.12) * np.linspace(-1, 1, large)[None, :]
    canvas = canvas + rng.uniform(-0.12, 0.12) * np.linspace(-1, 1, large)[:, None]
    if ink is None:
        canvas = clutter(canvas, rng)
    else:
        opacity = np.asarray(place(ink, large, rng), dtype=np.float64) / 255.0
        canvas = canvas * (1.0 - opacity) + np.clip(tone, 0.0, 1.0) * opacity
    small = canvas[::2, ::2] if rng.random() < 0.3 else canvas.reshape(SIDE, 2, SIDE, 2).mean(axis=(1, 3))
    small = small + rng.normal(0.0, rng.uniform(0.0, 0.06), small.shape)
    return np.rint(np.clip(small, 0.0, 1.0) * 255.0).astype(np.uint8)


def place(ink: Image.Image, large: int, rng: np.random.Generator) -> Image.Image:
    """Return a glyph scaled, squeezed, tilted and moved on a square of ``large`` pixels."""
    height = rng.uniform(0.4, 0.98) * large
    width = height * math.exp(rng.uniform(math.log(0.5), math.log(1.3)))
    if width > large:
        width, height = large, height * large / width
    x = rng.uniform(width / 2, large - width / 2)
    y = rng.uniform(height / 2, large - height / 2)
    tilt = math.radians(rng.normal(0.0, 7.0))
    # The glyph has one cell of paper around its eight.
    across, down = ink.width / (width * 1.25), ink.height / (height * 1.25)
    cosine, sine, shear = math.cos(tilt), math.sin(tilt), rng.normal(0.0, 0.08)
    a, b = cosine * across, (sine + shear) * across
    d, e = -sine * down, cosine * down
    matrix = (a, b, ink.width / 2 - a * x - b * y, d, e, ink.height / 2 - d * x - e * y)
    reduced = ink.resize((ink.width // 2, ink.height // 2), Image.Resampling.BOX)
    halved = (a / 2, b / 2, matrix[2] / 2, d / 2, e / 2, matrix[5] / 2)
    return reduced.transform((large, large), Image.Transform.AFFINE, halved, resample=Image.Resampling.BILINEAR)


def clutter(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return paper with nothing, an edge, some blots or the rim of something on it: what is no digit."""
    kind = rng.integers(4)
    if kind == 0:
        return canvas
    side = canvas.shape[0]
    mask = Image.new("L", (side, side))
    pen = ImageDraw.Draw(mask)
    for _ in range(rng.integers(1, 4)):
        corners = [tuple(point) for point in rng.uniform(-0.3, 1.3, (4, 2)) * side]
        if kind == 1:
            pen.polygon(corners, fill=255)
        elif kind == 2:
            x, y, radius = *rng.uniform(0, side, 2), rng.uniform(1, 6)
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        else:
            # A line from border to border; within the frame it could be a one.
            start, end = rng.uniform(-0.2, 1.2, 2) * side
            ends = [(-2, start), (side + 2, end)] if rng.random() < 0.5 else [(start, -2), (end, side + 2)]
            pen.line(ends, fill=255, width=int(rng.integers(1, 10)))
    opacity = np.asarray(mask, dtype=np.float64) / 255.0 * rng.uniform(0.2, 1.0)
    return canvas * (1.0 - opacity) + rng.uniform(0.0, 1.0) * opacity


def pictures(digits: np.ndarray, labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ``count`` drawings (count, 32, 32, 1) uint8 with their classes; one in twelve shows no digit."""
    rng = np.random.default_rng(seed)
    glyphs = [[glyph(cells, edge=edge) for edge in EDGES] for cells in digits]
    which, stroke = rng.integers(len(glyphs), size=count), rng.integers(len(EDGES), size=count)
    empty = rng.random(count) < 1 / 12
    inks = [None if none else glyphs[i][j] for i, j, none in zip(which, stroke, empty, strict=True)]
    drawn = np.stack([draw(ink, rng) for ink in inks])
    return drawn[..., None], np.where(empty, NONE, labels[which])


def split() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return (images, labels) for training and held out, the same share of every digit."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = data.images.astype(np.uint8)
    parts = train_test_split(images, data.target, test_size=HELD_OUT, stratify=data.target, random_state=SEED)
    return (parts[0], parts[2]), (parts[1], parts[3])


def train(training: tuple[np.ndarray, np.ndarray], count: int, epochs: int) -> "object":
    """Return a Keras network of about 24,000 parameters with a softmax at its end."""
    import tensorflow as tf

    tf.keras.utils.set_random_seed(SEED)
    layers = tf.keras.layers

    def block(filters: int, strides: int) -> list:
        return [
            layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
        ]

    network = tf.keras.Sequential(
        [
            layers.Input((SIDE, SIDE, 1)),
            *block(16, 2),
            *block(24, 1),
            *block(32, 2),
            *block(48, 2),
            layers.Flatten(),
            layers.Dropout(0.25),
            layers.Dense(len(LABELS), activation="softmax"),
        ]
    )
    steps = count // 128 * epochs
    network.compile(
        tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(2e-3, steps)),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    drawn, classes = pictures(*training, count, SEED)
    network.fit(drawn / np.float32(255.0), classes, batch_size=128, epochs=epochs, verbose=2)
    return network


def convert(network: "object", calibration: np.ndarray) -> bytes:
    """Return the network as int8 with uint8 input (pixels as they are) and uint8 output (256ths)."""
    import tensorflow as tf

    fixed = tf.keras.models.clone_model(
        network, input_tensors=tf.keras.Input(batch_shape=(1, SIDE, SIDE, 1), name="digit")
    )
    fixed.set_weights(network.get_weights())
    converter = tf.lite.TFLiteConverter.from_keras_model(fixed)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([picture[None] / np.float32(255.0)] for picture in calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    return bytes(converter.convert())


def int8_accuracy(model: bytes, drawn: np.ndarray, classes: np.ndarray) -> float:
    """Return the share of drawings that the converted model gets right."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=model)
    interpreter.allocate_tensors()
    given, taken = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    right = 0
    for picture, label in zip(drawn, classes, strict=True):
        interpreter.set_tensor(given, picture[None])
        interpreter.invoke()
        right += int(interpreter.get_tensor(taken).argmax()) == label
    return right / len(classes)


def manifest(model: bytes, accuracy: dict[str, object], calibration_count: int) -> dict[str, object]:
    """Return what the runtime and a reader want to know of the model."""
    import sklearn
    import tensorflow as tf

    return {
        "schema": 1,
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "name": "digits",
        "version": "1",
        "task": "classify",
        "labels": LABELS,
        "input": {
            "size": [SIDE, SIDE],
            "layout": "NHWC",
            "color": "GRAY",
            "mean": [0.0],
            "std": [255.0],
            "resize": "stretch",
        },
        "output": {"score_activation": "none"},
        "accuracy": accuracy,
        "provenance": {
            "script": "scripts/train_demo_model.py",
            "data": "scikit-learn digits: Optical Recognition of Handwritten Digits, UCI, doi 10.24432/C50P49",
            "data_licence": "CC BY 4.0",
            "model_licence": "Apache-2.0",
            "tools": {"tensorflow": tf.__version__, "scikit-learn": sklearn.__version__},
            "date": datetime.now(UTC).date().isoformat(),
            "quantization": "int8 per channel, uint8 input and output",
            "calibration_set_size": calibration_count,
        },
    }


def main() -> None:
    options = argparse.ArgumentParser(description="train the demo's digit classifier")
    options.add_argument("--output", type=Path, default=ROOT / "edge_runtime" / "demo")
    options.add_argument("--count", type=int, default=60_000, help="drawings to train on")
    options.add_argument("--epochs", type=int, default=12)
    arguments = options.parse_args()
    training, held_out = split()
    network = train(training, arguments.count, arguments.epochs)
    calibration, _ = pictures(*training, 500, SEED + 1)
    model = convert(network, calibration)
    drawn, classes = pictures(*held_out, 6_000, SEED + 2)
    predicted = network.predict(drawn / np.float32(255.0), batch_size=256, verbose=0).argmax(axis=1)
    accuracy = {
        "metric": "top-1 on 6000 drawings of held-out digits",
        "float": round(float((predicted == classes).mean()), 4),
        "int8": round(int8_accuracy(model, drawn, classes), 4),
    }
    print(f"{len(model)} bytes; {accuracy['metric']}: float {accuracy['float']}, int8 {accuracy['int8']}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "digits.tflite").write_bytes(model)
    facts = json.dumps(manifest(model, accuracy, len(calibration)), indent=2)
    (arguments.output / "digits.manifest.json").write_text(facts + "\n")
    images, labels = held_out
    shown = np.concatenate([np.flatnonzero(labels == digit)[:SHOWN_PER_DIGIT] for digit in range(10)])
    np.savez_compressed(arguments.output / "digits.npz", images=images[shown], labels=labels[shown].astype(np.uint8))


if __name__ == "__main__":
    main()
