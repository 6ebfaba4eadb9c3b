"""Untrained networks for measuring how well latency is predicted: a design set to look at, a blind set to judge by.

``DESIGN`` may be looked at while the model of latency is made. ``BLIND_SEEN`` are other members of families of the
design set; ``BLIND_NEW`` are families that appear in neither the design set nor the calibration. Imported only where
TensorFlow is installed.
"""

from collections.abc import Callable

import keras
from keras import layers

Build = Callable[[], keras.Model]


def picture(side: int, channels: int = 3) -> keras.KerasTensor:
    return keras.Input(batch_shape=(1, side, side, channels))


def application(name: str, side: int, **options: object) -> Build:
    """A network of keras.applications without its weights."""
    return lambda: getattr(keras.applications, name)(input_tensor=picture(side), weights=None, **options)


def conv(x: keras.KerasTensor, filters: int, kernel: int = 3, stride: int = 1, **options: object) -> keras.KerasTensor:
    x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, **options)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def plain(side: int, widths: list[int], kernel: int = 3) -> Build:
    """Convolutions with a stride of two each, and a classifier."""

    def build() -> keras.Model:
        fed = x = picture(side)
        for width in widths:
            x = conv(conv(x, width, kernel, 2), width, kernel)
        return keras.Model(fed, layers.Dense(10, "softmax")(layers.GlobalAveragePooling2D()(x)))

    return build


