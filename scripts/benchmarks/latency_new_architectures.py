"""Untrained networks of ten families that nobody had looked at: measured once, when the model of latency was final.

Imported only where TensorFlow is installed.
"""

import keras
from keras import layers
from latency_architectures import Build, conv, picture
from latency_fresh_architectures import pooled
from latency_unseen_architectures import Tensor, bare, separable


def in_network(side: int, widths: list[int]) -> Build:
    """A large window and then two convolutions of 1x1, again and again (Lin et al. 2013)."""

    def build() -> keras.Model:
        fed = x = picture(side)
        for width, kernel in zip(widths, (5, 5, 3), strict=True):
            x = layers.Conv2D(width, kernel, padding="same", activation="relu")(x)
            for narrow in (width * 5 // 6, width // 2):
                x = layers.Conv2D(narrow, 1, activation="relu")(x)
            x = layers.MaxPooling2D(3, 2, padding="same")(x)
        return keras.Model(fed, layers.GlobalAveragePooling2D()(layers.Conv2D(100, 1)(x)))

    return build


def matchbox(frames: int, width: int) -> Build:
    """Separable convolutions over time with a way past each three (Majumdar and Ginsburg 2020)."""

    def timed(x: Tensor, filters: int, kernel: int) -> Tensor:
        return layers.BatchNormalization()(layers.SeparableConv1D(filters, kernel, padding="same", use_bias=False)(x))

    def build() -> keras.Model:
        fed = keras.Input(batch_shape=(1, frames, 64))
        x = layers.ReLU()(timed(fed, 2 * width, 11))
        for kernel in (13, 15, 17):
            past = layers.BatchNormalization()(layers.Conv1D(width, 1, use_bias=False)(x))
            x = layers.ReLU()(timed(layers.ReLU()(timed(x, width, kernel)), width, kernel))
            x = layers.ReLU()(layers.Add()([timed(x, width, kernel), past]))
        x = layers.ReLU()(layers.Conv1D(2 * width, 29, padding="same", dilation_rate=2)(x))
        return keras.Model(fed, layers.Dense(30)(layers.GlobalAveragePooling1D()(x)))

    return build


def link_net(side: int, widths: list[int]) -> Build:
    """Residual stages down, transposed convolutions up, sums across (Chaurasia and Culurciello 2017)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = conv(fed, widths[0], 7, 2)
        kept = []
        for width in widths:
            y = bare(conv(x, width, 3, 2), width, 3)
            x = layers.ReLU()(layers.Add()([y, bare(x, width, 1, strides=2)]))
            kept.append(x)
        for lower in [*kept[-2::-1], None]:
            width = lower.shape[-1] if lower is not None else widths[0]
            y = conv(x, x.shape[-1] // 4, 1)
            y = layers.ReLU()(layers.Conv2DTranspose(y.shape[-1], 3, 2, padding="same")(y))
            x = conv(y, width, 1)
            x = x if lower is None else layers.Add()([x, lower])
        return keras.Model(fed, layers.Conv2DTranspose(8, 2, 2)(conv(x, 16)))

    return build


def fast_depth(side: int, widths: list[int]) -> Build:
    """Separable convolutions down; 5x5 ones and copied pixels up, with sums (Wofk et al. 2019)."""

    def build() -> keras.Model:
        fed = picture(side)
        x, kept = conv(fed, 16, 3, 2), []
        for width in widths:
            kept.append(x)
            x = layers.ReLU()(separable(layers.ReLU()(separable(x, width, 3, 2)), width))
        for before in reversed(kept):
            x = layers.UpSampling2D(2)(layers.ReLU()(separable(x, before.shape[-1], 5)))
            x = layers.Add()([x, before])
        return keras.Model(fed, layers.Conv2D(1, 1)(layers.UpSampling2D(2)(layers.ReLU()(separable(x, 16, 5)))))

    return build


def conv_mixer(side: int, width: int, depth: int) -> Build:
    """Patches, then depthwise 5x5 with a sum and 1x1 in turn (Trockman and Kolter 2022)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = layers.BatchNormalization()(layers.Conv2D(width, 6, 6, activation="relu")(fed))
        for _ in range(depth):
            y = layers.BatchNormalization()(layers.DepthwiseConv2D(5, padding="same", activation="relu")(x))
            x = layers.BatchNormalization()(layers.Conv2D(width, 1, activation="relu")(layers.Add()([x, y])))
        return keras.Model(fed, pooled(x))

    return build


def denoiser(side: int, width: int, depth: int) -> Build:
    """Convolutions at full size whose result is taken from the picture (Zhang et al. 2016)."""

    def build() -> keras.Model:
        fed = picture(side, 1)
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(fed)
        for _ in range(depth):
            x = conv(x, width)
        return keras.Model(fed, layers.Subtract()([fed, layers.Conv2D(1, 3, padding="same")(x)]))

    return build


def eeg_net(channels: int, samples: int) -> Build:
    """Long windows over time, one over all electrodes, separable ones (Lawhern et al. 2016)."""

    def build() -> keras.Model:
        fed = keras.Input(batch_shape=(1, channels, samples, 1))
        x = bare(fed, 8, (1, 64))
        x = layers.DepthwiseConv2D((channels, 1), depth_multiplier=2, use_bias=False)(x)
        x = layers.AveragePooling2D((1, 4))(layers.ReLU()(layers.BatchNormalization()(x)))
        x = layers.SeparableConv2D(16, (1, 16), padding="same", use_bias=False)(x)
        x = layers.AveragePooling2D((1, 8))(layers.ReLU()(layers.BatchNormalization()(x)))
        return keras.Model(fed, layers.Dense(4, "softmax")(layers.Flatten()(x)))

    return build


def heart_beats(samples: int, width: int) -> Build:
    """Residual blocks of long windows over one lead, half as many samples after each (Hannun et al. 2019)."""

    def build() -> keras.Model:
        fed = keras.Input(batch_shape=(1, samples, 1))
        x = layers.Conv1D(width, 15, padding="same", activation="relu")(fed)
        for number in range(5):
            filters = width * (1 + number // 2)
            y = layers.Conv1D(filters, 15, padding="same", activation="relu")(x)
            y = layers.MaxPooling1D(2)(layers.Conv1D(filters, 15, padding="same")(y))
            past = layers.MaxPooling1D(2)(x)
            past = past if past.shape[-1] == filters else layers.Conv1D(filters, 1)(past)
            x = layers.ReLU()(layers.Add()([y, past]))
        return keras.Model(fed, layers.Dense(4)(layers.Flatten()(x)))

    return build


def forecasts(steps: int, units: int, blocks: int) -> Build:
    """Dense blocks that each explain a part of the past, which is taken away (Oreshkin et al. 2019)."""

    def build() -> keras.Model:
        fed = past = keras.Input(batch_shape=(1, steps))
        said = []
        for _ in range(blocks):
            x = past
            for _ in range(3):
                x = layers.Dense(units, "relu")(x)
            past = layers.Subtract()([past, layers.Dense(steps)(x)])
            said.append(layers.Dense(24)(x))
        return keras.Model(fed, layers.Add()(said))

    return build


def two_paths(side: int, width: int) -> Build:
    """A flat path and a deep one, each weighed by its mean, joined (Yu et al. 2018)."""

    def weighed(x: Tensor) -> Tensor:
        gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
        return layers.Multiply()([x, layers.Conv2D(x.shape[-1], 1, activation="sigmoid")(gate)])

    def build() -> keras.Model:
        fed = picture(side)
        flat = conv(conv(conv(fed, width, 3, 2), width, 3, 2), 2 * width, 3, 2)
        x = conv(fed, width // 2, 3, 2)
        ends = []
        for filters in (width, 2 * width, 3 * width, 4 * width):
            x = layers.ReLU()(separable(layers.ReLU()(separable(x, filters, 3, 2)), filters))
            ends.append(x)
        deep = layers.UpSampling2D(2, interpolation="bilinear")(weighed(conv(ends[-1], 2 * width, 1)))
        deep = layers.Add()([deep, weighed(conv(ends[-2], 2 * width, 1))])
        deep = layers.UpSampling2D(2, interpolation="bilinear")(conv(deep, 2 * width))
        x = conv(layers.Concatenate()([flat, deep]), 2 * width, 1)
        x = layers.Conv2D(12, 1)(conv(layers.Add()([x, weighed(x)]), width))
        return keras.Model(fed, layers.UpSampling2D(4, interpolation="bilinear")(x))

    return build


NEW: dict[str, dict[str, Build]] = {
    "network in network": {"in_network_48": in_network(48, [96, 144, 192])},
    "matchboxnet": {"matchbox_100": matchbox(100, 64)},
    "linknet": {"link_128": link_net(128, [32, 64, 128])},
    "fastdepth": {"depth_160": fast_depth(160, [32, 64, 128, 256])},
    "convmixer": {"conv_mixer_96": conv_mixer(96, 160, 6)},
    "dncnn": {"denoise_64": denoiser(64, 40, 6)},
    "eegnet": {"electrodes_22": eeg_net(22, 256)},
    "heart beats": {"beats_1024": heart_beats(1024, 24)},
    "n-beats": {"forecast_120": forecasts(120, 256, 4)},
    "bisenet": {"two_paths_160": two_paths(160, 32)},
}
