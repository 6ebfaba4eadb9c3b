"""Keras models (``.keras``, ``.h5``) and SavedModel folders: to float ``.tflite``, and run as they are."""

import json
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.arrays import Array, read_array, write_arrays
from converters.rounding import disturbed
from converters.steps.tensorflow_graph import converter, give_memory_back, import_tensorflow
from edge_runtime.errors import ModelError, UsageError

_BATCH: Final = 32
_BATCH_VALUES: Final = 600_000
"""Input values run at once at most: activations of 32 pictures of 224 by 224 would take 3 GB."""
_UNSUPPORTED: Final = re.compile(r"(?:TF Select ops|Custom ops|Flex ops): ([^\n]+)")
_PLACE: Final = re.compile(r"loc\((?:fused\[[^\]]*\"|callsite\(|\")([^\"\]]+)")


class Session:
    """One model, loaded once: converted, then run on the samples."""

    def __init__(self) -> None:
        self._run: Any = None
        self._constant: Any = None
        self._kept: Any = None
        """What owns the variables; they go when it goes."""
        self._weights: Sequence[Any] = ()
        self._batch = _BATCH

    def convert(self, source: str, output: str, input_shape: list[int] | None, *, unroll: bool) -> dict[str, Any]:
        """Write the float ``.tflite`` with a batch of 1. Returns ``names`` of the outputs and ``normalization``.

        ``unroll`` writes the steps of LSTM, GRU and the like out one after the other: loops cannot be calibrated.

        Raises ModelError for what does not load or convert, UsageError when a shape must be given.
        """
        tensorflow = import_tensorflow()
        self._constant = tensorflow.constant
        if Path(source).is_dir():
            traced, names = self._saved_model(tensorflow, source, Path(output).parent, input_shape)
            found = None
        else:
            traced, names, found = self._keras(tensorflow, source, input_shape, unroll=unroll)
        try:
            content = converter(tensorflow, traced).convert()
        except Exception as error:
            raise ModelError(_explain(str(error))) from error
        Path(output).write_bytes(content)
        give_memory_back()
        return {"names": names, "normalization": found, "large": True}

    def run(self, samples: str, folder: str, axes: list[int], *, seed: int | None = None) -> dict[str, Any]:
        """Run the source as it was given on an .npy of inputs; write its outputs. ``axes`` is the identity here.

        With a ``seed`` its weights differ in their last bits for the time.
        """
        assert axes == sorted(axes)
        if seed is None:
            return self._answers(samples, folder)
        weights = [one for one in self._weights if one.dtype == "float32"]
        saved = [one.numpy() for one in weights]
        generator = np.random.default_rng(seed)
        try:
            for one, values in zip(weights, saved, strict=True):
                one.assign(disturbed(values, generator))
            return self._answers(samples, folder)
        finally:
            for one, values in zip(weights, saved, strict=True):
                one.assign(values)

    def _answers(self, samples: str, folder: str) -> dict[str, Any]:
        inputs = read_array(samples)
        rows: list[list[Array]] = []
        batch = max(1, min(self._batch, _BATCH_VALUES // max(inputs[0].size, 1)))
        for start in range(0, len(inputs), batch):
            results = self._run(self._constant(np.ascontiguousarray(inputs[start : start + batch])))
            rows.append([np.asarray(result, np.float32) for result in results])
        columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
        return {"outputs": write_arrays(Path(folder), "source", columns)}

    def _keras(
        self, tensorflow: Any, source: str, input_shape: list[int] | None, *, unroll: bool
    ) -> tuple[Any, list[str], str | None]:
        import keras

        refuse_code(read_config(source), source)
        try:
            model = keras.models.load_model(source, compile=False, safe_mode=True)
        except (ValueError, TypeError, OSError, KeyError, ImportError) as error:
            raise ModelError(
                f"{source}: Keras does not load it: {reason_of(error)}; save it again, or export it to ONNX"
            ) from error
        shape = _single_shape([(tensor.shape, tensor.dtype) for tensor in model.inputs], input_shape)
        names = [getattr(tensor, "name", f"output_{n}") for n, tensor in enumerate(model.outputs)]
        names = list(getattr(model, "output_names", names))
        traced = _traced(tensorflow, model, shape)
        self._run, self._batch, self._weights = traced, 1, traced.variables
        if unroll and _has_steps(read_config(source)):
            traced = _traced(tensorflow, _written_out(keras, model, shape), shape)
        return traced, names, find_normalization(model)

    def _saved_model(
        self, tensorflow: Any, source: str, folder: Path, input_shape: list[int] | None
    ) -> tuple[Any, list[str]]:
        try:
            loaded = tensorflow.saved_model.load(_without_optimizer(source, folder / "saved_model"))
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise ModelError(f"{source} is no SavedModel that loads: {str(error).partition(chr(10))[0]}") from error
        signature = loaded.signatures.get("serving_default")
        if signature is None:
            raise ModelError(f"{source}: no signature serving_default; export the model with one")
        arguments = signature.structured_input_signature[1]
        shape = _single_shape([(tensor.shape, tensor.dtype.name) for tensor in arguments.values()], input_shape)
        key = next(iter(arguments))
        names = sorted(signature.structured_outputs)

        def call(value: Any) -> list[Any]:
            results = signature(**{key: value})
            return [results[name] for name in names]

        one = tensorflow.function(call, input_signature=[tensorflow.TensorSpec(shape, tensorflow.float32, name=key)])
        self._run, self._kept, self._weights = call, loaded, signature.variables
        return one.get_concrete_function(), names


def reason_of(error: Exception) -> str:
    """Return in one line what Keras did not like: it wraps an error in one for each level that it was building."""
    return str(error).rpartition("Exception encountered: ")[2].strip().partition("\n")[0]


def _without_optimizer(source: str, copy: Path) -> str:
    """Copy a SavedModel without the slots of its optimizer: what Keras 2 wrote of them, newer ones cannot load."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    shutil.copytree(source, copy)
    description = copy / "saved_model.pb"
    try:
        model = saved_model_pb2.SavedModel.FromString(description.read_bytes())
    except DecodeError as error:
        raise ModelError(f"{source}/saved_model.pb is damaged; export the model again") from error
    for graph in model.meta_graphs:
        for node in graph.object_graph_def.nodes:
            del node.slot_variables[:]
    description.write_bytes(model.SerializeToString())
    return str(copy)


def _single_shape(inputs: list[tuple[Any, str]], given: list[int] | None) -> list[int]:
    """Return the one input's shape with a batch of 1. Raises ModelError, UsageError when it is not known."""
    if len(inputs) != 1:
        raise ModelError(f"the model has {len(inputs)} inputs; the device feeds one")
    shape, dtype = inputs[0]
    if str(dtype) not in {"float32", "float16", "bfloat16"}:
        raise ModelError(f"the model's input is of type {dtype}; only float inputs are converted")
    sides = [1, *list(shape)[1:]]
    if given is not None:
        fits = len(given) == len(sides) and all(
            side in (None, value) for side, value in zip(sides[1:], given[1:], strict=True)
        )
        if not fits or given[0] != 1:
            raise UsageError(
                f"--input-shape {given} does not fit the model's input {_spelled(sides)}, a batch of 1 first"
            )
        return given
    if any(side is None for side in sides):
        raise UsageError(
            f"the model's input {_spelled(sides)} has no fixed size; give it: --input-shape 1,HEIGHT,WIDTH,3"
        )
    return [int(side) for side in sides]


def _spelled(sides: list[Any]) -> str:
    return "[" + ", ".join("?" if side is None else str(side) for side in sides) + "]"


def _traced(tensorflow: Any, model: Any, shape: list[int]) -> Any:
    """Return the network as one function of a batch of 1: an open one brings operators that ask for it at run time.

    Converted from this, and not from a SavedModel that Keras would write first, MobileNetV2 takes 1.1 s instead of 8.1.
    """
    entry = tensorflow.TensorSpec(shape, tensorflow.float32, name="input")
    flat = lambda value: tensorflow.nest.flatten(model(value, training=False))  # noqa: E731
    return tensorflow.function(flat, input_signature=[entry], autograph=False).get_concrete_function()


def _has_steps(config: Any) -> bool:
    """Whether a layer goes through its input step by step."""
    return any("unroll" in (layer.get("config") or {}) for layer in _layers(config))


def _written_out(keras: Any, model: Any, shape: list[int]) -> Any:
    """Return the network with its recurrences written out. Raises ModelError for a network of Python code."""
    entry = keras.Input(batch_shape=tuple(shape), dtype="float32")
    try:
        alone = isinstance(model, keras.Sequential)  # takes a list of one; others the structure of their own input
        entries = [entry] if alone else keras.tree.pack_sequence_as(model.input, [entry])
        copy = keras.models.clone_model(model, input_tensors=entries, clone_function=_unrolled)
        copy.set_weights(model.get_weights())
        _settle(copy)
    except (ValueError, TypeError, NotImplementedError, AttributeError) as error:
        raise ModelError(
            "its recurrent layers cannot be written out, which int8 needs: "
            f"{str(error).partition(chr(10))[0][:200]}; use --quantize dynamic"
        ) from error
    return copy


def _settle(layer: Any) -> None:
    """Let layers that were adapted to data, Normalization for one, compute with the statistics they were given."""
    for inner in getattr(layer, "layers", ()):
        _settle(inner)
    if hasattr(layer, "finalize_state"):
        layer.finalize_state()


def _unrolled(layer: Any) -> Any:
    """Return a copy of a layer with its recurrence written out, where it has one."""
    config = layer.get_config()
    _set_unroll(config)
    return type(layer).from_config(config)


def _set_unroll(config: Any) -> None:
    if isinstance(config, dict):
        if config.get("unroll") is False:
            config["unroll"] = True
        for value in config.values():
            _set_unroll(value)


def read_config(source: str) -> Any:
    """Return a Keras file's own description of its layers, or None. Nothing of it is executed."""
    if zipfile.is_zipfile(source):
        try:
            with zipfile.ZipFile(source) as archive:
                return json.loads(archive.read("config.json"))
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ModelError(f"{source} is no .keras file: {error}") from error
    import h5py

    try:
        with h5py.File(source) as file:
            text = file.attrs.get("model_config")
    except OSError as error:
        raise ModelError(f"{source} is no Keras model: {str(error).partition(chr(10))[0]}") from error
    if text is None:
        raise ModelError(f"{source} has weights only, no network; save the whole model: model.save('model.keras')")
    return json.loads(text)


def refuse_code(config: Any, source: str) -> None:
    """Refuse a model that carries Python code. Raises ModelError that names the layer."""
    for layer in _layers(config):
        if layer.get("class_name") == "Lambda":
            name = (layer.get("config") or {}).get("name", "?")
            raise ModelError(
                f"{source}: layer {name!r} is a Lambda, which is Python code from the file and is not executed; "
                "replace it by a layer of Keras' own, or export the model to ONNX"
            )


def _layers(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, dict):
        if "class_name" in node:
            yield node
        for value in node.values():
            yield from _layers(value)
    elif isinstance(node, list):
        for value in node:
            yield from _layers(value)


def find_normalization(model: Any) -> str | None:
    """Return the name of the layer that normalises pixels at the model's entry, or None where there is none.

    A Rescaling counts when it brings 0..255 to about -1..1 or 0..1.
    """
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "InputLayer":
            continue
        if hasattr(layer, "layers"):
            return find_normalization(layer)
        if kind == "Normalization":
            return str(layer.name)
        if kind == "Rescaling":
            high = float(np.max(np.abs(255.0 * np.asarray(layer.scale) + np.asarray(layer.offset))))
            return str(layer.name) if 0.4 <= high <= 1.6 else None
        return None
    return None


def _explain(message: str) -> str:
    """Return one line of what TensorFlow's converter says, the operators it does not know named."""
    operators = sorted({name.strip() for found in _UNSUPPORTED.findall(message) for name in found.split(",")})
    if operators:
        places = sorted(set(_PLACE.findall(message)))[:3]
        where = f" (at {', '.join(places)})" if places else ""
        return f"operators that TFLite does not have: {', '.join(operators)}{where}; change these layers"
    return f"TensorFlow does not convert it: {message.strip().partition(chr(10))[0][:300]}"
