"""Quantise a float ``.tflite`` by recipes, and measure what each layer loses."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from converters.comparison import worst_db
from converters.rescue import bias_correction, equalization
from converters.rescue.network import FloatNetwork
from converters.rescue.ranges import ChannelStatistics, Observed, clipped_share
from converters.rescue.recipe import LayerError, Recipe, TensorRange
from converters.steps import counting, integer_kernels, layer_noise, masks, observer, repairs
from converters.steps.ai_edge import quantized
from converters.steps.limits import chosen_limits
from edge_runtime.errors import ModelError

_LEVELS: Final = {"int16x8": 65535}
"""Steps of an activation's integers; 255 otherwise."""
_BINS: Final = 48
_MOST_ALONE: Final = 16
"""Layers that are quantised alone: no more than that are ever put in other types."""


@dataclass(slots=True)
class _Prepared:
    """A network with its weights as a recipe wants them, and what its tensors held over the samples."""

    content: bytes
    seen: dict[str, Observed]
    histograms: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def channels(self) -> dict[str, ChannelStatistics]:
        return {name: one.channels for name, one in self.seen.items() if one.channels is not None}

    def limits(self, recipe: Recipe, levels: int = 255) -> dict[str, tuple[float, float]]:
        return chosen_limits(self.content, self.seen, recipe.ranges, levels=levels)

    def described(self, name: str, ends: tuple[float, float]) -> TensorRange:
        seen = self.seen[name]
        if name not in self.histograms:
            values = seen.values.astype(np.float64)  # float32 has no 48 bins between neighbours
            counts = np.histogram(values, _BINS, (seen.low, seen.high))[0] if seen.high > seen.low else ()
            self.histograms[name] = tuple(int(count) for count in counts)
        return TensorRange(
            name=name,
            low=ends[0],
            high=ends[1],
            seen=(seen.low, seen.high),
            clipped_share=clipped_share(seen.values, *ends),
            histogram=self.histograms[name],
        )


class Session:
    """Quantises one model after the other; what calibration showed of a network is kept for its next recipe."""

    def __init__(self) -> None:
        self._prepared: dict[tuple[str, bool, bool], _Prepared] = {}

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
        if samples is None:
            content = repairs.with_signature(Path(source).read_bytes())
            Path(output).write_bytes(quantized(content, {}, scheme, wanted, plain_dense=plain_dense))
            return {"ranges": []}
        prepared = self._prepare(source, samples, equalized=wanted.equalized, corrected=wanted.bias_corrected)
        limits = prepared.limits(wanted, _LEVELS.get(scheme, 255))
        Path(output).write_bytes(quantized(prepared.content, limits, scheme, wanted, plain_dense=plain_dense))
        ranges = [prepared.described(name, ends) for name, ends in limits.items()]
        ranges.sort(key=lambda one: one.clipped_share, reverse=True)
        return {"ranges": [asdict(one) for one in ranges]}

    def _prepare(self, source: str, samples: str, *, equalized: bool, corrected: bool) -> _Prepared:
        """Return the network as a recipe wants its weights, and what its tensors hold over the samples."""
        key = (source, equalized, corrected)
        if key not in self._prepared:
            if corrected:  # ranges stay those of the network whose means correct it
                self._prepared[key] = _corrected(self._prepare(source, samples, equalized=equalized, corrected=False))
            elif equalized:
                plain = self._prepare(source, samples, equalized=False, corrected=False)
                self._prepared[key] = _equalized(plain, samples)
            else:
                content = repairs.with_signature(integer_kernels.with_products(Path(source).read_bytes()))
                content = masks.with_small_masks(content, samples)
                self._prepared[key] = _Prepared(content, observer.observe(content, samples))
        return self._prepared[key]

    def layer_errors(
        self, source: str, artifact: str, samples: str, trial: str, recipe: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Compare every activation over ``trial`` with that of the float network; ``layers`` in execution order.

        ``recipe`` is that of the artifact: equalised tensors are compared with equalised ones.
        """
        wanted = self._prepare(source, samples, equalized=_recipe(recipe).equalized, corrected=False).content
        noise = layer_noise.measure(wanted, Path(artifact).read_bytes(), trial)
        layers = [
            LayerError(one.output, one.kind, noise[one.output].db)
            for one in layer_noise.operators(wanted)
            if one.output in noise
        ]
        return {"layers": [asdict(one) for one in layers]}

    def alone(
        self, source: str, samples: str, trial: str, scheme: str, recipe: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Quantise one layer at a time; ``layers``: [name, dB of the worst output over ``trial``], the worst first.

        Of a large network only those that add the most noise in the wholly quantised one.
        """
        wanted = _recipe(recipe)
        prepared = self._prepare(source, samples, equalized=wanted.equalized, corrected=False)
        limits = prepared.limits(wanted, _LEVELS.get(scheme, 255))
        right = observer.outputs(prepared.content, trial)
        whole = quantized(prepared.content, limits, scheme, wanted)
        names = layer_noise.noisiest(prepared.content, whole, trial)[:_MOST_ALONE]
        found = []
        for number, name in enumerate(names, 1):
            counting.count(number, len(names))
            try:
                got = observer.outputs(quantized(prepared.content, limits, scheme, Recipe(), only=name), trial)
            except (ModelError, RuntimeError, ValueError):
                continue  # an operator that cannot stand alone between floats
            found.append((name, min(worst_db(one, other) for one, other in zip(right, got, strict=True))))
        return {"layers": sorted(found, key=lambda one: one[1])}

    def joins(self, source: str, samples: str) -> dict[str, Any]:
        """Return ``layers``: what only puts values into one tensor and in order, before the network's outputs."""
        prepared = self._prepare(source, samples, equalized=False, corrected=False)
        return {"layers": layer_noise.joins(prepared.content)}

    def decoding(self, source: str, samples: str) -> dict[str, Any]:
        """Return ``layers``: what turns the answers of the last layers with weights into the network's outputs."""
        prepared = self._prepare(source, samples, equalized=False, corrected=False)
        return {"layers": layer_noise.decoding(prepared.content)}


def _recipe(fields: Mapping[str, Any] | None) -> Recipe:
    """Return a recipe from JSON values."""
    return msgspec.convert(dict(fields or {}), Recipe)


def _equalized(plain: _Prepared, samples: str) -> _Prepared:
    network = FloatNetwork(plain.content)
    equalization.equalize(network, plain.channels)
    content = network.content()
    found = _Prepared(content, observer.observe(content, samples))
    network = FloatNetwork(content)
    if not equalization.absorb_biases(network, found.channels):
        return found
    content = network.content()
    return _Prepared(content, observer.observe(content, samples))


def _corrected(plain: _Prepared) -> _Prepared:
    network = FloatNetwork(plain.content)
    bias_correction.correct_biases(network, {name: one.mean for name, one in plain.channels.items()})
    return _Prepared(network.content(), plain.seen, plain.histograms)
