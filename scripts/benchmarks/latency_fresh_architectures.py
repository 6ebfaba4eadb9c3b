"""A last set of untrained networks, of families that no other set has: built after the model of latency was final.

Imported only where TensorFlow is installed.
"""

import keras
from keras import layers
from latency_architectures import Build, application, conv, picture


def pooled(x: keras.KerasTensor, classes: int = 100) -> keras.KerasTensor:
    return layers.Dense(classes, "softmax")(layers.GlobalAveragePooling2D()(x))


def vgg(side: int, widths: list[int], units: int) -> Build:
    """Pairs of 3x3 convolutions, pooling, and wide dense layers (Simonyan and Zisserman 2014)."""

    def build() -> keras.Model:
        fed = x = picture(side)
        for width in widths:
            x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
            x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
            x = layers.MaxPooling2D()(x)
        x = layers.Dense(units, "relu")(layers.Flatten()(x))
        return keras.Model(fed, layers.Dense(100)(layers.Dense(units, "relu")(x)))

    return build


def inception_v1(side: int, share: float) -> Build:
    """Modules of four branches that are joined (Szegedy et al. 2014)."""
    modules = [
        (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), None, (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64), None, (256, 160, 320, 32, 128, 128),
    ]  # fmt: skip

    def build() -> keras.Model:
        fed = picture(side)
        x = layers.MaxPooling2D(3, 2, padding="same")(conv(fed, int(64 * share), 7, 2))
        x = layers.MaxPooling2D(3, 2, padding="same")(conv(conv(x, int(64 * share), 1), int(192 * share)))
        for module in modules:
            if module is None:
                x = layers.MaxPooling2D(3, 2, padding="same")(x)
                continue
            one, before_3, three, before_5, five, after = (int(width * share) for width in module)
            pool = conv(layers.MaxPooling2D(3, 1, padding="same")(x), after, 1)
            branches = [conv(x, one, 1), conv(conv(x, before_3, 1), three), conv(conv(x, before_5, 1), five, 5), pool]
            x = layers.Concatenate()(branches)
        return keras.Model(fed, pooled(x))

    return build


