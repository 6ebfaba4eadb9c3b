"""Run a model on samples and look at every tensor it computes."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.arrays import Array, read_array, split_sample
from converters.rescue.ranges import ChannelStatistics, Observed
from converters.steps import counting
from edge_runtime.model_file import parse_model

_THREADS: Final = 2
_KEPT_VALUES: Final = 200_000
"""Of one tensor over all samples, for percentiles, mean squared errors and histograms."""
_CHANNEL_SAMPLES: Final = 64
"""Samples at most over which channels are looked at."""
_STRIDE: Final = 7919
"""A prime: the part of a tensor that is kept moves on from sample to sample and meets every channel."""

Read = Callable[[int], Array]


def observe(content: bytes, samples: str | Path) -> dict[str, Observed]:
    """Return what each float tensor held over the samples, an .npy of (n, ...): its ends and a part of its values.

    ai-edge-quantizer's own calibration keeps a moving average, which clips: 28 dB where minimum and maximum gave 39
    (a digits CNN); and it runs with XNNPACK, behind which the tensors of unrolled recurrences cannot be read.
    """
    tensors = computed(content)
    count = len(read_array(samples))
    places: dict[str, NDArray[np.int64]] = {}
    ends: dict[str, tuple[float, float]] = {}
    kept: dict[str, list[NDArray[np.float32]]] = {name: [] for _, name in tensors}
    for number, read in enumerate(runs(content, samples)):
        counting.count(number + 1, count)
        for index, name in tensors:
            values = read(index).reshape(-1)
            low, high = ends.get(name, (np.inf, -np.inf))
            ends[name] = (min(low, float(values.min())), max(high, float(values.max())))
            if name not in places:
                wanted = min(values.size, max(64, _KEPT_VALUES // count))
                places[name] = np.sort(np.random.default_rng(0).permutation(values.size)[:wanted])
            kept[name].append(values[(places[name] + number * _STRIDE) % values.size])
    return {name: Observed(*ends[name], np.concatenate(kept[name])) for _, name in tensors}


def channel_statistics(content: bytes, samples: str | Path) -> dict[str, ChannelStatistics]:
    """Return the ends and the mean of each channel of each float tensor with channels over the samples."""
    shapes = {tensor.index: tensor.shape for tensor in parse_model(content, "the float model").tensors}
    tensors = [(index, name) for index, name in computed(content) if len(shapes[index]) > 1]
    count = min(len(read_array(samples)), _CHANNEL_SAMPLES)
    found: dict[str, ChannelStatistics] = {}
    for number, read in enumerate(itertools.islice(runs(content, samples), count), 1):
        counting.count(number, count)
        for index, name in tensors:
            rows = read(index)
            rows = rows.reshape(-1, rows.shape[-1])
            seen = ChannelStatistics(rows.min(axis=0), rows.max(axis=0), rows.mean(axis=0, dtype=np.float64) / count)
            before = found.get(name)
            found[name] = seen if before is None else _joined(before, seen)
    return found


def _joined(one: ChannelStatistics, other: ChannelStatistics) -> ChannelStatistics:
    return ChannelStatistics(np.minimum(one.low, other.low), np.maximum(one.high, other.high), one.mean + other.mean)


def runs(content: bytes, samples: str | Path) -> Iterator[Read]:
    """Run each sample and yield a function that returns the tensor of an index; it holds until the next one.

    With the plain kernels and without XNNPACK, which keeps tensors to itself.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        num_threads=_THREADS,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    for sample in read_array(samples):
        _feed(interpreter, sample)
        interpreter.invoke()
        yield interpreter.get_tensor


def outputs(content: bytes, samples: str | Path) -> list[Array]:
    """Return the model's outputs over the samples, float32 (n, ...) each, as the device computes them: with XNNPACK."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=_THREADS)
    interpreter.allocate_tensors()
    rows: list[list[Array]] = [[] for _ in interpreter.get_output_details()]
    for sample in read_array(samples):
        _feed(interpreter, sample)
        interpreter.invoke()
        for kept, output in zip(rows, interpreter.get_output_details(), strict=True):
            kept.append(_numbers(interpreter.get_tensor(output["index"]), *output["quantization"]))
    return [np.stack(kept) for kept in rows]


def runs_at_all(content: bytes) -> bool:
    """Return whether the interpreter takes a model."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        Interpreter(model_content=content).allocate_tensors()
    except (RuntimeError, ValueError):
        return False
    return True


def comparable(content: bytes) -> dict[str, Callable[[Read], Array]]:
    """Return, by name, how to read each computed tensor of a quantised model as numbers."""
    model = parse_model(content, "the quantised model")
    used = {index for operator in model.operators for index in operator.outputs}
    found: dict[str, Callable[[Read], Array]] = {}
    for index in sorted(used):
        tensor = model.tensors[index]
        if tensor.scales.size == 1 or tensor.type.name == "float32":
            scale = float(tensor.scales[0]) if tensor.scales.size else 0.0
            zero_point = int(tensor.zero_points[0]) if tensor.scales.size else 0
            found[tensor.name.removesuffix("_quantized")] = partial(_read_numbers, index, scale, zero_point)
    return found


def _read_numbers(index: int, scale: float, zero_point: int, read: Read) -> Array:
    return _numbers(read(index), scale, zero_point)


def _numbers(values: Array, scale: float, zero_point: int) -> Array:
    return np.asarray((values.astype(np.float32) - zero_point) * np.float32(scale) if scale else values)


def _feed(interpreter: Any, sample: Array) -> None:
    entries = interpreter.get_input_details()
    values = split_sample(sample, [tuple(entry["shape"]) for entry in entries])
    for entry, value in zip(entries, values, strict=True):
        interpreter.set_tensor(entry["index"], _fed(value, entry))


def _fed(value: Array, entry: dict[str, Any]) -> Array:
    """Return a float input as its type wants it."""
    scale, zero_point = entry["quantization"]
    if not scale:
        return np.ascontiguousarray(value, np.float32)
    limits = np.iinfo(entry["dtype"])
    steps = np.clip(np.rint(value / scale) + zero_point, limits.min, limits.max)
    return np.asarray(steps, entry["dtype"])


def computed(content: bytes) -> list[tuple[int, str]]:
    """Return index and name of every float tensor that is no constant and holds something."""
    model = parse_model(content, "the float model")
    used = set(model.inputs) | {index for operator in model.operators for index in operator.outputs}
    return [
        (tensor.index, tensor.name)
        for tensor in model.tensors
        if tensor.index in used and tensor.type.name == "float32" and tensor.name and 0 not in tensor.shape
    ]
