"""Quantise a float ``.tflite`` with ai-edge-quantizer; TensorFlow is not needed."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.arrays import read_array
from edge_runtime.errors import ModelError, UsageError

_THREADS: Final = 2


class Session:
    """Quantises models one after the other."""

    def quantize(self, source: str, output: str, scheme: str, samples: str | None = None) -> dict[str, Any]:
        """Write the quantised model. ``samples`` is an .npy of float32 inputs, (n, ...), for int8 and int16x8.

        Returns ``ranges``: {tensor: [min, max]} over the calibration samples, empty where none are needed. Raises
        ModelError for what the quantiser does not take, UsageError where it is not installed.
        """
        try:
            from ai_edge_quantizer import quantizer
        except ImportError as error:
            raise UsageError("quantising needs ai-edge-quantizer: pip install 'edge-infer[convert]'") from error
        content = with_signature(Path(source).read_bytes())
        work = quantizer.Quantizer(content)
        _RECIPES[scheme](work)
        ranges: dict[str, Any] = {}
        if samples is not None:
            ranges = _calibrate(content, work, samples)
        try:
            result = work.quantize(ranges) if ranges else work.quantize()
        except (ValueError, RuntimeError, KeyError, TypeError, NotImplementedError) as error:
            raise ModelError(f"the quantiser does not take this network: {' '.join(str(error).split())}") from error
        assert result.quantized_model is not None
        Path(output).write_bytes(bytes(result.quantized_model))
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
    builder = flatbuffers.Builder(len(content) + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _named(schema: Any, name: bytes, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(index)
    return entry


def _limits(qsv: Any) -> list[float]:
    return [float(np.min(qsv["min"])), float(np.max(qsv["max"]))]


def _calibrate(content: bytes, work: Any, samples: str) -> dict[str, Any]:
    """Run the calibration samples and keep the smallest and largest value of each tensor.

    The package's own default, a moving average, clips: 28 dB where minimum and maximum gave 39 (a digits CNN).
    """
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import recipe_manager
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.utils import calibration_utils

    interpreter = Interpreter(model_content=content)
    signatures, shape = interpreter.get_signature_list(), interpreter.get_input_details()[0]["shape"]
    if not signatures:
        raise ModelError(
            "the float model has no signature, which the quantiser needs; convert it again from its source"
        )
    signature, tensors = next(iter(signatures.items()))
    recipes = recipe_manager.RecipeManager()
    recipes.load_quantization_recipe(work.get_quantization_recipe())
    calibrator = Calibrator(content, num_threads=_THREADS, qsv_update_func=calibration_utils.min_max_update)
    data = [{tensors["inputs"][0]: np.ascontiguousarray(sample.reshape(shape))} for sample in read_array(samples)]
    calibrator.calibrate({signature: data}, recipes)
    return dict(calibrator.get_model_qsvs())


def _static(work: Any, bits: int, *, integer_ends: bool) -> None:
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.quantizer import AlgorithmName

    names = qtyping.TFLOperationName
    work.add_static_config(".*", names.ALL_SUPPORTED, activation_num_bits=bits, weight_num_bits=8)
    if not integer_ends:
        for end in (names.INPUT, names.OUTPUT):
            work.update_quantization_recipe(".*", end, algorithm_key=AlgorithmName.NO_QUANTIZE)


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
