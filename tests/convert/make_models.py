"""Write small models that no public set has: run once, in a process of its own, because TensorFlow is large.

python make_models.py FOLDER
"""

import itertools
import sys
from pathlib import Path

import keras
import numpy as np
import onnx
from keras import layers
from onnx import TensorProto, helper, numpy_helper

import edge_runtime


def sequential(*parts: keras.Layer, shape: tuple[int | None, ...]) -> keras.Model:
    return keras.Sequential([keras.Input(shape), *parts])


def recurrent() -> keras.Model:
    """Steps behind statistics that the layer was adapted to, which a copy must not lose."""
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(1).normal(3, 4, (50, 10, 3)).astype(np.float32))
    return sequential(normalization, layers.LSTM(16), layers.Dense(4, activation="softmax"), shape=(10, 3))


def collapsing() -> keras.Model:
    """What matters is a thousand times smaller than what is thrown away afterwards: 8 bits cannot hold both."""
    model = sequential(layers.Dense(16, activation="relu"), layers.Dense(4), shape=(8,))
    first, bias, second, last = model.get_weights()
    first[:, 0] *= 1e3
    second[0] = 0.0
    model.set_weights([first, bias, second, last])
    return model


def collapsed_digits(folder: Path) -> None:
    """Write a digit classifier whose channels were scaled apart by up to 1000 between its layers, and its pictures.

    Trained for seconds. In float it answers as before; in int8 the small channels drown in the scale of the large ones.
    """
    data = np.load(Path(edge_runtime.__file__).with_name("demo") / "digits.npz")
    pictures = (data["images"][..., None] * 15).astype(np.uint8)
    np.savez(folder / "digits.npz", x=pictures, y=data["labels"])
    convolutions = [
        layers.Conv2D(16, 3, activation="relu"),
        layers.Conv2D(24, 3, activation="relu"),
        layers.Conv2D(24, 1, activation="relu"),
    ]
    model = sequential(
        layers.Rescaling(1 / 127.5, offset=-1.0), *convolutions, layers.Flatten(), layers.Dense(10), shape=(8, 8, 1)
    )
    model.compile(keras.optimizers.Adam(0.005), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(pictures, data["labels"], epochs=40, verbose=0)
    generator = np.random.default_rng(0)
    for layer, following in itertools.pairwise(convolutions):
        kernel, bias = layer.get_weights()
        factors = 10.0 ** generator.uniform(-3.0, 0.0, len(bias))
        layer.set_weights([kernel * factors, bias * factors])
        kernel, bias = following.get_weights()
        following.set_weights([kernel / factors[:, None], bias])
    model.save(folder / "collapsed_digits.keras")


def unfused() -> keras.Model:
    """Activations that the quantiser does not know, or that were not fused."""
    entry = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3)(entry)
    x = layers.LeakyReLU(0.1)(x)
    x = keras.ops.negative(layers.Conv2D(8, 1)(x))
    x = layers.ELU()(keras.ops.relu6(x))
    x = layers.PReLU(shared_axes=[1, 2], alpha_initializer="uniform")(layers.Conv2D(8, 1)(x))
    x = keras.ops.abs(layers.Conv2D(8, 1)(x))
    x = keras.ops.exp(-x)
    return keras.Model(entry, layers.Dense(4)(layers.Flatten()(x)))


def broken() -> keras.Model:
    model = sequential(layers.Dense(4), shape=(8,))
    kernel, bias = model.get_weights()
    kernel[2, 1] = np.nan
    model.set_weights([kernel, bias])
    return model


def two_inputs() -> keras.Model:
    one, other = keras.Input((4,)), keras.Input((4,))
    return keras.Model([one, other], layers.Add()([one, other]))


def picture_net(*before: keras.Layer, shape: tuple[int | None, ...] = (12, 16, 3)) -> keras.Model:
    return sequential(
        *before,
        layers.Conv2D(8, 3, strides=2, padding="same"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.GlobalAveragePooling2D(),
        layers.Dense(5, activation="softmax"),
        shape=shape,
    )


def boxes_beside_scores() -> keras.Model:
    """A detector's head as YOLO exports it: (1, 48, 6), boxes in pixels and scores in one tensor."""
    entry = keras.Input((12, 16, 3))
    kept = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(entry)
    boxes = layers.Rescaling(120.0)(layers.Conv2D(4, 1, activation="sigmoid")(kept))
    scores = layers.Conv2D(2, 1, activation="sigmoid")(kept)
    joined = layers.Concatenate()([layers.Reshape((48, 4))(boxes), layers.Reshape((48, 2))(scores)])
    return keras.Model(entry, joined)


def write_onnx(path: Path, kind: str, *, batch: object = 1, side: object = 8, **attributes: object) -> None:
    generator = np.random.default_rng(3)
    weights = numpy_helper.from_array(generator.normal(size=(4, 3, 3, 3)).astype(np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "the_conv"),
        helper.make_node(kind, ["c"], ["y"], "the_last", **attributes),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list("nchw")[: 2 if kind == "Det" else 4])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)


def main(folder: Path) -> None:
    keras.utils.set_random_seed(1)
    collapsing().save(folder / "collapsing.keras")
    collapsed_digits(folder)
    unfused().save(folder / "unfused.keras")
    broken().save(folder / "broken.keras")
    two_inputs().save(folder / "two_inputs.keras")
    sequential(layers.Lambda(lambda x: x + 1), layers.Dense(2), shape=(8,)).save(folder / "lambda.keras")
    sequential(layers.Lambda(lambda x: x + 1), layers.Dense(2), shape=(8,)).save(folder / "lambda.h5")
    picture_net(layers.Rescaling(1 / 127.5, offset=-1.0)).save(folder / "rescaling.keras")
    picture_net(shape=(None, None, 3)).save(folder / "open_size.keras")
    keras.Sequential([keras.Input((20, 3)), layers.Conv1D(8, 3), layers.GlobalMaxPooling1D(), layers.Dense(3)]).save(
        folder / "window.keras"
    )
    boxes_beside_scores().save(folder / "boxes_beside_scores.keras")
    recurrent().save(folder / "recurrent.keras")
    picture_net().export(folder / "saved", verbose=False)
    picture_net().save_weights(folder / "only.weights.h5")
    write_onnx(folder / "square.onnx", "Relu")
    write_onnx(folder / "open.onnx", "Relu", batch="N", side="side")
    write_onnx(folder / "determinant.onnx", "Det")
    write_onnx(folder / "elu.onnx", "Elu", alpha=0.3)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
