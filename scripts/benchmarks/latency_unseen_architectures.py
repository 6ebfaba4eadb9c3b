"""Untrained networks of families that neither the model of latency nor its calibration had seen when it was changed.

The list was made before the first measurement of any of them. Other networks of SqueezeNet, ShuffleNet and Xception are
in ``latency_architectures`` and were measured once for an earlier model: those are new here as networks only. All stay
as they were measured. Imported only where TensorFlow is installed.
"""

import keras
from keras import layers, ops
from latency_architectures import Build, conv, picture
from latency_fresh_architectures import pooled

Tensor = keras.KerasTensor


def bare(x: Tensor, filters: int, kernel: int | tuple[int, int] = 1, **options: object) -> Tensor:
    """Convolution and normalisation without an activation."""
    return layers.BatchNormalization()(layers.Conv2D(filters, kernel, padding="same", use_bias=False, **options)(x))


def separable(x: Tensor, filters: int, kernel: int = 3, stride: int = 1) -> Tensor:
    x = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False)(x)
    return bare(x, filters)


def squeeze_net(side: int, widths: list[int]) -> Build:
    """Fire modules: few channels, then 1x1 and 3x3 side by side (Iandola et al. 2016)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = layers.MaxPooling2D(3, 2)(layers.Conv2D(64, 3, 2, activation="relu")(fed))
        for number, width in enumerate(widths):
            y = layers.Conv2D(width, 1, activation="relu")(x)
            wide = [layers.Conv2D(4 * width, size, padding="same", activation="relu")(y) for size in (1, 3)]
            x = layers.Concatenate()(wide)
            x = layers.MaxPooling2D(3, 2)(x) if number % 2 else x
        return keras.Model(fed, layers.GlobalAveragePooling2D()(layers.Conv2D(100, 1, activation="relu")(x)))

    return build


def shuffle_net(side: int, widths: list[int]) -> Build:
    """Halves of the channels, mixed by turning them about (Ma et al. 2018)."""

    def shuffled(left: Tensor, right: Tensor) -> Tensor:
        x = layers.Concatenate()([left, right])
        _, high, wide, channels = x.shape
        x = layers.Permute((1, 3, 2))(layers.Reshape((high * wide, 2, channels // 2))(x))
        return layers.Reshape((high, wide, channels))(x)

    def branch(x: Tensor, filters: int, stride: int) -> Tensor:
        return layers.ReLU()(separable(conv(x, filters, 1), filters, 3, stride))

    def build() -> keras.Model:
        fed = picture(side)
        x = layers.MaxPooling2D(3, 2, padding="same")(conv(fed, 24, 3, 2))
        for width in widths:
            half = width // 2
            x = shuffled(layers.ReLU()(separable(x, half, 3, 2)), branch(x, half, 2))
            for _ in range(2):
                x = shuffled(x[..., :half], branch(x[..., half:], half, 1))
        return keras.Model(fed, pooled(conv(x, 512, 1)))

    return build


def xception(side: int, widths: list[int]) -> Build:
    """Separable convolutions in pairs, pooling, and a 1x1 convolution past them (Chollet 2016)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = conv(conv(fed, 24, 3, 2), 48)
        for width in widths:
            y = layers.ReLU()(separable(layers.ReLU()(x), width))
            y = layers.MaxPooling2D(3, 2, padding="same")(separable(y, width))
            x = layers.Add()([y, bare(x, width, strides=2)])
        return keras.Model(fed, pooled(layers.ReLU()(separable(x, 2 * widths[-1]))))

    return build


