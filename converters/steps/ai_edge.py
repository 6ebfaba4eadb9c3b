"""What ai-edge-quantizer is told, and what is mended of its answer. TensorFlow is not needed."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np

from converters.rescue.recipe import Recipe
from converters.steps import integer_kernels, observer, repairs
from edge_runtime.errors import ModelError, UsageError
from edge_runtime.model_file import parse_model

_BATCH_MATMUL: Final = 126
_MAGNIFYING: Final = {73: frozenset({0, 18, 41, 47, 59, 74, 101}), 76: frozenset({0, 40})}
"""LOG, behind ADD, MUL, SUB, EXP, NEG, SUM, ABS; RSQRT, behind ADD and MEAN: a variance."""


def quantized(
    content: bytes,
    limits: Mapping[str, tuple[float, float]],
    scheme: str,
    recipe: Recipe,
    *,
    plain_dense: bool = False,
    only: str | None = None,
) -> bytes:
    """Return the model quantised; of ``only`` one layer, named by its output, where that is given."""
    try:
        from ai_edge_quantizer import qtyping, quantizer
    except ImportError as error:
        raise UsageError("quantising needs ai-edge-quantizer: pip install 'edge-infer[convert]'") from error
    work = quantizer.Quantizer(content)
    in_float = (*recipe.in_float, *(magnified(content) if limits else ()))
    if only is None:
        _RECIPES[scheme](work)
        _exceptions(work, recipe.wide, in_float)
        if scheme == "int16x8" or recipe.wide:
            _products_in_float(work, content, None if scheme == "int16x8" else recipe.wide)
    else:
        _layers(work, only, 16 if scheme == "int16x8" else 8)
    if plain_dense:
        _one_scale(work, qtyping.TFLOperationName.FULLY_CONNECTED, 8)
    try:
        result = work.quantize(_statistics(content, limits)) if limits else work.quantize()
    except (ValueError, RuntimeError, KeyError, TypeError, NotImplementedError) as error:
        raise ModelError(f"the quantiser does not take this network: {' '.join(str(error).split())}") from error
    assert result.quantized_model is not None
    quantized = repairs.rewritten(
        bytes(result.quantized_model), repairs.alike_parts, repairs.wide_steps, repairs.fixed_scales
    )
    if scheme == "int16x8" or only is not None or not limits:
        return quantized
    whole = integer_kernels.with_integer_kernels(quantized, limits, without=(*in_float, *recipe.wide))
    return whole if observer.runs_at_all(whole) else quantized


def _statistics(content: bytes, limits: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """Return the ranges in the form the quantiser takes."""
    ranks = {tensor.name: len(tensor.shape) for tensor in parse_model(content, "the float model").tensors}
    return {
        name: {
            key: np.full((1,) * ranks[name], value, np.float32) for key, value in zip(("min", "max"), ends, strict=True)
        }
        for name, ends in limits.items()
    }


def magnified(content: bytes) -> list[str]:
    """Return the outputs of what leads to a logarithm or a reciprocal root, and works value by value or adds up.

    Both make as much of small values as of large ones, which one scale rounds away: of the variance of a layer norm (a
    vision transformer: 16.6 dB, and 18.0 so), and of the 1 + exp(x) of a softplus, which reaches into the hundreds (an
    autoencoder: 17.6 dB, and 30.9 so).
    """
    model = parse_model(content, "the float model")
    makers = {index: operator for operator in model.operators for index in operator.outputs}
    readers = [one for one in model.operators if one.code.builtin in _MAGNIFYING]
    waiting = [(one.inputs[0], _MAGNIFYING[one.code.builtin]) for one in readers]
    found: dict[int, None] = {}
    while waiting:
        index, leading = waiting.pop()
        operator = makers.get(index)
        if operator is not None and index not in found and operator.code.builtin in leading:
            found[index] = None
            waiting += [(place, leading) for place in operator.inputs if place >= 0]
    return [model.tensors[index].name for index in found]


def _exceptions(work: Any, wide: Collection[str], in_float: Collection[str]) -> None:
    """Take layers out of int8."""
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.quantizer import AlgorithmName

    for name in wide:
        _layers(work, name, 16)
    for name in in_float:
        every = qtyping.TFLOperationName.ALL_SUPPORTED
        work.update_quantization_recipe(_scope(name), every, algorithm_key=AlgorithmName.NO_QUANTIZE)


def _products_in_float(work: Any, content: bytes, names: Collection[str] | None) -> None:
    """Leave products with constants in float, of those named: BATCH_MATMUL has no kernel for 16 by 8 bits."""
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.quantizer import AlgorithmName

    model = parse_model(content, "the float model")
    for operator in model.operators:
        name = model.tensors[operator.outputs[0]].name
        constant = any(model.buffer(model.tensors[index].buffer) for index in operator.inputs if index >= 0)
        if operator.code.builtin == _BATCH_MATMUL and constant and (names is None or name in names):
            every = qtyping.TFLOperationName.ALL_SUPPORTED
            work.update_quantization_recipe(_scope(name), every, algorithm_key=AlgorithmName.NO_QUANTIZE)


def _layers(work: Any, name: str, bits: int) -> None:
    from ai_edge_quantizer import qtyping

    every = qtyping.TFLOperationName.ALL_SUPPORTED
    work.add_static_config(_scope(name), every, activation_num_bits=bits, weight_num_bits=8)
    _one_scale(work, qtyping.TFLOperationName.BATCH_MATMUL, bits, scope=_scope(name))


def _scope(name: str) -> str:
    """Return the expression that finds an operator by its output, as the quantiser writes its scope."""
    return f"(?:^|;){re.escape(name)};"


def _static(work: Any, bits: int, *, integer_ends: bool) -> None:
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.quantizer import AlgorithmName

    names = qtyping.TFLOperationName
    work.add_static_config(".*", names.ALL_SUPPORTED, activation_num_bits=bits, weight_num_bits=8)
    # The kernel of BATCH_MATMUL reads one scale only: with one per channel a GRU came out at -0.1 dB.
    _one_scale(work, names.BATCH_MATMUL, bits)
    # A divisor in 8 bits may round to 0, which the kernel refuses: that of a layer norm did.
    # PADV2, of which the quantiser knows too little, is put in int8 behind it.
    for kind in (names.DIV, names.PADV2):
        work.update_quantization_recipe(".*", kind, algorithm_key=AlgorithmName.NO_QUANTIZE)
    if not integer_ends:
        for end in (names.INPUT, names.OUTPUT):
            work.update_quantization_recipe(".*", end, algorithm_key=AlgorithmName.NO_QUANTIZE)


def _one_scale(work: Any, operator: Any, bits: int, *, scope: str = ".*") -> None:
    """Give an operator's constant weights one scale for all of them."""
    from ai_edge_quantizer import qtyping

    work.add_static_config(
        scope,
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
