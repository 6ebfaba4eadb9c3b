"""Untrained networks of ten more families, measured once, when nothing of the model of latency was changed any more.

Inception v3 is new as a network only: another of it had been measured once for an earlier model of latency. Imported
only where TensorFlow is installed.
"""

import keras
from keras import layers
from latency_architectures import Build, conv, picture
from latency_fresh_architectures import pooled
from latency_unseen_architectures import Tensor, bare, separable


def large_windows(side: int) -> Build:
    """Few layers of large windows, and dense ones (Krizhevsky et al. 2012)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = layers.MaxPooling2D(3, 2)(layers.Conv2D(48, 11, 4, padding="same", activation="relu")(fed))
        x = layers.MaxPooling2D(3, 2)(layers.Conv2D(96, 5, padding="same", activation="relu")(x))
        for width in (144, 144, 96):
            x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.Dense(512, "relu")(layers.Flatten()(layers.MaxPooling2D(3, 2)(x)))
        return keras.Model(fed, layers.Dense(100)(x))

    return build


def enlarging(side: int, width: int) -> Build:
    """Residual blocks without normalisation; channels become pixels at the end (Lim et al. 2017)."""

    def build() -> keras.Model:
        fed = picture(side)
        first = x = layers.Conv2D(width, 3, padding="same")(fed)
        for _ in range(4):
            y = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
            x = layers.Add()([x, layers.Conv2D(width, 3, padding="same")(y)])
        x = layers.Add()([first, layers.Conv2D(width, 3, padding="same")(x)])
        x = layers.UpSampling2D(2, interpolation="bilinear")(layers.Conv2D(width // 2, 3, padding="same")(x))
        return keras.Model(fed, layers.Conv2D(3, 3, padding="same")(x))

    return build


def speaker(frames: int) -> Build:
    """Dilated convolutions over time, mean and deviation of all, dense layers (Snyder et al. 2018)."""

    def build() -> keras.Model:
        fed = x = keras.Input(batch_shape=(1, frames, 30))
        for width, kernel, dilation in ((256, 5, 1), (256, 3, 2), (256, 3, 3), (256, 1, 1), (768, 1, 1)):
            x = layers.ReLU()(layers.BatchNormalization()(layers.Conv1D(width, kernel, dilation_rate=dilation)(x)))
        middle = keras.ops.mean(x, axis=1)
        spread = keras.ops.sqrt(keras.ops.mean(keras.ops.square(x - keras.ops.expand_dims(middle, 1)), axis=1) + 1e-5)
        x = layers.Dense(256, "relu")(layers.Concatenate()([middle, spread]))
        return keras.Model(fed, layers.Dense(256)(x))

    return build


def staged(side: int) -> Build:
    """Maps that later stages of 7x7 convolutions correct (Cao et al. 2016)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = conv(conv(conv(fed, 24, 3, 2), 32, 3, 2), 48)
        maps = layers.Conv2D(19, 1)(conv(x, 48))
        for _ in range(2):
            y = layers.Concatenate()([x, maps])
            for _ in range(2):
                y = conv(y, 32, 7)
            maps = layers.Conv2D(19, 1)(conv(y, 48, 1))
        return keras.Model(fed, maps)

    return build


