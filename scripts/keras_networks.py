"""Write networks of keras.applications with random weights and a last layer that was fitted to pictures.

    .venv-convert/bin/python scripts/keras_networks.py FOLDER PICTURES [NAME...]

Nothing can be downloaded here, and an untouched random network answers every picture alike. So batch normalisation gets
the statistics of pictures (PICTURES, a folder per class), and the last layer is a ridge regression from what the random
layers make of them to their classes. Random layers must be able to tell the classes: of drawn scenes
(``drawn_scenes.py``) they can, of CIFAR they hardly can, and near ties are then all that is left to compare. Each is
saved as NAME.keras.
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
    "mobilenet_v3_small": lambda classes: keras.applications.MobileNetV3Small(
        input_shape=(224, 224, 3), weights=None, classes=classes
    ),
    "efficientnet_v2_b0": lambda classes: keras.applications.EfficientNetV2B0(weights=None, classes=classes),
}
PIXELS_TAKEN_AS_THEY_ARE = frozenset({"mobilenet_v3_small", "efficientnet_v2_b0"})
"""Their first layer normalises; MobileNetV2 wants -1..1."""
ROUNDS, BATCH = 12, 16
FITTED = 320
"""Pictures to which the last layer is fitted."""
RIDGE = 0.01
"""Of the whole variance."""
MARGIN = 8.0
"""How far the best class is ahead of the second before softmax, in the median, as in a network that knows its task."""


def load_pictures(folder: Path, side: int = 224) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures (n, side, side, 3) in 0..255, all classes alike, and their classes as one-hot rows."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    files = [sorted(path for path in one.iterdir() if path.suffix in {".jpg", ".png"}) for one in classes]
    paths = [path for group in zip(*files, strict=False) for path in group]
    paths = paths[:FITTED]
    pictures = [np.asarray(Image.open(path).convert("RGB").resize((side, side)), np.float32) for path in paths]
    return np.stack(pictures), np.eye(len(classes), dtype=np.float32)[np.arange(len(paths)) % len(classes)]


def settle(model: keras.Model, pictures: np.ndarray, classes: np.ndarray) -> None:
    """Run pictures in training mode for the statistics, then fit the last layer with weights."""
    normalizations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for number in range(ROUNDS):
        for layer in normalizations:
            layer.momentum = number / (number + 1)  # the mean of all rounds, and nothing of where it began
        model(np.roll(pictures, -number * BATCH, axis=0)[:BATCH], training=True)
    last = next(layer for layer in reversed(model.layers) if layer.get_weights())
    inner = keras.Model(model.input, last.input)
    parts = [np.asarray(inner(pictures[n : n + BATCH])) for n in range(0, len(pictures), BATCH)]
    features = np.concatenate(parts).reshape(len(pictures), -1).astype(np.float64)
    mean = features.mean(0)
    kernel = (features - mean) @ (features - mean).T
    wanted = classes - classes.mean(0)
    fitted = (features - mean).T @ np.linalg.solve(kernel + RIDGE * np.trace(kernel) * np.eye(len(kernel)), wanted)
    best = np.sort((features - mean) @ fitted, axis=1)
    fitted *= MARGIN / np.median(best[:, -1] - best[:, -2])
    weights, bias = last.get_weights()
    last.set_weights([fitted.reshape(weights.shape), (-mean @ fitted).reshape(bias.shape)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("names", nargs="*", default=list(APPLICATIONS))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in args.names:
        keras.utils.set_random_seed(11)
        pictures, classes = load_pictures(args.pictures)
        model = APPLICATIONS[name](classes.shape[1])
        settle(model, pictures if name in PIXELS_TAKEN_AS_THEY_ARE else pictures / 127.5 - 1.0, classes)
        model.save(args.folder / f"{name}.keras")


if __name__ == "__main__":
    main()
