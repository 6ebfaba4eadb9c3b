"""ONNX models: to float ``.tflite`` through onnx2tf's direct backend, and run by onnxruntime."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.arrays import read_array, write_arrays
from edge_runtime.errors import ModelError, UsageError
from edge_runtime.model_file import CUSTOM, read_model

_FLOAT: Final = 1
"""``TensorProto.FLOAT``."""
_NAMED_AT_MOST: Final = 6


class Session:
    """One model: converted, then run on the samples."""

    def __init__(self) -> None:
        self._path = ""
        self._input = ""

    def convert(self, source: str, output: str, input_shape: list[int] | None, *, unroll: bool) -> dict[str, Any]:
        """Write the float ``.tflite`` with a batch of 1. Returns ``names`` of the outputs and the source's ``shape``.

        Raises ModelError for what is no model or has operators that do not convert, UsageError when a shape must be
        given or a package is missing.
        """
        del unroll  # onnx2tf writes recurrences out by itself
        onnx = _import_onnx()
        model = _load(onnx, source)
        entry = _single_input(model)
        shape = _fix_shape(entry, input_shape)
        folder = Path(output).parent / "onnx2tf"
        folder.mkdir(exist_ok=True)
        self._path = str(folder / "source.onnx")
        self._input = entry.name
        onnx.save(model, self._path)
        # The converter rewrites its input file: it gets one of its own.
        copy = folder / "model.onnx"
        onnx.save(model, str(copy))
        _convert(copy, folder)
        found = folder / "model_float32.tflite"
        if not found.is_file():
            raise ModelError("onnx2tf wrote no float32 model; simplify the network, or export it again")
        refuse_custom(found, model)
        Path(output).write_bytes(found.read_bytes())
        return {"names": [value.name for value in model.graph.output], "shape": shape, "normalization": None}

    def run(self, samples: str, folder: str, axes: list[int]) -> dict[str, Any]:
        """Run the source in onnxruntime on an .npy of inputs in the converted layout; write its outputs.

        ``axes`` are those that turned the source's layout into the converted one.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(self._path, options, providers=["CPUExecutionProvider"])
        back = np.argsort(axes)
        rows = []
        for sample in read_array(samples):
            value = np.ascontiguousarray(sample[None].transpose(back), dtype=np.float32)
            rows.append([np.asarray(result, np.float32) for result in session.run(None, {self._input: value})])
        columns = [
            np.concatenate(column) if column[0].ndim and len(column[0]) == 1 else np.stack(column)
            for column in zip(*rows, strict=True)
        ]
        return {"outputs": write_arrays(Path(folder), "source", columns)}


def _import_onnx() -> Any:
    try:
        import onnx
        import onnx2tf
        import onnxruntime
    except ImportError as error:
        raise UsageError(
            f"ONNX models need {error.name}: pip install 'edge-infer[convert]' under Python 3.12 or newer"
        ) from error
    del onnx2tf, onnxruntime
    return onnx


def _load(onnx: Any, source: str) -> Any:
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(source)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        raise ModelError(f"{source} is no sound ONNX model: {' '.join(str(error).split())[:300]}") from error
    return model


def _single_input(model: Any) -> Any:
    """Return the one input that is no constant. Old exports list their constants among the inputs."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs)
        raise ModelError(f"the model has {len(inputs)} inputs ({names}); the device feeds one")
    if inputs[0].type.tensor_type.elem_type != _FLOAT:
        raise ModelError(f"the model's input {inputs[0].name} is no float32 tensor; only float inputs are converted")
    return inputs[0]


def _fix_shape(entry: Any, given: list[int] | None) -> list[int]:
    """Write a fixed shape with a batch of 1 into the model's input and return it. Raises UsageError, ModelError."""
    sides = entry.type.tensor_type.shape.dim
    known = [side.dim_value if side.HasField("dim_value") else None for side in sides]
    spelled = "[" + ", ".join(str(side.dim_value or side.dim_param or "?") for side in sides) + "]"
    if given is not None:
        fits = len(given) == len(known) and all(side in (None, value) for side, value in zip(known, given, strict=True))
        if not fits:
            raise UsageError(f"--input-shape {given} does not fit the model's input {entry.name} {spelled}")
        known = list(given)
    elif known and known[0] is None:
        known[0] = 1
    if any(side is None for side in known):
        raise UsageError(
            f"the model's input {entry.name} {spelled} has no fixed size; give it: --input-shape 1,3,HEIGHT,WIDTH"
        )
    if not known or known[0] != 1:
        raise ModelError(f"the model's input {entry.name} {spelled} is no batch of 1; export it with one")
    for side, value in zip(sides, known, strict=True):
        side.dim_value = value
    return [int(side or 0) for side in known]


def _convert(copy: Path, folder: Path) -> None:
    import onnx2tf

    try:
        onnx2tf.convert(
            input_onnx_file_path=str(copy),
            output_folder_path=str(folder),
            non_verbose=True,
            copy_onnx_input_output_names_to_tflite=True,
        )
    except SystemExit as error:
        raise ModelError("onnx2tf gave the network up; run it alone to see why: onnx2tf -i MODEL.onnx") from error
    except Exception as error:
        raise ModelError(f"onnx2tf does not convert it: {' '.join(str(error).split())[:300]}") from error


def refuse_custom(path: Path, model: Any) -> None:
    """Refuse a result with operators that the interpreter does not have. Raises ModelError that says where they are."""
    custom = {code.custom for code in read_model(path).operator_codes if code.builtin == CUSTOM and code.custom}
    if not custom:
        return
    kinds = {name.removeprefix("ONNX_").lower() for name in custom}
    places = [node.name or node.output[0] for node in model.graph.node if node.op_type.lower() in kinds]
    where = f" at {', '.join(places[:_NAMED_AT_MOST])}" if places else ""
    raise ModelError(f"operators that TFLite does not have: {', '.join(sorted(custom))}{where}; change this part")
