"""Untrained networks of ten more families that nobody had looked at: measured once, when calibration was final again.

Imported only where TensorFlow is installed.
"""

import keras
from keras import layers, ops
from latency_architectures import Build, conv, picture
from latency_fresh_architectures import pooled
from latency_unseen_architectures import Tensor, bare, separable


def one_shot(side: int, widths: list[int]) -> Build:
    """Convolutions in a row, joined once at their end (VoVNet, Lee et al. 2019)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = conv(conv(fed, 32, 3, 2), 48)
        for width in widths:
            first = layers.MaxPooling2D(3, 2, padding="same")(x)
            second = conv(first, width)
            third = conv(second, width)
            x = conv(layers.Concatenate()([first, second, third, conv(third, width)]), 2 * width, 1)
        return keras.Model(fed, pooled(x))

    return build


def wide_residual(side: int, widths: list[int]) -> Build:
    """Normalised first, few and wide (Zagoruyko and Komodakis 2016)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = layers.Conv2D(16, 3, padding="same")(fed)
        for number, width in enumerate(widths):
            stride = 2 if number else 1
            y = layers.ReLU()(layers.BatchNormalization()(x))
            z = layers.Conv2D(width, 3, stride, padding="same")(y)
            z = layers.ReLU()(layers.BatchNormalization()(z))
            x = layers.Add()([layers.Conv2D(width, 3, padding="same")(z), layers.Conv2D(width, 1, stride)(y)])
        return keras.Model(fed, pooled(layers.ReLU()(layers.BatchNormalization()(x))))

    return build


def windowed(side: int, width: int, depth: int) -> Build:
    """Attention within windows of 7 by 7 (Swin, Liu et al. 2021), one head."""

    def build() -> keras.Model:
        fed = picture(side)
        x = layers.Conv2D(width, 4, 4)(fed)
        cells = side // 28
        for _ in range(depth):
            y = layers.LayerNormalization()(x)
            y = ops.transpose(ops.reshape(y, (cells, 7, cells, 7, width)), (0, 2, 1, 3, 4))
            y = ops.reshape(y, (cells * cells, 49, width))
            keys, values = layers.Dense(width)(y), layers.Dense(width)(y)
            alike = ops.softmax(ops.matmul(layers.Dense(width)(y), ops.transpose(keys, (0, 2, 1))) / width**0.5)
            y = ops.reshape(layers.Dense(width)(ops.matmul(alike, values)), (cells, cells, 7, 7, width))
            x = layers.Add()([x, ops.reshape(ops.transpose(y, (0, 2, 1, 3, 4)), (1, 7 * cells, 7 * cells, width))])
            y = layers.Dense(4 * width, activation="relu")(layers.LayerNormalization()(x))
            x = layers.Add()([x, layers.Dense(width)(y)])
        return keras.Model(fed, pooled(x))

    return build


def gated_u_net(side: int, width: int) -> Build:
    """A U whose ways across are weighed by what comes from below (Oktay et al. 2018)."""

    def build() -> keras.Model:
        fed = x = picture(side)
        kept = []
        for level in range(3):
            x = conv(conv(x, width << level), width << level)
            kept.append(x)
            x = layers.MaxPooling2D(2)(x)
        x = conv(x, width << 3)
        for before in reversed(kept):
            x = layers.UpSampling2D(2)(conv(x, before.shape[-1], 1))
            both = layers.Add()([layers.Conv2D(width, 1)(x), layers.Conv2D(width, 1)(before)])
            gate = layers.Conv2D(1, 1, activation="sigmoid")(layers.ReLU()(both))
            x = conv(layers.Concatenate()([x, layers.Multiply()([before, gate])]), before.shape[-1])
        return keras.Model(fed, layers.Conv2D(1, 1, activation="sigmoid")(x))

    return build


