"""Quantise a float ``.tflite`` with ai-edge-quantizer; TensorFlow is not needed."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.arrays import read_array, split_sample
from converters.steps import counting
from edge_runtime.errors import ModelError, UsageError
from edge_runtime.model_file import parse_model

_THREADS: Final = 2
_SPLITTING: Final = frozenset({49, 88, 102})
"""SPLIT, UNPACK, SPLIT_V: their outputs are parts of one input and have its scale."""


class Session:
    """Quantises models one after the other."""

    def quantize(
        self, source: str, output: str, scheme: str, samples: str | None = None, *, plain_dense: bool = False
    ) -> dict[str, Any]:
        """Write the quantised model. ``samples`` is an .npy of float32 inputs, (n, ...), for int8 and int16x8.

        ``plain_dense`` gives the weights of FULLY_CONNECTED one scale: what an Edge TPU's compiler reads of it.

        Returns ``ranges``: {tensor: [min, max]} over the calibration samples, empty where none are needed. Raises
        ModelError for what the quantiser does not take, UsageError where it is not installed.
        """
        try:
            from ai_edge_quantizer import qtyping, quantizer
        except ImportError as error:
            raise UsageError("quantising needs ai-edge-quantizer: pip install 'edge-infer[convert]'") from error
        content = with_signature(Path(source).read_bytes())
        work = quantizer.Quantizer(content)
        _RECIPES[scheme](work)
        if plain_dense:
            _one_scale(work, qtyping.TFLOperationName.FULLY_CONNECTED, 8)
        ranges: dict[str, Any] = {}
        if samples is not None:
            ranges = _calibrate(content, samples)
        try:
            result = work.quantize(ranges) if ranges else work.quantize()
        except (ValueError, RuntimeError, KeyError, TypeError, NotImplementedError) as error:
            raise ModelError(f"the quantiser does not take this network: {' '.join(str(error).split())}") from error
        assert result.quantized_model is not None
        Path(output).write_bytes(with_alike_parts(bytes(result.quantized_model)))
        return {"ranges": {name: _limits(qsv) for name, qsv in ranges.items() if "min" in qsv}}


def with_signature(content: bytes) -> bytes:
    """Return the model with names for its inputs and outputs, by which the quantiser feeds it."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    if model.signatureDefs:
        return content
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs, signature.outputs = (
        [_named(schema, b"%s_%d" % (kind, number), index) for number, index in enumerate(tensors)]
        for kind, tensors in ((b"input", graph.inputs), (b"output", graph.outputs))
    )
    model.signatureDefs = [signature]
    return _packed(flatbuffers, model)


def with_alike_parts(content: bytes) -> bytes:
    """Give the parts of a split tensor that nobody reads the type of the others.

    The quantiser leaves them in float, and the interpreter then refuses the operator. A recurrence that is written
    out has one: the first step's forget gate.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    parsed = parse_model(content, "the quantised model")
    read = {index for operator in parsed.operators for index in operator.inputs} | set(parsed.outputs)
    strays = [
        (index, whole)
        for operator in parsed.operators
        if operator.code.builtin in _SPLITTING
        for whole in [place for place in operator.inputs if parsed.tensors[place].scales.size]
        for index in operator.outputs
        if index not in read and not parsed.tensors[index].scales.size
    ]
    if not strays:
        return content
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    tensors = model.subgraphs[0].tensors
    for index, whole in strays:
        tensors[index].type, tensors[index].quantization = tensors[whole].type, tensors[whole].quantization
    return _packed(flatbuffers, model)


def _packed(flatbuffers: Any, model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _named(schema: Any, name: bytes, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(index)
    return entry


def _limits(qsv: Any) -> list[float]:
    return [float(np.min(qsv["min"])), float(np.max(qsv["max"]))]


def _calibrate(content: bytes, samples: str) -> dict[str, Any]:
    """Run the samples and return the smallest and largest value of each tensor, in the form the quantiser takes.

    Its own calibration keeps a moving average, which clips: 28 dB where minimum and maximum gave 39 (a digits CNN); and
    it runs with XNNPACK, behind which the tensors of unrolled recurrences cannot be read.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        num_threads=_THREADS,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    entries = interpreter.get_input_details()
    shapes = [tuple(entry["shape"]) for entry in entries]
    computed = _computed(content)
    limits: dict[str, list[float]] = {}
    inputs = read_array(samples)
    for number, sample in enumerate(inputs, 1):
        counting.count(number, len(inputs))
        for entry, value in zip(entries, split_sample(sample, shapes), strict=True):
            interpreter.set_tensor(entry["index"], np.ascontiguousarray(value))
        interpreter.invoke()
        for index, name in computed:
            values = interpreter.get_tensor(index)
            low, high = limits.setdefault(name, [np.inf, -np.inf])
            limits[name] = [min(low, float(values.min())), max(high, float(values.max()))]
    ranks = {tensor.name: len(tensor.shape) for tensor in parse_model(content, "the float model").tensors}
    return {
        name: {
            key: np.full((1,) * ranks[name], value, np.float32) for key, value in zip(("min", "max"), ends, strict=True)
        }
        for name, ends in limits.items()
    }


def _computed(content: bytes) -> list[tuple[int, str]]:
    """Return index and name of every float tensor that is no constant and holds something."""
    model = parse_model(content, "the float model")
    used = set(model.inputs) | {index for operator in model.operators for index in operator.outputs}
    return [
        (tensor.index, tensor.name)
        for tensor in model.tensors
        if tensor.index in used and tensor.type.name == "float32" and tensor.name and 0 not in tensor.shape
    ]


def _static(work: Any, bits: int, *, integer_ends: bool) -> None:
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.quantizer import AlgorithmName

    names = qtyping.TFLOperationName
    work.add_static_config(".*", names.ALL_SUPPORTED, activation_num_bits=bits, weight_num_bits=8)
    # The kernel of BATCH_MATMUL reads one scale only: with one per channel a GRU came out at -0.1 dB.
    _one_scale(work, names.BATCH_MATMUL, bits)
    if not integer_ends:
        for end in (names.INPUT, names.OUTPUT):
            work.update_quantization_recipe(".*", end, algorithm_key=AlgorithmName.NO_QUANTIZE)


def _one_scale(work: Any, operator: Any, bits: int) -> None:
    """Give an operator's constant weights one scale for all of them."""
    from ai_edge_quantizer import qtyping

    work.add_static_config(
        ".*",
        operator,
        activation_num_bits=bits,
        weight_num_bits=8,
        weight_granularity=qtyping.QuantGranularity.TENSORWISE,
    )


def _int8(work: Any) -> None:
    _static(work, 8, integer_ends=True)


def _int8_float_ends(work: Any) -> None:
    _static(work, 8, integer_ends=False)


def _int16x8(work: Any) -> None:
    _static(work, 16, integer_ends=False)


def _dynamic(work: Any) -> None:
    from ai_edge_quantizer import qtyping

    work.add_dynamic_config(".*", qtyping.TFLOperationName.ALL_SUPPORTED, num_bits=8)


def _float16(work: Any) -> None:
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.quantizer import AlgorithmName

    work.update_quantization_recipe(
        ".*",
        qtyping.TFLOperationName.ALL_SUPPORTED,
        qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        AlgorithmName.FLOAT_CASTING,
    )


_RECIPES: Final = {
    "int8": _int8,
    "int8-float-io": _int8_float_ends,
    "int16x8": _int16x8,
    "dynamic": _dynamic,
    "float16": _float16,
}
