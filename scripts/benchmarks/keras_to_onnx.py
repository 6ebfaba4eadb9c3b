"""Write a MobileNetV2 of Keras as ONNX, weights and all, so that both routes convert the same network.

    .venv-convert/bin/python scripts/benchmarks/keras_to_onnx.py mobilenet_v2.keras mobilenet_v2.onnx

Knows the layers of that network and no others.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Writer:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.names: dict[int, str] = {}

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def layer(self, layer: keras.Layer, fed: list[str]) -> str:
        name, kind = layer.name, type(layer).__name__
        weights = [np.asarray(value) for value in layer.get_weights()]
        if kind in {"Conv2D", "DepthwiseConv2D"}:
            depthwise = kind == "DepthwiseConv2D"
            kernel = weights[0].transpose(2, 3, 0, 1) if depthwise else weights[0].transpose(3, 2, 0, 1)
            settings = {"strides": list(layer.strides), "group": len(kernel) if depthwise else 1}
            same = "SAME_UPPER" if layer.padding == "same" else "VALID"
            return self.node("Conv", [*fed, self.constant(f"{name}.w", kernel)], name, auto_pad=same, **settings)
        if kind == "BatchNormalization":
            parts = [self.constant(f"{name}.{n}", value) for n, value in enumerate(weights)]
            return self.node("BatchNormalization", [*fed, *parts], name, epsilon=float(layer.epsilon))
        if kind == "ReLU":
            ends = [self.constant(f"{name}.{end}", np.array(end, np.float32)) for end in (0, 6)]
            return self.node("Clip", [*fed, *ends], name)
        if kind == "ZeroPadding2D":
            (top, bottom), (left, right) = layer.padding
            pads = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
            return self.node("Pad", [*fed, self.constant(f"{name}.p", pads)], name)
        if kind == "GlobalAveragePooling2D":
            return self.node("Flatten", [self.node("GlobalAveragePool", fed, f"{name}.mean")], name)
        if kind == "Dense":
            parts = [self.constant(f"{name}.w", weights[0]), self.constant(f"{name}.b", weights[1])]
            return self.node("Softmax", [self.node("Gemm", [*fed, *parts], f"{name}.sum")], name, axis=1)
        if kind == "Add":
            return self.node("Add", fed, name)
        raise SystemExit(f"layer {name} is a {kind}, which is not written here")


def main(source: Path, output: Path) -> None:
    model = keras.models.load_model(source, compile=False)
    writer = Writer()
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            writer.names[id(layer.output)] = "input"
            continue
        fed = layer.input if isinstance(layer.input, list) else [layer.input]
        writer.names[id(layer.output)] = writer.layer(layer, [writer.names[id(tensor)] for tensor in fed])
    shape = [1, 3, *model.input_shape[1:3]]
    graph = helper.make_graph(
        writer.nodes,
        "mobilenet_v2",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(model.layers[-1].name, TensorProto.FLOAT, [1, model.output_shape[-1]])],
        writer.constants,
    )
    written = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    written.ir_version = 8
    onnx.checker.check_model(written)
    onnx.save(written, output)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
