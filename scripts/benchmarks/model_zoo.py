"""Build models of many families with random weights, for what is checked against predictions: memory, counts, advice.

    .venv-convert/bin/python scripts/benchmarks/model_zoo.py FOLDER [NAME...]      (no name: all that are not there yet)

``NAME`` is ``family`` or ``family.scheme``; the files are ``family.scheme.tflite``. Schemes: ``float``, ``int8``
(integers in and out, calibrated with random values) and ``dynamic``. Each is converted in a process of its own.
Needs the extra ``[convert]``.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCHEMES = ("float", "int8", "dynamic")
TIMEOUT_S = 600


def _application(name: str, size: int, **options: Any) -> Callable[[], Any]:
    def build() -> Any:
        import keras

        return getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), **options)

    return build


def _chain(shape: tuple[int, ...], *layers: Callable[[Any], Any]) -> Callable[[], Any]:
    """Return what builds a plain chain; each layer is given as a function of Keras' layers."""

    def build() -> Any:
        import keras

        return keras.Sequential([keras.Input(shape), *(layer(keras.layers) for layer in layers)])

    return build


def _plain3x3() -> Any:
    import keras
    from keras import layers

    fed = now = keras.Input((128, 128, 3))
    for width in (32, 64, 96, 128):
        now = layers.Conv2D(width, 3, padding="same", activation="relu")(now)
        now = layers.Conv2D(width, 3, padding="same", activation="relu")(now)
        now = layers.MaxPooling2D()(now)
    return keras.Model(fed, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(now)))


def _unet(*, transposed: bool) -> Callable[[], Any]:
    def build() -> Any:
        import keras
        from keras import layers

        fed = now = keras.Input((128, 128, 3))
        skips = []
        for width in (16, 32, 64):
            now = layers.Conv2D(width, 3, padding="same", activation="relu")(now)
            skips.append(now)
            now = layers.MaxPooling2D()(now)
        now = layers.Conv2D(128, 3, padding="same", activation="relu")(now)
        for width in (64, 32, 16):
            if transposed:
                now = layers.Conv2DTranspose(width, 2, strides=2, padding="same")(now)
            else:
                now = layers.UpSampling2D(interpolation="bilinear")(now)
            now = layers.Concatenate()([now, skips.pop()])
            now = layers.Conv2D(width, 3, padding="same", activation="relu")(now)
        return keras.Model(fed, layers.Conv2D(5, 1, activation="softmax")(now))

    return build


