"""Write networks of keras.applications whose random weights give answers worth comparing.

    .venv-convert/bin/python scripts/keras_networks.py FOLDER PICTURES [NAME...]

Nothing can be downloaded here, and an untouched random network answers every picture alike. So batch normalisation gets
the statistics of real pictures (PICTURES, a folder per class) and a bias of 1, and the last layer is scaled until every
class is the best one now and then. Each is saved as NAME.keras.
"""

import argparse
import os
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"}

import keras
import numpy as np
from PIL import Image

APPLICATIONS = {
    "mobilenet_v2": lambda classes: keras.applications.MobileNetV2(weights=None, classes=classes),
    "mobilenet_v3_small": lambda classes: keras.applications.MobileNetV3Small(weights=None, classes=classes),
    "efficientnet_v2_b0": lambda classes: keras.applications.EfficientNetV2B0(weights=None, classes=classes),
}
PIXELS_TAKEN_AS_THEY_ARE = frozenset({"mobilenet_v3_small", "efficientnet_v2_b0"})
"""Their first layer normalises; MobileNetV2 wants -1..1."""
CLASSES = 100
ROUNDS, BATCH = 12, 16


def load_pictures(folder: Path, count: int, side: int = 224) -> np.ndarray:
    paths = sorted(folder.rglob("*.jpg"))
    chosen = [paths[index] for index in np.linspace(0, len(paths) - 1, count).astype(int)]
    return np.stack([np.asarray(Image.open(path).convert("RGB").resize((side, side))) for path in chosen]).astype("f4")


def settle(model: keras.Model, pictures: np.ndarray) -> None:
    """Run pictures in training mode for the statistics, then spread the last layer's answers."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.7
            # Meant to keep answers steady, and it does not: features of different pictures end nearly equal, and the
            # last layer below multiplies their small differences together with the rounding of float32.
            layer.gamma.assign(keras.ops.full_like(layer.gamma, 0.6))
            layer.beta.assign(keras.ops.ones_like(layer.beta))
    for number in range(ROUNDS):
        model(np.roll(pictures, -number * BATCH, axis=0)[:BATCH], training=True)
    last = model.layers[-1]
    while not last.get_weights():
        last = model.layers[model.layers.index(last) - 1]
    last_weights = last.get_weights()
    if isinstance(last, keras.layers.Dense):
        last.activation = keras.activations.linear
    logits = np.concatenate([np.asarray(model(pictures[n : n + BATCH])) for n in range(0, len(pictures), BATCH)])
    if not isinstance(last, keras.layers.Dense):  # MobileNetV3: a convolution, then softmax
        logits = np.log(np.maximum(logits, 1e-30))
        logits -= logits.mean(1, keepdims=True)
    scale = 2.0 / np.maximum(logits.std(0), 1e-9)
    last.set_weights([last_weights[0] * scale, (last_weights[1] - logits.mean(0)) * scale])
    if isinstance(last, keras.layers.Dense):
        last.activation = keras.activations.softmax


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("names", nargs="*", default=list(APPLICATIONS))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in args.names:
        keras.utils.set_random_seed(11)
        model = APPLICATIONS[name](CLASSES)
        pictures = load_pictures(args.pictures, ROUNDS * BATCH // 2)
        settle(model, pictures if name in PIXELS_TAKEN_AS_THEY_ARE else pictures / 127.5 - 1.0)
        model.save(args.folder / f"{name}.keras")


if __name__ == "__main__":
    main()
