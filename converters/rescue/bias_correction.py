"""Bias correction: the shift that rounded weights give a layer's mean answer is taken off its bias.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.2. The shift is
known from the mean of the layer's input.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.rescue.equalization import response
from converters.rescue.network import FloatNetwork

Array = NDArray[Any]
_CHANNEL_AXIS: Final = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}


def correct_biases(network: FloatNetwork, means: Mapping[str, NDArray[np.float64]]) -> int:
    """Take the shift of each layer's mean off its bias; return how many layers were changed.

    ``means`` are the mean of each channel of the layers' inputs, by the tensor's name, over the calibration samples.
    What zeros around an input change at its border is left out, as in the paper.
    """
    changed = 0
    for layer in network.layers:
        mean = means.get(network.input_name(layer))
        weights = network.values(layer.weights).astype(np.float64)
        if mean is None or len(mean) != weights.shape[-1]:
            continue
        shift = response(rounding_errors(weights, _CHANNEL_AXIS[layer.kind]), layer, mean)
        network.replace(layer.bias, network.values(layer.bias) - shift)
        changed += 1
    return changed


def rounding_errors(weights: Array, axis: int) -> Array:
    """Return what is added to weights by int8 with a symmetric scale for each channel of ``axis``."""
    others = tuple(place for place in range(weights.ndim) if place != axis)
    scale = np.abs(weights).max(axis=others, keepdims=True) / 127.0
    scale = np.where(scale > 0.0, scale, 1.0)
    return np.asarray(np.clip(np.rint(weights / scale), -127, 127) * scale - weights)