def residual(side: int, blocks: list[int], width: int, *, stem: int = 3) -> Build:
    """ResNet with basic blocks (He et al. 2015)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = conv(fed, width, stem, 2 if stem > 3 else 1)
        for stage, count in enumerate(blocks):
            for number in range(count):
                stride = 2 if stage and not number else 1
                filters = width * 2**stage
                y = conv(x, filters, 3, stride)
                y = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(y))
                if x.shape[-1] != filters or stride > 1:
                    x = layers.BatchNormalization()(layers.Conv2D(filters, 1, stride, use_bias=False)(x))
                x = layers.ReLU()(layers.Add()([x, y]))
        return keras.Model(fed, layers.Dense(100, "softmax")(layers.GlobalAveragePooling2D()(x)))

    return build


def stack(inputs: int, widths: list[int]) -> Build:
    """Dense layers."""

    def build() -> keras.Model:
        fed = x = keras.Input(batch_shape=(1, inputs))
        for width in widths:
            x = layers.Dense(width, "relu")(x)
        return keras.Model(fed, layers.Dense(inputs)(x))

    return build


def sequence(length: int, channels: int, widths: list[int], kernel: int) -> Build:
    """1-D convolutions over a window of a sensor."""

    def build() -> keras.Model:
        fed = x = keras.Input(batch_shape=(1, length, channels))
        for width in widths:
            x = layers.Conv1D(width, kernel, padding="same", activation="relu")(x)
            x = layers.MaxPooling1D(2)(x)
        return keras.Model(fed, layers.Dense(6, "softmax")(layers.GlobalAveragePooling1D()(x)))

    return build


def dilated(length: int, channels: int, width: int, depth: int) -> Build:
    """A temporal convolutional network: residual blocks of dilated causal 1-D convolutions."""

    def build() -> keras.Model:
        fed = keras.Input(batch_shape=(1, length, channels))
        x = layers.Conv1D(width, 1)(fed)
        for level in range(depth):
            y = layers.Conv1D(width, 3, padding="causal", dilation_rate=2**level, activation="relu")(x)
            x = layers.Add()([x, layers.Conv1D(width, 1)(y)])
        return keras.Model(fed, layers.Dense(4)(layers.GlobalAveragePooling1D()(x)))

    return build


def separable_keywords(frames: int, bands: int, width: int, depth: int) -> Build:
    """DS-CNN for keyword spotting (Zhang et al. 2017)."""

    def build() -> keras.Model:
        fed = keras.Input(batch_shape=(1, frames, bands, 1))
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(width, (10, 4), 2, padding="same")(fed)))
        for _ in range(depth):
            x = layers.ReLU()(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x)))
            x = conv(x, width, 1)
        return keras.Model(fed, layers.Dense(12, "softmax")(layers.GlobalAveragePooling2D()(x)))

    return build


def u_net(side: int, width: int, depth: int) -> Build:
    """Segmentation with transposed convolutions and concatenations (Ronneberger et al. 2015)."""

    def build() -> keras.Model:
        fed = x = picture(side)
        kept = []
        for level in range(depth):
            x = conv(conv(x, width * 2**level), width * 2**level)
            kept.append(x)
            x = layers.MaxPooling2D()(x)
        x = conv(x, width * 2**depth)
        for level in reversed(range(depth)):
            x = layers.Conv2DTranspose(width * 2**level, 2, 2, padding="same")(x)
            x = conv(layers.Concatenate()([x, kept[level]]), width * 2**level)
        return keras.Model(fed, layers.Conv2D(4, 1)(x))

    return build


def upsampled_segmentation(side: int) -> Build:
    """MobileNetV2 features, a dilated head, resized back (as DeepLabV3+ does)."""

    def build() -> keras.Model:
        fed = picture(side)
        body = keras.applications.MobileNetV2(input_tensor=fed, weights=None, alpha=0.35, include_top=False)
        low, x = body.get_layer("block_3_expand_relu").output, body.get_layer("block_12_add").output
        x = layers.Concatenate()([conv(x, 64, 1), conv(x, 64, 3, dilation_rate=6), conv(x, 64, 3, dilation_rate=12)])
        x = layers.UpSampling2D(4, interpolation="bilinear")(conv(x, 64, 1))
        x = conv(layers.Concatenate()([x, conv(low, 24, 1)]), 64)
        return keras.Model(fed, layers.UpSampling2D(4, interpolation="bilinear")(layers.Conv2D(5, 1)(x)))

    return build


def single_shot(side: int, alpha: float) -> Build:
    """Detector heads on two scales of MobileNetV2, flattened and joined (Liu et al. 2016)."""

    def build() -> keras.Model:
        fed = picture(side)
        body = keras.applications.MobileNetV2(input_tensor=fed, weights=None, alpha=alpha, include_top=False)
        scales = [body.get_layer("block_13_expand_relu").output, body.output]
        for filters in (256, 128):
            scales.append(conv(conv(scales[-1], filters // 2, 1), filters, 3, 2))
        boxes = [layers.Reshape((-1, 4))(layers.Conv2D(24, 3, padding="same")(x)) for x in scales]
        classes = [layers.Reshape((-1, 21))(layers.Conv2D(126, 3, padding="same")(x)) for x in scales]
        joined = layers.Activation("sigmoid")(layers.Concatenate(axis=1)(classes))
        return keras.Model(fed, [layers.Concatenate(axis=1)(boxes), joined])

    return build


def squeeze_net(side: int) -> Build:
    """SqueezeNet 1.1 (Iandola et al. 2016)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = layers.MaxPooling2D(3, 2)(layers.Conv2D(64, 3, 2, activation="relu")(fed))
        for number, width in enumerate([16, 16, 32, 32, 48, 48, 64, 64]):
            x = layers.Conv2D(width, 1, activation="relu")(x)
            wide = layers.Conv2D(width * 4, 3, padding="same", activation="relu")(x)
            x = layers.Concatenate()([layers.Conv2D(width * 4, 1, activation="relu")(x), wide])
            if number in {1, 3}:
                x = layers.MaxPooling2D(3, 2)(x)
        return keras.Model(fed, layers.GlobalAveragePooling2D()(layers.Conv2D(1000, 1)(x)))

    return build


def shuffle_net(side: int, width: int) -> Build:
    """Units of split, depthwise convolution, join and shuffle (Ma et al. 2018)."""

    def unit(x: keras.KerasTensor, filters: int, stride: int) -> keras.KerasTensor:
        half = filters // 2
        if stride == 1:
            kept, x = x[..., :half], x[..., half:]
        else:
            kept = layers.BatchNormalization()(layers.DepthwiseConv2D(3, 2, padding="same")(x))
            kept = conv(kept, half, 1)
        y = conv(x, half, 1)
        y = conv(layers.BatchNormalization()(layers.DepthwiseConv2D(3, stride, padding="same")(y)), half, 1)
        y = layers.Concatenate()([kept, y])
        _, height, wide, _ = y.shape
        y = layers.Permute((1, 2, 4, 3))(layers.Reshape((height, wide, 2, half))(y))
        return layers.Reshape((height, wide, filters))(y)

    def build() -> keras.Model:
        fed = picture(side)
        x = layers.MaxPooling2D(3, 2, padding="same")(conv(fed, 24, 3, 2))
        for filters, count in [(width, 4), (width * 2, 8), (width * 4, 4)]:
            for number in range(count):
                x = unit(x, filters, 1 if number else 2)
        return keras.Model(fed, layers.Dense(1000)(layers.GlobalAveragePooling2D()(conv(x, 1024, 1))))

    return build


