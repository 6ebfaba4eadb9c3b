"""Cross-layer equalisation and bias absorption: the network computes the same, and channels fill their ranges alike.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", sections 4.1.2 and 4.1.3.
The paper balances the ranges of weights. With weights quantised per channel, as here, the first layer's need none;
what is lost is in the activations, which share one scale. So the range of each channel's activation over the
calibration samples takes the place of the first layer's weights (as in Meller et al. 2019, "Same, Same But Different").
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.rescue.network import FloatNetwork, Layer, Pair
from converters.rescue.ranges import ChannelStatistics

Array = NDArray[Any]
_DEPTHWISE: Final = "DEPTHWISE_CONV_2D"
_LARGEST_FACTOR: Final = 1e4
_LEAST_SHARE: Final = 0.02
"""Of the range that a channel's weights make likely."""
_SATURATED: Final = 0.98
"""Of a ceiling: a channel that came so near may well be cut off by it."""
_ROOM: Final = 1.25
"""A channel under a ceiling stays this far below it after scaling: other samples are larger than these."""


def equalize(network: FloatNetwork, ranges: Mapping[str, ChannelStatistics]) -> int:
    """Move scales between all pairs of layers; return how many were changed.

    ``ranges`` are those of the layers' outputs by name, of this network before any change.
    """
    pairs = network.pairs()
    for pair in pairs:
        seen = ranges[pair.first.name]
        largest = np.maximum(np.abs(seen.low), np.abs(seen.high)).astype(np.float64)
        largest = at_least_likely(largest, _output_ranges(network, pair.first))
        if pair.second.kind == _DEPTHWISE:
            divisors = filling_divisors(largest)
        else:
            divisors = balancing_divisors(largest, _input_ranges(network, pair.second))
        divisors = under_ceiling(divisors, largest, pair.first.ceiling)
        network.scale_outputs(pair.first, 1.0 / divisors)
        network.scale_inputs(pair.second, divisors)
    return len(pairs)


def at_least_likely(largest: Array, weights: Array) -> Array:
    """Return activation ranges with those that are small by chance raised, by the range of the channel's weights.

    A channel that happened to be silent in these samples may speak in others; and left alone it would keep weights so
    large beside the rest that XNNPACK refuses the layer (its multiplier must stay below 256).
    """
    alive = (largest > 0.0) & (weights > 0.0)
    if not alive.any():
        return largest
    typical = float(np.median(largest[alive] / weights[alive]))
    return np.maximum(largest, weights * typical * _LEAST_SHARE)


def balancing_divisors(first: Array, second: Array) -> Array:
    """Return by what each channel is divided so that it has the same range on both sides: sqrt(first / second).

    Equation 11 of the paper. A channel that is zero on one side is left as it is. Their geometric mean is 1.
    """
    alive = (first > 0.0) & (second > 0.0)
    return _normalized(np.sqrt(np.where(alive, first, 1.0) / np.where(alive, second, 1.0)), alive)


def filling_divisors(first: Array) -> Array:
    """Return by what each channel is divided so that all have the same range.

    For a depthwise layer behind: it has a scale for each channel, and so room for every factor.
    """
    return _normalized(np.where(first > 0.0, first, 1.0), first > 0.0)


def _normalized(divisors: Array, alive: NDArray[np.bool_]) -> Array:
    """Return divisors whose geometric mean over the living channels is 1, and 1 for the others."""
    if not alive.any():
        return np.ones_like(divisors)
    divisors = divisors / np.exp(np.log(divisors[alive]).mean())
    return np.clip(np.where(alive, divisors, 1.0), 1.0 / _LARGEST_FACTOR, _LARGEST_FACTOR)


def under_ceiling(divisors: Array, largest: Array, ceiling: float) -> Array:
    """Return divisors with which a clipped activation (ReLU6) still cuts off what it did, and nothing else.

    A channel that reaches the ceiling keeps its scale; the others grow together until the largest is near it. So the
    network stays the same where the paper replaces ReLU6 by ReLU.
    """
    if not np.isfinite(ceiling):
        return divisors
    alive = largest > 0.0
    if not alive.any():
        return divisors
    grown = divisors * float((largest[alive] / divisors[alive]).max()) * _ROOM / ceiling
    return np.where(largest >= _SATURATED * ceiling, 1.0, np.maximum(grown, largest * _ROOM / ceiling))


def absorb_biases(network: FloatNetwork, ranges: Mapping[str, ChannelStatistics]) -> int:
    """Move into the next bias what a rectified channel always has at least; return in how many pairs.

    The paper takes three standard deviations below the mean; here it is the least value over the calibration samples.
    Only where the next layer puts no zeros around its input, so that nothing else changes.
    """
    changed = 0
    for pair in network.pairs():
        least = np.maximum(ranges[pair.first.name].low.astype(np.float64), 0.0) * 0.9
        if _exact_shift(pair) and np.any(least > 0.0):
            network.replace(pair.first.bias, network.values(pair.first.bias) - least)
            weights = network.values(pair.second.weights).astype(np.float64)
            network.replace(pair.second.bias, network.values(pair.second.bias) + response(weights, pair.second, least))
            changed += 1
    return changed


def response(weights: Array, layer: Layer, inputs: Array) -> Array:
    """Return what a layer without bias answers to a constant input of ``inputs``, (channels,): (output channels,)."""
    if layer.kind == _DEPTHWISE:
        return np.asarray(weights.sum(axis=(0, 1, 2)) * inputs)
    return np.asarray(weights.reshape(len(weights), -1, weights.shape[-1]).sum(axis=1) @ inputs)


def _exact_shift(pair: Pair) -> bool:
    return pair.first.rectified and not np.isfinite(pair.first.ceiling) and not pair.through and not pair.second.padded


def _output_ranges(network: FloatNetwork, layer: Layer) -> Array:
    """Return the largest weight of each output channel, (channels,)."""
    weights = np.abs(network.values(layer.weights)).astype(np.float64)
    if layer.kind == _DEPTHWISE:
        return np.asarray(weights.max(axis=(0, 1, 2)))
    return np.asarray(weights.reshape(len(weights), -1).max(axis=1))


def _input_ranges(network: FloatNetwork, layer: Layer) -> Array:
    """Return how large each input channel's weights are beside those of the same output channel, (channels,)."""
    weights = np.abs(network.values(layer.weights)).astype(np.float64)
    per_output = weights.reshape(len(weights), -1, weights.shape[-1]).max(axis=1)
    largest = per_output.max(axis=1, keepdims=True)
    return np.asarray((per_output / np.where(largest > 0.0, largest, 1.0)).max(axis=0))
