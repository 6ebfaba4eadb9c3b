"""Read an ONNX file and fix the shapes of its inputs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from edge_runtime.errors import ModelError, UsageError
from edge_runtime.model_defaults import input_kind, picture_sides

_FLOAT: Final = 1
"""``TensorProto.FLOAT``."""
_OTHER_FLOATS: Final = {10: "float16", 11: "float64", 16: "bfloat16"}
_INTEGER_WORK: Final = frozenset({"QuantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "QGemm"})
_SMALLEST_PICTURE: Final = 8
"""Pixels; the smallest pictures of sensors are 8 by 8. What is smaller is a picture only where somebody says so."""
Shape = tuple[int, ...]


def import_onnx() -> Any:
    """Return the module ``onnx``. Raises UsageError that says what to install where a package is missing."""
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


def load(onnx: Any, source: str) -> Any:
    """Return a model that ONNX's own checker accepts. Raises ModelError."""
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(source)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        raise ModelError(f"{source} is no sound ONNX model: {' '.join(str(error).split())[:300]}") from error
    return model


def refuse_quantized(model: Any) -> None:
    """Raise ModelError for a network that rounds its activations: its float self is what can be quantised anew.

    One whose constants alone are kept in 8 bits (DequantizeLinear) is as good as any other.
    """
    found = [node for node in model.graph.node if node.op_type in _INTEGER_WORK or node.op_type.startswith("QLinear")]
    if found:
        first = f"{found[0].op_type} at {found[0].name or found[0].output[0]}"
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise ModelError(
            f"the network is quantised already ({first}{more}); give the float model that it was made from"
        )


def fixed_inputs(model: Any, given: Sequence[int] | Mapping[str, Sequence[int]] | None) -> dict[str, Shape]:
    """Write fixed shapes into the model's inputs and return them by name, in the model's order.

    Raises ModelError for inputs that are no float32 tensors, UsageError when a shape must be given.
    """
    entries = _inputs(model)
    shapes = dict(given) if isinstance(given, Mapping) else {}
    if given is not None and not isinstance(given, Mapping):
        if len(entries) != 1:
            names = ", ".join(entry.name for entry in entries)
            raise UsageError(f"the model has {len(entries)} inputs ({names}); say which: --input-shape NAME:1,8")
        shapes[entries[0].name] = given
    strange = sorted(set(shapes) - {entry.name for entry in entries})
    if strange:
        names = ", ".join(entry.name for entry in entries)
        raise UsageError(f"--input-shape {strange[0]}: the model has no such input; its inputs: {names}")
    return {entry.name: _fix_shape(entry, shapes.get(entry.name), alone=len(entries) == 1) for entry in entries}


def _inputs(model: Any) -> list[Any]:
    """Return the inputs that are no constants. Old exports list their constants among the inputs."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if not inputs:
        raise ModelError("the model has no input; everything in it is constant")
    strange = [value.name for value in inputs if value.type.tensor_type.elem_type != _FLOAT]
    other = [_OTHER_FLOATS[kind] for value in inputs if (kind := value.type.tensor_type.elem_type) in _OTHER_FLOATS]
    if other:
        raise ModelError(
            f"the model's input {', '.join(strange)} is {other[0]}; export the network in float32 (in torch: "
            "model.float() before the export); --quantize float16 halves the weights afterwards"
        )
    if strange:
        raise ModelError(
            f"the model's input {', '.join(strange)} is no float32 tensor; only float inputs are converted: make it "
            "a constant, or export the network without it"
        )
    return inputs


def _fix_shape(entry: Any, given: Sequence[int] | None, *, alone: bool) -> Shape:
    sides = entry.type.tensor_type.shape.dim
    known = [side.dim_value if side.HasField("dim_value") else None for side in sides]
    spelled = "[" + ", ".join(str(side.dim_value or side.dim_param or "?") for side in sides) + "]"
    if given is not None:
        fits = len(given) == len(known) and all(side in (None, value) for side, value in zip(known, given, strict=True))
        if not fits:
            raise UsageError(f"--input-shape {list(given)} does not fit the model's input {entry.name} {spelled}")
        known = list(given)
    elif known and known[0] is None:
        known[0] = 1
    if any(side is None for side in known):
        name = "" if alone else f"{entry.name}:"
        example = "1,3,HEIGHT,WIDTH" if len(known) == 4 else "1,LENGTH"
        raise UsageError(
            f"the model's input {entry.name} {spelled} has no fixed size; give it: --input-shape {name}{example}"
        )
    shape = tuple(int(side or 0) for side in known)
    if not math.prod(shape):
        raise ModelError(f"the model's input {entry.name} {spelled} holds no values; export it with a size above 0")
    for side, value in zip(sides, shape, strict=True):
        side.dim_value = value
    return shape


def takes_pictures(shapes: Mapping[str, Shape], *, said: bool = True) -> bool:
    """Whether the one input is a picture by its shape.

    ``said``: somebody speaks of pictures (their normalisation, colours, layout), so that a tiny one counts too.
    """
    only = next(iter(shapes.values()))
    sides = picture_sides(only, None)
    if len(shapes) != 1 or len(only) != 4 or sides is None or input_kind(only) != "picture":
        return False
    _, height, width, _ = sides
    return said or min(height, width) >= _SMALLEST_PICTURE


def channels_first(shapes: Mapping[str, Shape]) -> bool:
    """Whether a picture's colours come before its rows, as ONNX has them; exports from TensorFlow keep them last."""
    return next(iter(shapes.values()))[1] in {1, 3}


def takes_anything(shapes: Mapping[str, Shape], *, said: bool = True) -> bool:
    """Whether nothing about the one input looks like a picture: its values are then taken as they are."""
    only = next(iter(shapes.values()))
    looks = len(only) == 3 and input_kind(only) == "picture"
    return not looks and not takes_pictures(shapes, said=said)