def dense_two_ways(side: int, growth: int) -> Build:
    """Dense blocks of two branches each (PeleeNet, Wang et al. 2018)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = conv(fed, 32, 3, 2)
        x = conv(layers.Concatenate()([layers.MaxPooling2D(2)(x), conv(conv(x, 16, 1), 32, 3, 2)]), 32, 1)
        for blocks in (3, 4, 5):
            for _ in range(blocks):
                left = conv(conv(x, 2 * growth, 1), growth)
                right = conv(conv(conv(x, growth, 1), growth), growth)
                x = layers.Concatenate()([x, left, right])
            x = layers.AveragePooling2D(2)(conv(x, x.shape[-1], 1))
        return keras.Model(fed, pooled(x))

    return build


def repeated_windows(side: int, widths: list[int]) -> Build:
    """3x3 after 3x3, as a RepVGG is deployed (Ding et al. 2021)."""

    def build() -> keras.Model:
        fed = x = picture(side)
        for width, depth in zip(widths, (1, 2, 4, 1), strict=True):
            for number in range(depth):
                x = layers.Conv2D(width, 3, 1 if number else 2, padding="same", activation="relu")(x)
        return keras.Model(fed, pooled(x))

    return build


def searched(side: int, widths: list[int]) -> Build:
    """Inverted blocks with windows of 3 and 5 and gates in some (MnasNet, Tan et al. 2019)."""

    def block(x: Tensor, width: int, kernel: int, stride: int, *, gated: bool) -> Tensor:
        y = conv(x, 3 * x.shape[-1], 1)
        y = layers.ReLU()(layers.BatchNormalization()(layers.DepthwiseConv2D(kernel, stride, padding="same")(y)))
        if gated:
            gate = layers.Conv2D(8, 1, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(y))
            y = layers.Multiply()([y, layers.Conv2D(y.shape[-1], 1, activation="sigmoid")(gate)])
        y = bare(y, width)
        return layers.Add()([x, y]) if x.shape == y.shape else y

    def build() -> keras.Model:
        fed = picture(side)
        x = separable(conv(fed, 24, 3, 2), 16)
        for number, width in enumerate(widths):
            for depth in range(2):
                x = block(x, width, 5 if number % 2 else 3, 1 if depth else 2, gated=number % 2 == 1)
        return keras.Model(fed, pooled(conv(x, 320, 1)))

    return build


def seg_net(side: int, widths: list[int]) -> Build:
    """Pooled down and repeated up, with convolutions on both ways (Badrinarayanan et al. 2017)."""

    def build() -> keras.Model:
        fed = x = picture(side)
        for width in widths:
            x = layers.MaxPooling2D(2)(conv(conv(x, width), width))
        for width in reversed(widths):
            x = conv(conv(layers.UpSampling2D(2)(x), width), width)
        return keras.Model(fed, layers.Conv2D(6, 1)(x))

    return build


def wide_and_deep(columns: int, units: int) -> Build:
    """A product of all columns beside dense layers (Cheng et al. 2016; crossed as by Wang et al. 2017)."""

    def build() -> keras.Model:
        fed = x = y = keras.Input(batch_shape=(1, columns))
        for _ in range(3):
            x = layers.Add()([layers.Multiply()([fed, layers.Dense(columns)(x)]), x])
        for width in (units, units // 2, units // 4):
            y = layers.Dense(width, activation="relu")(y)
        return keras.Model(fed, layers.Dense(1, activation="sigmoid")(layers.Concatenate()([x, y])))

    return build


def tagger(steps: int, units: int) -> Build:
    """A recurrent layer as a loop, and dense layers on its end."""

    def build() -> keras.Model:
        fed = keras.Input(batch_shape=(1, steps, 32))
        x = layers.LSTM(units)(layers.Conv1D(64, 3, padding="same", activation="relu")(fed))
        return keras.Model(fed, layers.Dense(40)(layers.Dense(units, activation="relu")(x)))

    return build


RECENT: dict[str, dict[str, Build]] = {
    "vovnet": {"one_shot_128": one_shot(128, [48, 64, 80])},
    "wide resnet": {"wide_residual_48": wide_residual(48, [64, 128, 192])},
    "swin": {"windowed_112": windowed(112, 96, 3)},
    "attention u-net": {"gated_u_96": gated_u_net(96, 16)},
    "peleenet": {"dense_two_ways_128": dense_two_ways(128, 16)},
    "repvgg": {"repeated_windows_128": repeated_windows(128, [48, 64, 128, 256])},
    "mnasnet": {"searched_160": searched(160, [24, 40, 80, 160])},
    "segnet": {"seg_96": seg_net(96, [24, 48, 96])},
    "wide and deep": {"wide_and_deep_200": wide_and_deep(200, 512)},
    "lstm as a loop": {"tagger_80": tagger(80, 96)},
}
