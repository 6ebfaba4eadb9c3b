"""Quantise a float ``.tflite`` with ai-edge-quantizer; TensorFlow is not needed."""

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from converters.comparison import SAME_DB, sqnr_db
from converters.rescue import bias_correction, equalization
from converters.rescue.network import FloatNetwork
from converters.rescue.ranges import Observed, chosen_range, clipped_share
from converters.rescue.recipe import LayerError, Recipe, TensorRange
from converters.steps import counting, integer_kernels, observer, repairs
from edge_runtime.analysis.operator_names import operator_name
from edge_runtime.errors import ModelError, UsageError
from edge_runtime.model_file import parse_model

_LEVELS: Final = {"int16x8": 65535}
"""Steps of an activation's integers; 255 otherwise."""
_MOST_COMPARED: Final = 8
"""Samples over which activations are compared."""
_BINS: Final = 48


class Session:
    """Quantises one model after the other; what calibration showed of a network is kept for its next recipe."""

    def __init__(self) -> None:
        self._prepared: dict[tuple[str, bool, bool], tuple[bytes, dict[str, Observed]]] = {}

    def quantize(
        self,
        source: str,
        output: str,
        scheme: str,
        samples: str | None = None,
        *,
        recipe: Mapping[str, Any] | None = None,
        plain_dense: bool = False,
    ) -> dict[str, Any]:
        """Write the quantised model. ``samples`` is an .npy of float32 inputs, (n, ...), for int8 and int16x8.

        ``recipe`` are the fields of a ``Recipe``; ``plain_dense`` gives the weights of FULLY_CONNECTED one scale: what
        an Edge TPU's compiler reads of it. Returns ``ranges``: a ``TensorRange`` for each activation, the most clipped
        first, empty where none are needed. Raises ModelError for what the quantiser does not take, UsageError
        where it is not installed.
        """
        wanted = _recipe(recipe)
        seen: dict[str, Observed] = {}
        if samples is None:
            content = repairs.with_signature(Path(source).read_bytes())
        else:
            content, seen = self._prepare(source, samples, equalized=wanted.equalized, corrected=wanted.bias_corrected)
        levels = _LEVELS.get(scheme, 255)
        limits = {name: chosen_range(one, wanted.ranges, levels=levels) for name, one in seen.items()}
        Path(output).write_bytes(_quantized(content, limits, scheme, wanted, plain_dense=plain_dense))
        ranges = [_described(name, seen[name], ends) for name, ends in limits.items()]
        ranges.sort(key=lambda one: one.clipped_share, reverse=True)
        return {"ranges": [asdict(one) for one in ranges]}

    def _prepare(
        self, source: str, samples: str, *, equalized: bool, corrected: bool
    ) -> tuple[bytes, dict[str, Observed]]:
        """Return the network as a recipe wants its weights, and what its tensors hold over the samples."""
        key = (source, equalized, corrected)
        if key not in self._prepared:
            content = repairs.with_signature(integer_kernels.with_products(Path(source).read_bytes()))
            if equalized:
                content = _equalized(content, samples)
            seen = observer.observe(content, samples)
            if corrected:
                content = _corrected(content, samples)
            self._prepared[key] = content, seen
        return self._prepared[key]

    def layer_errors(
        self, source: str, artifact: str, samples: str, trial: str, recipe: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Compare every activation over ``trial`` with that of the float network; ``layers`` in execution order.

        ``recipe`` is that of the artifact: equalised tensors are compared with equalised ones.
        """
        wanted, _ = self._prepare(source, samples, equalized=_recipe(recipe).equalized, corrected=False)
        got = Path(artifact).read_bytes()
        names = {name: index for index, name in observer.computed(wanted)}
        others = {name: values_of for name, values_of in observer.comparable(got).items() if name in names}
        signal, noise = dict.fromkeys(others, 0.0), dict.fromkeys(others, 0.0)
        both = zip(observer.runs(wanted, trial), observer.runs(got, trial), strict=True)
        for read, read_other in itertools.islice(both, _MOST_COMPARED):
            for name, values_of in others.items():
                right = read(names[name]).astype(np.float64)
                signal[name] += float(np.sum(right**2))
                noise[name] += float(np.sum((values_of(read_other) - right) ** 2))
        layers = [
            LayerError(name, kind, _ratio_db(signal[name], noise[name]))
            for name, kind in _operators(wanted)
            if name in others
        ]
        return {"layers": [asdict(one) for one in layers]}

    def alone(
        self, source: str, samples: str, trial: str, scheme: str, recipe: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Quantise one layer at a time; ``layers``: [name, dB of the worst output over ``trial``], the worst first."""
        wanted = _recipe(recipe)
        content, seen = self._prepare(source, samples, equalized=wanted.equalized, corrected=False)
        limits = {name: chosen_range(one, wanted.ranges) for name, one in seen.items()}
        right = observer.outputs(content, trial)
        found = []
        names = list(dict.fromkeys(name for name, _ in _operators(content)))
        for number, name in enumerate(names, 1):
            counting.count(number, len(names))
            try:
                got = observer.outputs(_quantized(content, limits, scheme, Recipe(), only=name), trial)
            except (ModelError, RuntimeError, ValueError):
                continue  # an operator that cannot stand alone between floats
            found.append((name, min(sqnr_db(one, other) for one, other in zip(right, got, strict=True))))
        return {"layers": sorted(found, key=lambda one: one[1])}


def _recipe(fields: Mapping[str, Any] | None) -> Recipe:
    """Return a recipe from JSON values."""
    return msgspec.convert(dict(fields or {}), Recipe)


def _equalized(content: bytes, samples: str) -> bytes:
    network = FloatNetwork(content)
    equalization.equalize(network, observer.channel_statistics(content, samples))
    content = network.content()
    network = FloatNetwork(content)
    absorbed = equalization.absorb_biases(network, observer.channel_statistics(content, samples))
    return network.content() if absorbed else content


def _corrected(content: bytes, samples: str) -> bytes:
    network = FloatNetwork(content)
    seen = observer.channel_statistics(content, samples)
    bias_correction.correct_biases(network, {name: one.mean for name, one in seen.items()})
    return network.content()


def _quantized(
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
    if only is None:
        _RECIPES[scheme](work)
        _exceptions(work, recipe)
    else:
        _layers(work, only, 16 if scheme == "int16x8" else 8)
    if plain_dense:
        _one_scale(work, qtyping.TFLOperationName.FULLY_CONNECTED, 8)
    try:
        result = work.quantize(_statistics(content, limits)) if limits else work.quantize()
    except (ValueError, RuntimeError, KeyError, TypeError, NotImplementedError) as error:
        raise ModelError(f"the quantiser does not take this network: {' '.join(str(error).split())}") from error
    assert result.quantized_model is not None
    quantized = repairs.with_wide_steps(repairs.with_alike_parts(bytes(result.quantized_model)))
    quantized = repairs.with_fixed_scales(quantized)
    if scheme == "int16x8" or only is not None or not limits:
        return quantized
    whole = integer_kernels.with_integer_kernels(quantized, limits, without=recipe.in_float + recipe.wide)
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


def _described(name: str, seen: Observed, ends: tuple[float, float]) -> TensorRange:
    counts = np.histogram(seen.values, _BINS, (seen.low, seen.high))[0] if seen.high > seen.low else ()
    return TensorRange(
        name=name,
        low=ends[0],
        high=ends[1],
        seen=(seen.low, seen.high),
        clipped_share=clipped_share(seen.values, *ends),
        histogram=tuple(int(count) for count in counts),
    )


def _operators(content: bytes) -> list[tuple[str, str]]:
    """Return the output and the kind of every operator, in execution order."""
    model = parse_model(content, "the float model")
    return [
        (model.tensors[operator.outputs[0]].name, operator_name(operator.code))
        for operator in model.operators
        if operator.outputs
    ]


def _ratio_db(signal: float, noise: float) -> float:
    """Return 10 log10 of a ratio of powers, within +-SAME_DB."""
    if not noise or not signal or not math.isfinite(noise):
        return SAME_DB if not noise else -SAME_DB
    return round(max(-SAME_DB, min(SAME_DB, 10.0 * math.log10(signal / noise))), 2)


def _exceptions(work: Any, recipe: Recipe) -> None:
    """Take the layers that a recipe names out of int8."""
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.quantizer import AlgorithmName

    for name in recipe.wide:
        _layers(work, name, 16)
    for name in recipe.in_float:
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
    work.update_quantization_recipe(".*", names.DIV, algorithm_key=AlgorithmName.NO_QUANTIZE)
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
