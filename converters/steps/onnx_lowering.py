"""An ONNX model with fixed shapes as a float ``.tflite``: rewritten, converted by onnx2tf, its ends put right."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.arrays import Array
from converters.comparison import sqnr_db
from converters.onnx_rewrite import prepare
from converters.onnx_rewrite.coverage import unsupported
from converters.rounding import SAME_NETWORK_DB
from converters.steps.onnx_names import named_again, without_colons
from edge_runtime.errors import ModelError
from edge_runtime.model_file import CUSTOM, read_model

_NAMED_AT_MOST: Final = 6
_SAME_DB: Final = 60.0
"""Enough to tell which output it is and how it was turned; whether it is right is asked later."""
_MOST_AXES: Final = 6


class NotConvertedError(ModelError):
    """The converter gave up without saying where."""


@dataclass(frozen=True, slots=True)
class Lowering:
    """How a model is converted."""

    folder: Path
    shapes: Mapping[str, tuple[int, ...]]
    """Of the inputs, in the source's order."""
    turned: bool
    """Whether the converter may bring its inputs and outputs into the layout of pictures."""
    fused: bool = False
    """Whether onnxsim may fuse what belongs together first."""


def lower(model: Any, how: Lowering) -> bytes:
    """Return the float ``.tflite``. Raises ModelError that names the operators that do not convert."""
    import onnx

    plain = _simplified(prepare(model)) if how.fused else prepare(model)
    refused = unsupported(plain)
    if refused:
        raise ModelError(f"operators that do not convert: {'; '.join(refused[:_NAMED_AT_MOST])}; change this part")
    names = without_colons(plain)
    how.folder.mkdir(exist_ok=True)
    # The converter rewrites its input file: it gets one of its own.
    copy = how.folder / "model.onnx"
    found = how.folder / "model_float32.tflite"
    found.unlink(missing_ok=True)
    onnx.save(plain, str(copy))
    plain_names = {name: wanted for wanted, name in names.items()}
    _convert(copy, how, [plain_names.get(name, name) for name in how.shapes])
    if not found.is_file():
        raise NotConvertedError("onnx2tf wrote no float32 model")
    _refuse_custom(found, model)
    return named_again(found.read_bytes(), names)


def _simplified(model: Any) -> Any:
    """Return the model as onnxsim has it: what belongs together in a network of pictures is fused."""
    from onnxsim import simplify

    try:
        return simplify(model)[0]
    except Exception:  # noqa: BLE001 - it raises what it likes; the model is good without it
        return model


def _convert(copy: Path, how: Lowering, inputs: Sequence[str]) -> None:
    import onnx2tf

    try:
        onnx2tf.convert(
            input_onnx_file_path=str(copy),
            output_folder_path=str(how.folder),
            non_verbose=True,
            copy_onnx_input_output_names_to_tflite=True,
            not_use_onnxsim=True,  # which would start it as a command; it was asked already
            keep_ncw_or_nchw_or_ncdhw_input_names=None if how.turned else list(inputs),
        )
    except SystemExit as error:
        raise NotConvertedError("onnx2tf gave the network up") from error
    except Exception as error:
        raise NotConvertedError(f"onnx2tf does not convert it: {' '.join(str(error).split())[:300]}") from error


def _refuse_custom(path: Path, model: Any) -> None:
    """Refuse a result with operators that the interpreter does not have. Raises ModelError that says where they are."""
    custom = {code.custom for code in read_model(path).operator_codes if code.builtin == CUSTOM and code.custom}
    if not custom:
        return
    kinds = {name.removeprefix("ONNX_").lower() for name in custom}
    places = [node.name or node.output[0] for node in model.graph.node if node.op_type.lower() in kinds]
    where = f" at {', '.join(places[:_NAMED_AT_MOST])}" if places else ""
    raise ModelError(f"operators that TFLite does not have: {', '.join(sorted(custom))}{where}; change this part")


def settled(content: bytes, how: Lowering, inputs: Sequence[Array], wanted: Mapping[str, Array]) -> bytes:
    """Return the model with its ends as the source has them: names, order, layout.

    ``wanted`` are the source's outputs for ``inputs``; how an output was turned is told by its values. One that agrees
    in no order of axes stays as it is: the comparison that follows refuses it. Raises ModelError when an input is lost.
    """
    from converters.steps.tflite_ends import Ends

    ends = Ends(content)
    if not ends.name_inputs(list(how.shapes), list(how.shapes.values())):
        raise ModelError("onnx2tf changed the shape of an input; the network is refused")
    content = ends.packed()
    found = run(content, inputs)
    ends = Ends(content)
    free = list(wanted)
    order: dict[str, int] = {}
    for position, got in enumerate(found):
        match = _matching(got, {name: wanted[name] for name in free})
        if match is None:
            continue
        name, axes = match
        free.remove(name)
        order[name] = position
        if axes is None:
            ends.shape_output(position, wanted[name].shape, name)
        elif list(axes) != sorted(axes):
            ends.turn_output(position, axes, name)
    if len(order) == len(wanted) == len(found):
        ends.order_outputs([order[name] for name in wanted], {name: value.shape for name, value in wanted.items()})
    return ends.packed()


def agrees(content: bytes, how: Lowering, inputs: Sequence[Array], wanted: Mapping[str, Array]) -> bool:
    """Whether every output is there in some layout. Raises ModelError for a model that does not run."""
    from converters.steps.tflite_ends import Ends

    ends = Ends(content)
    if not ends.name_inputs(list(how.shapes), list(how.shapes.values())):
        return False
    found = run(ends.packed(), inputs)
    return all(
        any(_matching(got, {name: value}, least_db=SAME_NETWORK_DB) for got in found) for name, value in wanted.items()
    )


def run(content: bytes, inputs: Sequence[Array]) -> list[Array]:
    """Run a float model once in LiteRT. Raises ModelError for one that the interpreter refuses."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        for entry, value in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(entry["index"], np.asarray(value, np.float32, order="C"))
        interpreter.invoke()
        return [np.asarray(interpreter.get_tensor(entry["index"])) for entry in interpreter.get_output_details()]
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"LiteRT refuses the converted network: {' '.join(str(error).split())[:300]}") from error


def _matching(
    got: Array, wanted: Mapping[str, Array], *, least_db: float = _SAME_DB
) -> tuple[str, tuple[int, ...] | None] | None:
    """Return which output it is, and the axes that bring it back (None: another shape of the same values)."""
    for name, value in wanted.items():
        if got.shape == value.shape and sqnr_db(value, got) >= least_db:
            return name, tuple(range(got.ndim))
    for name, value in wanted.items():
        if sorted(got.shape) != sorted(value.shape) or got.ndim > _MOST_AXES:
            continue
        for axes in itertools.permutations(range(got.ndim)):
            back = got.transpose(axes)
            if back.shape == value.shape and sqnr_db(value, back) >= least_db:
                return name, axes
    for name, value in wanted.items():
        alike = got.shape != value.shape and got.size == value.size
        if alike and sqnr_db(value.reshape(-1), got.reshape(-1)) >= least_db:
            return name, None
    return None