def _ssd() -> Any:
    """Two heads on four scales of MobileNetV2, concatenated as SSD has them."""
    import keras
    from keras import layers

    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(192, 192, 3), alpha=0.5)
    scales = [base.get_layer(name).output for name in ("block_13_expand_relu", "out_relu")]
    for width in (128, 96):
        reduced = layers.Conv2D(width // 2, 1, activation="relu6")(scales[-1])
        scales.append(layers.Conv2D(width, 3, strides=2, padding="same", activation="relu6")(reduced))
    boxes, classes = [], []
    for scale in scales:
        for size, found in ((4, boxes), (21, classes)):
            head = layers.DepthwiseConv2D(3, padding="same", activation="relu6")(scale)
            head = layers.Conv2D(6 * size, 1)(head)
            found.append(layers.Reshape((-1, size))(head))
    scores = layers.Activation("sigmoid")(layers.Concatenate(axis=1)(classes))
    return keras.Model(base.input, [layers.Concatenate(axis=1)(boxes), scores])


def _transformer() -> Any:
    import keras
    from keras import layers

    fed = keras.Input((64, 32))
    now = layers.Dense(96)(fed)
    for _ in range(2):
        seen = layers.LayerNormalization()(now)
        now = layers.Add()([now, layers.MultiHeadAttention(num_heads=4, key_dim=24)(seen, seen)])
        seen = layers.LayerNormalization()(now)
        now = layers.Add()([now, layers.Dense(96)(layers.Dense(192, activation="gelu")(seen))])
    return keras.Model(fed, layers.Dense(8, activation="softmax")(layers.GlobalAveragePooling1D()(now)))


def _aspp() -> Any:
    """Parallel dilated convolutions over a stem, as DeepLab has them."""
    import keras
    from keras import layers

    fed = keras.Input((160, 160, 3))
    now = layers.Conv2D(24, 3, strides=2, padding="same", activation="relu")(fed)
    now = layers.SeparableConv2D(48, 3, strides=2, padding="same", activation="relu")(now)
    branches = [layers.Conv2D(32, 1, activation="relu")(now)]
    branches += [layers.Conv2D(32, 3, dilation_rate=rate, padding="same", activation="relu")(now) for rate in (2, 4, 6)]
    now = layers.Conv2D(21, 1)(layers.Concatenate()(branches))
    return keras.Model(fed, layers.UpSampling2D(4, interpolation="bilinear")(now))


def _grouped() -> Any:
    import keras
    from keras import layers

    fed = now = keras.Input((64, 64, 16))
    for width in (64, 128, 128):
        now = layers.Conv2D(width, 3, groups=4, strides=2, padding="same", activation="relu")(now)
    return keras.Model(fed, layers.Dense(10)(layers.Flatten()(now)))


def _residual() -> Any:
    """Pre-activation residual network with batch normalisation that cannot be folded, and hard swish."""
    import keras
    from keras import layers

    fed = keras.Input((96, 96, 3))
    now = layers.Conv2D(32, 5, strides=2, padding="same")(fed)
    for width in (32, 64, 128):
        short = layers.Conv2D(width, 1, strides=2)(now)
        now = layers.Activation("hard_swish")(layers.BatchNormalization()(now))
        now = layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(now)
        now = layers.Add()([layers.Conv2D(width, 3, padding="same")(now), short])
    return keras.Model(fed, layers.Dense(100)(layers.GlobalMaxPooling2D()(now)))


FAMILIES: dict[str, Callable[[], Any]] = {
    "mobilenet_v1_0.5_160": _application("MobileNet", 160, alpha=0.5),
    "mobilenet_v1_0.75_128": _application("MobileNet", 128, alpha=0.75),
    "mobilenet_v2_1.0_160": _application("MobileNetV2", 160),
    "mobilenet_v2_1.0_224": _application("MobileNetV2", 224),
    "mobilenet_v2_0.35_96": _application("MobileNetV2", 96, alpha=0.35),
    "mobilenet_v3_small": _application("MobileNetV3Small", 224),
    "mobilenet_v3_large": _application("MobileNetV3Large", 224),
    "efficientnet_b0": _application("EfficientNetB0", 224),
    "efficientnet_v2_b0": _application("EfficientNetV2B0", 192),
    "resnet50": _application("ResNet50", 224),
    "densenet121": _application("DenseNet121", 160),
    "inception_v3": _application("InceptionV3", 224),
    "nasnet_mobile": _application("NASNetMobile", 224),
    "plain3x3": _plain3x3,
    "residual": _residual,
    "grouped": _grouped,
    "unet_transposed": _unet(transposed=True),
    "unet_bilinear": _unet(transposed=False),
    "aspp": _aspp,
    "ssd": _ssd,
    "transformer": _transformer,
    "conv1d": _chain(
        (1024, 6),
        lambda of: of.Conv1D(32, 9, strides=2, activation="relu", padding="same"),
        lambda of: of.SeparableConv1D(64, 9, strides=2, activation="relu", padding="same"),
        lambda of: of.Conv1D(64, 5, dilation_rate=2, activation="relu", padding="same"),
        lambda of: of.MaxPooling1D(4),
        lambda of: of.Flatten(),
        lambda of: of.Dense(6, activation="softmax"),
    ),
    "dense": _chain(
        (640,),
        lambda of: of.Dense(1024, activation="relu"),
        lambda of: of.Dense(512, activation="relu"),
        lambda of: of.Dense(512, activation="sigmoid"),
        lambda of: of.Dense(640),
    ),
    "lstm": _chain((64, 16), lambda of: of.LSTM(64), lambda of: of.Dense(8)),
    "lstm_unrolled": _chain((24, 16), lambda of: of.LSTM(48, unroll=True), lambda of: of.Dense(8)),
    "gru": _chain((64, 16), lambda of: of.GRU(64), lambda of: of.Dense(8)),
    "gru_unrolled": _chain((24, 16), lambda of: of.GRU(48, unroll=True), lambda of: of.Dense(8)),
}
LEFT_OUT = {
    "lstm.int8",  # the converter crashes on the loop
    "gru.int8",
    "mobilenet_v2_1.0_224.dynamic",
    "densenet121.dynamic",
    "inception_v3.float",
    "inception_v3.dynamic",
    "nasnet_mobile.float",
    "nasnet_mobile.dynamic",
    "resnet50.float",
    "efficientnet_v2_b0.dynamic",
    "residual.dynamic",
    "grouped.dynamic",
    "aspp.dynamic",
    "ssd.dynamic",
}
"""Impossible, or of no new kind for its time."""


def names() -> list[str]:
    """Return every model that is built."""
    every = [f"{family}.{scheme}" for family in FAMILIES for scheme in SCHEMES]
    return [name for name in every if name not in LEFT_OUT]


def build(name: str, folder: Path) -> None:
    """Convert one model in this process."""
    import numpy as np
    import tensorflow as tf

    family, _, scheme = name.rpartition(".")
    model = _single(FAMILIES[family]())
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if scheme != "float":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme == "int8":
        chance = np.random.default_rng(1)
        shape = model.inputs[0].shape
        samples = [chance.uniform(-1, 1, shape).astype("float32") for _ in range(2)]
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    part = folder / f"{name}.part"
    part.write_bytes(converter.convert())
    part.rename(folder / f"{name}.tflite")


def _single(model: Any) -> Any:
    """Return the model with a batch of 1: an open one leaves operators that compute shapes."""
    import keras

    fed = keras.Input(batch_shape=(1, *model.inputs[0].shape[1:]))
    return keras.Model(fed, model(fed))


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 2
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    if sys.argv[2:3] == ["--one"]:
        build(sys.argv[3], folder)
        return 0
    wanted = [name for name in names() if not sys.argv[2:] or {name, name.rpartition(".")[0]} & {*sys.argv[2:]}]
    failed = []
    for name in wanted:
        if (folder / f"{name}.tflite").exists():
            continue
        command = [sys.executable, __file__, str(folder), "--one", name]
        quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"}
        ran = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if ran.returncode:
            failed.append(name)
            print(f"{name}: {(ran.stderr.strip().splitlines() or ['ended by a signal'])[-1]}", file=sys.stderr)
        else:
            print(name, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