def recurrent(cell: str, length: int, channels: int, units: int, *, unroll: bool = False) -> Build:
    """An LSTM or GRU over a window."""

    def build() -> keras.Model:
        fed = keras.Input(batch_shape=(1, length, channels))
        x = getattr(layers, cell)(units, unroll=unroll)(fed)
        return keras.Model(fed, layers.Dense(8, "softmax")(x))

    return build


def transformer(side: int, patch: int, width: int, depth: int, heads: int) -> Build:
    """A small vision transformer (Dosovitskiy et al. 2020)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = layers.Reshape((-1, width))(layers.Conv2D(width, patch, patch)(fed))
        for _ in range(depth):
            y = layers.LayerNormalization()(x)
            x = layers.Add()([x, layers.MultiHeadAttention(heads, width // heads)(y, y)])
            y = layers.Dense(width * 2, "gelu")(layers.LayerNormalization()(x))
            x = layers.Add()([x, layers.Dense(width)(y)])
        return keras.Model(fed, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))

    return build


def mixer(side: int, patch: int, width: int, depth: int) -> Build:
    """An MLP-mixer (Tolstikhin et al. 2021)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = layers.Reshape((-1, width))(layers.Conv2D(width, patch, patch)(fed))
        tokens = x.shape[1]
        for _ in range(depth):
            y = layers.Permute((2, 1))(layers.BatchNormalization()(x))
            y = layers.Permute((2, 1))(layers.Dense(tokens)(layers.Dense(tokens // 2, "relu")(y)))
            x = layers.Add()([x, y])
            x = layers.Add()([x, layers.Dense(width)(layers.Dense(width * 2, "relu")(x))])
        return keras.Model(fed, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))

    return build


def autoencoder(side: int, width: int) -> Build:
    """Strided convolutions down, transposed ones up."""

    def build() -> keras.Model:
        fed = x = picture(side, 1)
        for level in range(3):
            x = layers.Conv2D(width * 2**level, 3, 2, padding="same", activation="relu")(x)
        for level in reversed(range(3)):
            x = layers.Conv2DTranspose(width * 2**level, 3, 2, padding="same", activation="relu")(x)
        return keras.Model(fed, layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x))

    return build


def grouped(side: int, width: int, groups: int) -> Build:
    """ResNeXt blocks: grouped 3x3 convolutions between pointwise ones (Xie et al. 2016)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = layers.MaxPooling2D(2)(conv(fed, width, 3, 2))
        for stage in range(3):
            for number in range(2):
                filters, stride = width * 2**stage, 1 if number or not stage else 2
                y = conv(conv(x, filters, 1), filters, 3, stride, groups=groups)
                y = layers.Conv2D(filters * 2, 1)(y)
                x = layers.ReLU()(layers.Add()([y, layers.Conv2D(filters * 2, 1, stride)(x)]))
        return keras.Model(fed, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))

    return build


def v3(size: str, side: int, **options: object) -> Build:
    return application(f"MobileNetV3{size}", side, include_preprocessing=False, **options)


DESIGN: dict[str, dict[str, Build]] = {
    "mobilenet v1": {
        "v1_050_160": application("MobileNet", 160, alpha=0.5),
        "v1_100_224": application("MobileNet", 224),
        "v1_025_96": application("MobileNet", 96, alpha=0.25),
    },
    "mobilenet v2": {
        "v2_035_96": application("MobileNetV2", 96, alpha=0.35),
        "v2_100_224": application("MobileNetV2", 224),
        "v2_050_160": application("MobileNetV2", 160, alpha=0.5),
    },
    "plain": {"plain_64": plain(64, [32, 64, 128]), "plain_128": plain(128, [16, 48, 96, 160], 5)},
    "resnet": {"resnet_32": residual(32, [2, 2, 2], 16), "resnet_96": residual(96, [1, 2, 2], 40, stem=7)},
    "dense": {"dense_256": stack(256, [512, 256, 64]), "dense_1024": stack(1024, [1024, 1024, 512])},
    "conv1d": {"conv1d_128": sequence(128, 6, [32, 64, 128], 5)},
    "u-net": {"unet_64": u_net(64, 12, 3)},
}
BLIND_SEEN: dict[str, dict[str, Build]] = {
    "mobilenet v1": {
        "v1_075_128": application("MobileNet", 128, alpha=0.75),
        "v1_025_224": application("MobileNet", 224, alpha=0.25),
        "v1_100_160": application("MobileNet", 160),
    },
    "mobilenet v2": {
        "v2_140_192": application("MobileNetV2", 192, alpha=1.4),
        "v2_075_224": application("MobileNetV2", 224, alpha=0.75),
        "v2_035_160": application("MobileNetV2", 160, alpha=0.35),
        "v2_130_128": application("MobileNetV2", 128, alpha=1.3),
    },
    "plain": {"plain_48": plain(48, [24, 40, 56]), "plain_160": plain(160, [32, 64, 64, 128])},
    "resnet": {
        "resnet_20": residual(32, [3, 3, 3], 16),
        "resnet_18_160": residual(160, [2, 2, 2, 2], 64, stem=7),
        "resnet_10_112": residual(112, [1, 1, 1, 1], 32, stem=7),
    },
    "dense": {"dense_64": stack(64, [128, 32, 128]), "dense_784": stack(784, [1536, 768, 128])},
    "conv1d": {"conv1d_512": sequence(512, 3, [24, 48, 96, 96], 7), "conv1d_200": sequence(200, 12, [64, 128], 3)},
    "u-net": {"unet_128": u_net(128, 16, 4)},
}
BLIND_NEW: dict[str, dict[str, Build]] = {
    "mobilenet v3": {
        "v3_small_224": v3("Small", 224),
        "v3_large_224": v3("Large", 224),
        "v3_large_075_160": v3("Large", 160, alpha=0.75),
        "v3_small_mini_128": v3("Small", 128, minimalistic=True),
    },
    "efficientnet": {
        "efficientnet_b0_128": application("EfficientNetB0", 128),
        "efficientnet_b0_224": application("EfficientNetB0", 224),
        "efficientnet_v2b0_160": application("EfficientNetV2B0", 160, include_preprocessing=False),
    },
    "resnet bottleneck": {"resnet_50_128": application("ResNet50", 128), "resnext_128": grouped(128, 64, 8)},
    "densenet": {"densenet_121_128": application("DenseNet121", 128)},
    "nasnet": {"nasnet_160": application("NASNetMobile", 160)},
    "inception": {
        "inception_v3_150": application("InceptionV3", 150),
        "xception_128": application("Xception", 128),
    },
    "squeezenet": {"squeezenet_160": squeeze_net(160)},
    "shufflenet": {"shufflenet_160": shuffle_net(160, 116), "shufflenet_128": shuffle_net(128, 48)},
    "ssd": {"ssd_v2_300": single_shot(300, 0.75), "ssd_v2_192": single_shot(192, 0.35)},
    "deeplab": {"deeplab_256": upsampled_segmentation(256)},
    "autoencoder": {"autoencoder_96": autoencoder(96, 16)},
    "keywords": {"ds_cnn_large": separable_keywords(49, 10, 172, 5), "ds_cnn_small": separable_keywords(49, 10, 76, 4)},
    "temporal": {"temporal_256": dilated(256, 8, 48, 5)},
    "recurrent": {
        "lstm_64": recurrent("LSTM", 64, 16, 64),
        "gru_32": recurrent("GRU", 32, 8, 48, unroll=True),
    },
    "transformer": {"transformer_96": transformer(96, 8, 96, 4, 3), "mixer_96": mixer(96, 8, 96, 4)},
    "convnext": {"convnext_tiny_96": application("ConvNeXtTiny", 96, include_preprocessing=False)},
}