def ghost(side: int, widths: list[int]) -> Build:
    """Half of the channels by a convolution, the others by a depthwise one from those (Han et al. 2019)."""

    def module(x: keras.KerasTensor, filters: int, *, act: bool) -> keras.KerasTensor:
        half = layers.BatchNormalization()(layers.Conv2D(filters // 2, 1, use_bias=False)(x))
        half = layers.ReLU()(half) if act else half
        other = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(half))
        return layers.Concatenate()([half, layers.ReLU()(other) if act else other])

    def build() -> keras.Model:
        fed = picture(side)
        x = conv(fed, 16, 3, 2)
        for width in widths:
            for number in range(2):
                y = module(x, width * 3, act=True)
                if not number:
                    y = layers.BatchNormalization()(layers.DepthwiseConv2D(3, 2, padding="same", use_bias=False)(y))
                    x = module(y, width, act=False)
                else:
                    x = layers.Add()([x, module(y, width, act=False)])
        return keras.Model(fed, pooled(conv(x, 480, 1)))

    return build


def darknet(side: int, widths: list[int]) -> Build:
    """A small YOLO: leaky convolutions, pooling, two scales joined by upsampling (Redmon and Farhadi 2018)."""

    def leaky(x: keras.KerasTensor, filters: int, kernel: int) -> keras.KerasTensor:
        x = layers.Conv2D(filters, kernel, padding="same", use_bias=False)(x)
        return layers.LeakyReLU(negative_slope=0.1)(layers.BatchNormalization()(x))

    def build() -> keras.Model:
        fed = x = picture(side)
        scales = []
        for width in widths:
            x = leaky(x, width, 3)
            scales.append(x)
            x = layers.MaxPooling2D()(x)
        deep = leaky(leaky(x, widths[-1], 1), widths[-1], 3)
        up = layers.UpSampling2D()(leaky(deep, widths[-2] // 2, 1))
        fine = leaky(layers.Concatenate()([up, scales[-1]]), widths[-2], 3)
        return keras.Model(fed, [layers.Conv2D(75, 1)(deep), layers.Conv2D(75, 1)(fine)])

    return build


def squeezed_residual(side: int, width: int) -> Build:
    """ResNet blocks with squeeze and excitation by a sigmoid (Hu et al. 2017)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = conv(fed, width, 3, 2)
        for stage in range(4):
            filters = width * 2**stage
            y = conv(x, filters, 3, 2 if stage else 1)
            y = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(y))
            gate = layers.Dense(filters // 8, "relu")(layers.GlobalAveragePooling2D()(y))
            gate = layers.Reshape((1, 1, filters))(layers.Dense(filters, "sigmoid")(gate))
            if x.shape[-1] != filters:
                x = layers.Conv2D(filters, 1, 2)(x)
            x = layers.ReLU()(layers.Add()([x, layers.Multiply()([y, gate])]))
        return keras.Model(fed, pooled(x))

    return build


def hourglass(side: int, width: int, depth: int) -> Build:
    """Heat maps of a pose: down by pooling, up by copying, sums between (Newell et al. 2016)."""

    def level(x: keras.KerasTensor, left: int) -> keras.KerasTensor:
        kept = conv(x, width, 3)
        y = conv(layers.MaxPooling2D()(x), width, 3)
        y = level(y, left - 1) if left > 1 else conv(y, width, 3)
        return layers.Add()([kept, layers.UpSampling2D()(conv(y, width, 3))])

    def build() -> keras.Model:
        fed = picture(side)
        x = layers.MaxPooling2D()(conv(fed, width, 5, 2))
        return keras.Model(fed, layers.Conv2D(17, 1, activation="sigmoid")(conv(level(x, depth), width, 1)))

    return build


def super_resolution(side: int, width: int, depth: int) -> Build:
    """Convolutions at full size, then channels turned into pixels (Shi et al. 2016)."""

    def build() -> keras.Model:
        import tensorflow as tf

        fed = picture(side, 1)
        x = layers.Conv2D(width, 5, padding="same", activation="tanh")(fed)
        for _ in range(depth):
            x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.Conv2D(4, 3, padding="same")(x)
        return keras.Model(fed, layers.Lambda(lambda value: tf.nn.depth_to_space(value, 2))(x))

    return build


def wave_net(length: int, width: int, depth: int) -> Build:
    """Dilated convolutions over samples, tanh times sigmoid, and sums of what each layer says (van den Oord 2016)."""

    def build() -> keras.Model:
        fed = keras.Input(batch_shape=(1, length, 1))
        x, said = layers.Conv1D(width, 2, padding="causal")(fed), []
        for number in range(depth):
            options = {"padding": "causal", "dilation_rate": 2**number}
            filtered = layers.Conv1D(width, 2, activation="tanh", **options)(x)
            gate = layers.Conv1D(width, 2, activation="sigmoid", **options)(x)
            both = layers.Multiply()([filtered, gate])
            said.append(layers.Conv1D(width, 1)(both))
            x = layers.Add()([x, layers.Conv1D(width, 1)(both)])
        total = said[0]
        for one in said[1:]:
            total = layers.Add()([total, one])
        return keras.Model(fed, layers.Conv1D(16, 1)(layers.ReLU()(total)))

    return build


def mobile_vit(side: int, width: int, tokens: int) -> Build:
    """Inverted residuals, then attention over patches of what they found (Mehta and Rastegari 2021)."""

    def build() -> keras.Model:
        fed = picture(side)
        x = conv(fed, 16, 3, 2)
        for filters in (24, 48, width):
            y = conv(x, filters * 2, 1)
            y = layers.ReLU()(layers.BatchNormalization()(layers.DepthwiseConv2D(3, 2, padding="same")(y)))
            x = layers.BatchNormalization()(layers.Conv2D(filters, 1, use_bias=False)(y))
        _, height, wide, _ = x.shape
        y = layers.Reshape((height * wide, tokens))(layers.Conv2D(tokens, 1)(x))
        for _ in range(2):
            z = layers.LayerNormalization()(y)
            y = layers.Add()([y, layers.MultiHeadAttention(4, tokens // 4)(z, z)])
            z = layers.Dense(tokens * 2, "relu")(layers.LayerNormalization()(y))
            y = layers.Add()([y, layers.Dense(tokens)(z)])
        y = layers.Conv2D(width, 1)(layers.Reshape((height, wide, tokens))(y))
        return keras.Model(fed, pooled(conv(layers.Concatenate()([x, y]), width * 2, 1), 10))

    return build


def pyramid(side: int, alpha: float) -> Build:
    """Features of MobileNetV1 at three scales, summed from the deepest up (Lin et al. 2016)."""

    def build() -> keras.Model:
        fed = picture(side)
        body = keras.applications.MobileNet(input_tensor=fed, weights=None, alpha=alpha, include_top=False)
        found = [body.get_layer(f"conv_pw_{number}_relu").output for number in (5, 11, 13)]
        merged = [layers.Conv2D(64, 1)(x) for x in found]
        for lower in (1, 0):
            merged[lower] = layers.Add()([merged[lower], layers.UpSampling2D()(merged[lower + 1])])
        heads = [layers.Conv2D(12, 3, padding="same")(conv(x, 64)) for x in merged]
        return keras.Model(fed, heads)

    return build


def recogniser(cell: str, height: int, width: int) -> Build:
    """Convolutions over a line of text, read by an unrolled recurrent layer (Shi et al. 2015)."""

    def build() -> keras.Model:
        fed = x = keras.Input(batch_shape=(1, height, width, 1))
        for filters in (16, 32, 64):
            x = layers.MaxPooling2D()(layers.Conv2D(filters, 3, padding="same", activation="relu")(x))
        _, high, wide, depth = x.shape
        x = layers.Reshape((wide, high * depth))(layers.Permute((2, 1, 3))(x))
        x = getattr(layers, cell)(48, unroll=True, return_sequences=True)(x)
        return keras.Model(fed, layers.Dense(37, "softmax")(x))

    return build


def sound_autoencoder(bands: int, units: int) -> Build:
    """Dense layers with normalisation, narrow in the middle, as of the DCASE baseline (Koizumi et al. 2020)."""

    def build() -> keras.Model:
        fed = x = keras.Input(batch_shape=(1, bands))
        for width in (units, units, units, 8, units, units, units):
            x = layers.ReLU()(layers.BatchNormalization()(layers.Dense(width)(x)))
        return keras.Model(fed, layers.Dense(bands)(x))

    return build


FRESH: dict[str, dict[str, Build]] = {
    "vgg": {"vgg_64": vgg(64, [32, 64, 128, 256], 512), "vgg_112": vgg(112, [16, 32, 64, 96], 256)},
    "inception v1": {"inception_v1_160": inception_v1(160, 1.0), "inception_v1_96": inception_v1(96, 0.5)},
    "nasnet": {"nasnet_128": application("NASNetMobile", 128, include_top=False)},
    "ghostnet": {"ghost_160": ghost(160, [24, 40, 80, 160]), "ghost_96": ghost(96, [16, 32, 64])},
    "yolo": {"yolo_224": darknet(224, [16, 32, 64, 128, 256]), "yolo_128": darknet(128, [12, 24, 48, 96])},
    "se-resnet": {"se_resnet_128": squeezed_residual(128, 32)},
    "hourglass": {"hourglass_128": hourglass(128, 48, 3)},
    "super-resolution": {"espcn_96": super_resolution(96, 32, 3)},
    "wavenet": {"wavenet_512": wave_net(512, 32, 6)},
    "mobilevit": {"mobilevit_128": mobile_vit(128, 80, 96)},
    "pyramid": {"pyramid_192": pyramid(192, 0.5)},
    "text": {"text_gru": recogniser("GRU", 24, 96), "text_lstm": recogniser("LSTM", 24, 96)},
    "sound autoencoder": {"sound_640": sound_autoencoder(640, 128), "sound_320": sound_autoencoder(320, 256)},
}