def reg_net(side: int, widths: list[int], group: int) -> Build:
    """Bottlenecks whose 3x3 convolution is in groups of one width (Radosavovic et al. 2020)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = conv(fed, 32, 3, 2)
        for width in widths:
            for number in range(2):
                stride = 1 if number else 2
                y = conv(conv(x, width, 1), width, 3, stride, groups=width // group)
                x = x if number else bare(x, width, strides=2)
                x = layers.ReLU()(layers.Add()([x, bare(y, width)]))
        return keras.Model(fed, pooled(x))

    return build


def high_resolution(side: int, width: int) -> Build:
    """Three resolutions side by side that are summed into each other (Wang et al. 2019)."""

    def block(x: Tensor) -> Tensor:
        return layers.ReLU()(layers.Add()([x, bare(conv(x, x.shape[-1]), x.shape[-1], 3)]))

    def fuse(levels: list[Tensor]) -> list[Tensor]:
        made = []
        for to, level in enumerate(levels):
            parts = [level]
            for number, other in enumerate(levels):
                if number > to:
                    y = bare(other, level.shape[-1])
                    parts.append(layers.UpSampling2D(2 ** (number - to), interpolation="nearest")(y))
                elif number < to:
                    y = other
                    for _ in range(to - number - 1):
                        y = conv(y, y.shape[-1], 3, 2)
                    parts.append(bare(y, level.shape[-1], 3, strides=2))
            made.append(layers.ReLU()(layers.Add()(parts)))
        return made

    def build() -> keras.Model:
        fed = picture(side)
        levels = [conv(conv(fed, 32, 3, 2), width, 3, 2)]
        for number in (2, 4):
            levels.append(conv(levels[-1], width * number, 3, 2))
            levels = fuse([block(block(level)) for level in levels])
        return keras.Model(fed, layers.Conv2D(17, 1)(levels[0]))

    return build


def erf_net(side: int, width: int) -> Build:
    """Convolutions of 3x1 and 1x3 in turn, some dilated, and transposed ones (Romera et al. 2017)."""

    def down(x: Tensor, filters: int) -> Tensor:
        y = layers.Conv2D(filters - x.shape[-1], 3, 2, padding="same")(x)
        return layers.ReLU()(layers.BatchNormalization()(layers.Concatenate()([y, layers.MaxPooling2D()(x)])))

    def block(x: Tensor, dilation: int = 1) -> Tensor:
        y, filters = x, x.shape[-1]
        for rate in (1, dilation):
            y = layers.Conv2D(filters, (3, 1), padding="same", activation="relu", dilation_rate=(rate, 1))(y)
            y = layers.Conv2D(filters, (1, 3), padding="same", activation="relu", dilation_rate=(1, rate))(y)
        return layers.ReLU()(layers.Add()([x, y]))

    def build() -> keras.Model:
        fed = picture(side)
        x = block(block(down(down(fed, width), 4 * width)))
        x = down(x, 8 * width)
        for dilation in (2, 4):
            x = block(x, dilation)
        for filters in (4 * width, width):
            x = layers.Conv2DTranspose(filters, 3, 2, padding="same", activation="relu")(x)
            x = block(x)
        return keras.Model(fed, layers.Conv2DTranspose(10, 2, 2, padding="same")(x))

    return build


def blaze_face(side: int) -> Build:
    """Depthwise windows of 5x5 with sums, and boxes on two scales (Bazarevsky et al. 2019)."""

    def block(x: Tensor, filters: int, stride: int = 1) -> Tensor:
        y = separable(x, filters, 5, stride)
        x = layers.MaxPooling2D()(x) if stride > 1 else x
        x = bare(x, filters) if x.shape[-1] != filters else x
        return layers.ReLU()(layers.Add()([x, y]))

    def build() -> keras.Model:
        fed = picture(side)
        x = layers.Conv2D(24, 5, 2, padding="same", activation="relu")(fed)
        for filters, stride in ((24, 1), (24, 1), (48, 2), (48, 1), (48, 1), (96, 2), (96, 1), (96, 1)):
            x = block(x, filters, stride)
        small = block(block(x, 96, 2), 96)
        heads = []
        for level, boxes in ((x, 2), (small, 6)):
            heads += [layers.Reshape((-1, size))(layers.Conv2D(boxes * size, 1)(level)) for size in (1, 16)]
        scores = layers.Activation("sigmoid")(layers.Concatenate(axis=1)([heads[0], heads[2]]))
        return keras.Model(fed, [scores, layers.Concatenate(axis=1)([heads[1], heads[3]])])

    return build


def two_ways(side: int, width: int) -> Build:
    """A pyramid that is walked down and up again, and heads that all levels share (Tan et al. 2019)."""

    def joined(*parts: Tensor) -> Tensor:
        return layers.ReLU()(separable(layers.Add()(list(parts)), width))

    def build() -> keras.Model:
        fed = picture(side)
        x, levels = conv(fed, 24, 3, 2), []
        for filters in (32, 48, 96, 160):
            x = layers.ReLU()(separable(conv(x, 3 * x.shape[-1], 1), filters, 3, 2))
            levels.append(bare(x, width))
        for _ in range(2):
            down = [levels[-1]]
            for level in reversed(levels[:-1]):
                down.append(joined(level, layers.UpSampling2D(interpolation="nearest")(down[-1])))
            up = [down[-1]]
            for level, other in zip(levels[1:], reversed(down[:-1]), strict=True):
                up.append(joined(level, other, layers.MaxPooling2D(3, 2, padding="same")(up[-1])))
            levels = up
        heads = [layers.Reshape((-1, 24))(separable(layers.ReLU()(separable(level, width)), 24)) for level in levels]
        return keras.Model(fed, layers.Concatenate(axis=1)(heads))

    return build


def res_2_net(side: int, widths: list[int]) -> Build:
    """Bottlenecks whose channels are convolved part after part, each with the result of the last (Gao et al. 2019)."""

    def block(x: Tensor, filters: int) -> Tensor:
        part = filters // 4
        y = conv(x, filters, 1)
        parts = [y[..., number * part : (number + 1) * part] for number in range(4)]
        made = [parts[0], conv(parts[1], part)]
        for one in parts[2:]:
            made.append(conv(layers.Add()([one, made[-1]]), part))
        y = bare(layers.Concatenate()(made), 2 * filters)
        x = x if x.shape[-1] == 2 * filters else bare(x, 2 * filters)
        return layers.ReLU()(layers.Add()([x, y]))

    def build() -> keras.Model:
        fed = picture(side)
        x = conv(conv(fed, 32, 3, 2), 32)
        for width in widths:
            x = layers.AveragePooling2D(2)(block(block(x, width), width))
        return keras.Model(fed, pooled(x))

    return build


def point_net(points: int) -> Build:
    """The same dense layers for every point, and the maximum over all (Qi et al. 2016)."""

    def build() -> keras.Model:
        fed = x = keras.Input(batch_shape=(1, points, 3))
        for units in (64, 64, 128, 512):
            x = layers.ReLU()(layers.BatchNormalization()(layers.Conv1D(units, 1)(x)))
        x = layers.GlobalMaxPooling1D()(x)
        for units in (256, 128):
            x = layers.Dense(units, "relu")(x)
        return keras.Model(fed, layers.Dense(40)(x))

    return build


def conformer(steps: int, width: int) -> Build:
    """Dense layers, attention and a depthwise convolution over time in turn (Gulati et al. 2020)."""

    def half(x: Tensor) -> Tensor:
        y = layers.Dense(4 * width, "swish")(layers.LayerNormalization()(x))
        return layers.Add()([x, layers.Dense(width)(y)])

    def attention(x: Tensor) -> Tensor:
        y = layers.LayerNormalization()(x)
        query, key, value = (
            layers.Permute((2, 1, 3))(layers.Reshape((steps, 4, width // 4))(layers.Dense(width)(y))) for _ in range(3)
        )
        alike = layers.Softmax()(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))))
        y = layers.Reshape((steps, width))(layers.Permute((2, 1, 3))(ops.matmul(alike, value)))
        return layers.Add()([x, layers.Dense(width)(y)])

    def convolved(x: Tensor) -> Tensor:
        y = layers.Dense(2 * width)(layers.LayerNormalization()(x))
        y = layers.Multiply()([y[..., :width], layers.Activation("sigmoid")(y[..., width:])])
        y = layers.DepthwiseConv1D(15, padding="same")(y)
        return layers.Add()([x, layers.Dense(width)(layers.Activation("swish")(layers.BatchNormalization()(y)))])

    def build() -> keras.Model:
        fed = keras.Input(batch_shape=(1, steps, 40))
        x = layers.Dense(width)(fed)
        for _ in range(2):
            x = half(convolved(attention(half(x))))
        return keras.Model(fed, layers.Dense(32)(x))

    return build


def cross_stage(side: int, widths: list[int]) -> Build:
    """Half of the channels go past each stage (Wang et al. 2019)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = conv(fed, 16, 3, 2)
        for width in widths:
            x = conv(x, width, 3, 2)
            past, y = conv(x, width // 2, 1), conv(x, width // 2, 1)
            for _ in range(2):
                y = layers.Add()([y, conv(conv(y, width // 2, 1), width // 2)])
            x = conv(layers.Concatenate()([past, y]), width, 1)
        return keras.Model(fed, layers.Conv2D(18, 1)(x))

    return build


def sound_residual(frames: int, widths: list[int]) -> Build:
    """Residual blocks of convolutions over time, bands as channels (Choi et al. 2019)."""

    def build() -> keras.Model:
        fed = keras.Input(batch_shape=(1, frames, 40))
        x = layers.Conv1D(16, 3, padding="same", use_bias=False)(fed)
        for width in widths:
            y = layers.ReLU()(layers.BatchNormalization()(layers.Conv1D(width, 9, 2, padding="same")(x)))
            y = layers.BatchNormalization()(layers.Conv1D(width, 9, padding="same")(y))
            x = layers.ReLU()(layers.BatchNormalization()(layers.Conv1D(width, 1, 2)(x)))
            x = layers.ReLU()(layers.Add()([x, y]))
        return keras.Model(fed, layers.Dense(12, "softmax")(layers.GlobalAveragePooling1D()(x)))

    return build


def gated_table(columns: int, units: int) -> Build:
    """Dense layers with gates and sums over a row of a table (Arik and Pfister 2019, without its masks)."""

    def build() -> keras.Model:
        fed = x = keras.Input(batch_shape=(1, columns))
        x = layers.Dense(units)(x)
        for _ in range(4):
            y = layers.Dense(2 * units)(x)
            y = layers.Multiply()([y[:, :units], layers.Activation("sigmoid")(y[:, units:])])
            x = layers.Add()([x, y])
        return keras.Model(fed, layers.Dense(2)(layers.ReLU()(x)))

    return build


UNSEEN: dict[str, dict[str, Build]] = {
    "squeezenet": {"squeeze_160": squeeze_net(160, [16, 16, 32, 32, 48])},
    "shufflenet v2": {"shuffle_160": shuffle_net(160, [116, 232, 464]), "shuffle_96": shuffle_net(96, [48, 96, 192])},
    "xception": {"xception_128": xception(128, [96, 192, 384])},
    "regnet": {"regnet_128": reg_net(128, [48, 96, 192, 384], 24)},
    "hrnet": {"hrnet_128": high_resolution(128, 18)},
    "erfnet": {"erfnet_128": erf_net(128, 16)},
    "blazeface": {"blaze_128": blaze_face(128)},
    "efficientdet": {"two_ways_192": two_ways(192, 56)},
    "res2net": {"res_2_net_128": res_2_net(128, [48, 96, 192])},
    "pointnet": {"points_512": point_net(512), "points_128": point_net(128)},
    "conformer": {"conformer_100": conformer(100, 96)},
    "cspnet": {"cross_stage_160": cross_stage(160, [32, 64, 128, 256])},
    "tc-resnet": {"tc_resnet_98": sound_residual(98, [24, 32, 48])},
    "gated table": {"table_64": gated_table(64, 128), "table_256": gated_table(256, 512)},
}