def dual_path(side: int, widths: list[int]) -> Build:
    """Bottlenecks of which a part is added and a part joined (Chen et al. 2017)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = conv(fed, 32, 3, 2)
        for width in widths:
            added, joined = bare(x, width, strides=2), bare(x, 16, strides=2)
            x = layers.Concatenate()([x, x]) if x.shape[-1] < 32 else x
            for number in range(3):
                y = x if not number else layers.Concatenate()([added, joined])
                y = conv(conv(y, width // 2, 1), width // 2, 3, 1 if number else 2, groups=4)
                y = bare(y, width + 16)
                added = layers.ReLU()(layers.Add()([added, y[..., :width]]))
                joined = layers.Concatenate()([joined, y[..., width:]])
            x = layers.Concatenate()([added, joined])
        return keras.Model(fed, pooled(x))

    return build


def gated_rows(tokens: int, width: int) -> Build:
    """Dense layers whose halves gate each other across tokens (Liu et al. 2021)."""

    def build() -> keras.Model:
        fed = keras.Input(batch_shape=(1, tokens, 48))
        x = layers.Dense(width)(fed)
        for _ in range(3):
            y = layers.Dense(4 * width, "gelu")(layers.LayerNormalization()(x))
            left, right = y[..., : 2 * width], layers.LayerNormalization()(y[..., 2 * width :])
            right = layers.Permute((2, 1))(layers.Dense(tokens)(layers.Permute((2, 1))(right)))
            x = layers.Add()([x, layers.Dense(width)(layers.Multiply()([left, right]))])
        return keras.Model(fed, layers.Dense(20)(layers.GlobalAveragePooling1D()(x)))

    return build


def dilated_pyramid(side: int) -> Build:
    """Convolutions of several dilations side by side, summed step by step (Mehta et al. 2018)."""

    def block(x: Tensor, filters: int, stride: int) -> Tensor:
        part = filters // 4
        y = layers.Conv2D(part, 1 if stride < 2 else 3, stride, padding="same")(x)
        made = [layers.Conv2D(part, 3, padding="same", dilation_rate=2**power)(y) for power in range(4)]
        sums = [made[0]]
        for one in made[1:]:
            sums.append(layers.Add()([sums[-1], one]))
        z = layers.Concatenate()(sums)
        z = layers.Add()([x, z]) if z.shape == x.shape else z
        return layers.PReLU(shared_axes=(1, 2))(layers.BatchNormalization()(z))

    def build() -> keras.Model:
        fed = picture(side)
        x = conv(fed, 16, 3, 2)
        for filters in (64, 128):
            x = block(block(x, filters, 2), filters, 1)
        return keras.Model(fed, layers.Conv2DTranspose(12, 4, 2, padding="same")(layers.Conv2D(12, 1)(x)))

    return build


def face(side: int) -> Build:
    """Bottlenecks with PReLU, and a depthwise window over the whole picture at the end (Chen et al. 2018)."""

    def active(x: Tensor) -> Tensor:
        return layers.PReLU(shared_axes=(1, 2))(x)

    def build() -> keras.Model:
        fed = picture(side)
        x = active(bare(fed, 64, 3, strides=2))
        x = active(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)))
        for filters, stride in ((64, 2), (64, 1), (64, 1), (128, 2), (128, 1), (128, 1), (128, 2), (128, 1)):
            y = active(bare(x, 2 * x.shape[-1]))
            y = active(layers.BatchNormalization()(layers.DepthwiseConv2D(3, stride, padding="same")(y)))
            y = bare(y, filters)
            x = layers.Add()([x, y]) if y.shape == x.shape else y
        x = active(bare(x, 256))
        x = layers.DepthwiseConv2D(x.shape[1], padding="valid")(x)
        return keras.Model(fed, layers.Dense(128)(layers.Flatten()(x)))

    return build


def pooling_rows(side: int, widths: list[int]) -> Build:
    """Average pooling in place of attention, and dense layers (Yu et al. 2021)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = layers.Conv2D(widths[0], 7, 4, padding="same")(fed)
        for width in widths:
            x = x if x.shape[-1] == width else layers.Conv2D(width, 3, 2, padding="same")(x)
            for _ in range(2):
                y = layers.BatchNormalization()(x)
                y = layers.Subtract()([layers.AveragePooling2D(3, 1, padding="same")(y), y])
                x = layers.Add()([x, y])
                y = layers.Conv2D(4 * width, 1, activation="relu")(layers.BatchNormalization()(x))
                x = layers.Add()([x, layers.Conv2D(width, 1)(y)])
        return keras.Model(fed, pooled(x))

    return build


def factorised(side: int) -> Build:
    """Branches with 1x7 and 7x1 convolutions (Szegedy et al. 2015)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = conv(conv(conv(fed, 16, 3, 2), 32), 96, 3, 2)
        for _ in range(2):
            branches = [conv(x, 48, 1), conv(conv(conv(x, 48, 1), 48, (1, 7)), 64, (7, 1))]
            y = conv(conv(x, 32, 1), 32, (7, 1))
            branches.append(conv(conv(y, 48, (1, 7)), 64, (7, 1)))
            branches.append(conv(layers.AveragePooling2D(3, 1, padding="same")(x), 48, 1))
            x = layers.Concatenate()(branches)
        x = layers.Concatenate()([conv(conv(x, 64, 1), 96, 3, 2), layers.MaxPooling2D(3, 2, padding="same")(x)])
        return keras.Model(fed, pooled(layers.ReLU()(separable(x, 256))))

    return build


LAST: dict[str, dict[str, Build]] = {
    "alexnet": {"alex_160": large_windows(160)},
    "edsr": {"edsr_48": enlarging(48, 32)},
    "x-vector": {"speaker_200": speaker(200)},
    "staged pose": {"staged_128": staged(128)},
    "dual path": {"dual_path_128": dual_path(128, [64, 128, 256])},
    "gmlp": {"gated_rows_64": gated_rows(64, 96)},
    "espnet": {"pyramid_dilated_128": dilated_pyramid(128)},
    "mobilefacenet": {"face_112": face(112)},
    "poolformer": {"pooling_96": pooling_rows(96, [32, 64, 160])},
    "inception v3": {"factorised_128": factorised(128)},
}
