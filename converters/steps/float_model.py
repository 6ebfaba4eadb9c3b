"""A float ``.tflite`` as the source: nothing to convert, and LiteRT runs it."""

from pathlib import Path
from typing import Any

from converters.steps.tflite_model import Session as TfliteSession
from edge_runtime.errors import ModelError
from edge_runtime.model_file import ModelFile, read_model


class Session:
    """One model, checked and copied, then run on the samples."""

    def __init__(self) -> None:
        self._path = ""

    def convert(self, source: str, output: str, input_shape: list[int] | None, *, unroll: bool) -> dict[str, Any]:
        """Copy the model. Raises ModelError for one that is quantised already or has other than one float input."""
        del unroll  # what is converted already stays as it is
        model = read_model(Path(source))
        if len(model.inputs) != 1:
            raise ModelError(f"{source} has {len(model.inputs)} inputs; the device feeds one")
        entry = model.tensors[model.inputs[0]]
        if entry.type.name != "float32" or any(tensor.scales.size for tensor in model.tensors):
            raise ModelError(f"{source} is quantised already (input of type {entry.type.name}); give the float model")
        if input_shape is not None and tuple(input_shape) != entry.shape:
            raise ModelError(
                f"{source}: a .tflite keeps its input {list(entry.shape)}; convert it again from its source"
            )
        Path(output).write_bytes(with_fixed_sizes(model))
        self._path = output
        return {"names": [model.tensors[index].name for index in model.outputs], "normalization": None}

    def run(self, samples: str, folder: str, axes: list[int], *, seed: int | None = None) -> dict[str, Any]:
        """Run the float model on an .npy of inputs; write its outputs."""
        assert axes == sorted(axes)
        assert seed is None  # what is only copied needs no excuse
        return {"outputs": TfliteSession().run(self._path, samples, folder, "source")["outputs"]}


def with_fixed_sizes(model: ModelFile) -> bytes:
    """Return the model without open sizes: the device feeds a batch of 1, and an Edge TPU takes no open ones."""
    if not any(-1 in tensor.shape_signature for tensor in model.tensors):
        return model.data
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    parsed = schema.ModelT.InitFromPackedBuf(model.data, 0)
    for graph in parsed.subgraphs:
        for tensor in graph.tensors:
            tensor.shapeSignature = None
    builder = flatbuffers.Builder(len(model.data))
    builder.Finish(parsed.Pack(builder), b"TFL3")
    return bytes(builder.Output())
