"""Run a model on samples and look at every tensor it computes."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.arrays import Array, read_array, split_sample
from converters.rescue.ranges import ChannelStatistics, Observed
from converters.steps import counting
from converters.steps.repairs import packed
from edge_runtime.model_file import parse_model

_THREADS: Final = 2
_NUMBERS: Final = frozenset({0, 1, 2, 3, 4, 6, 7, 9})
"""FLOAT32, FLOAT16, INT32, UINT8, INT64, BOOL, INT16, INT8: what an interpreter hands out as an array."""
_KEPT_VALUES: Final = 200_000
"""Of one tensor over all samples, for percentiles, mean squared errors and histograms."""
_SMALL, _TOGETHER = 4096, 16
"""Of tensors with so few values so many samples are looked at together: a call costs more than they do."""
_STRIDE: Final = 7919
"""A prime: the part of a tensor that is kept moves on from sample to sample and meets every channel."""

Read = Callable[[int], Array]


def observe(content: bytes, samples: str | Path) -> dict[str, Observed]:
    """Return what each float tensor held over the samples, an .npy of (n, ...): its ends and a part of its values.

    Of a tensor with channels those of each channel too. ai-edge-quantizer's own calibration keeps a moving average,
    which clips: 28 dB where minimum and maximum gave 39 (a digits CNN).
    """
    tensors = computed(content)
    count = len(read_array(samples))
    found = {name: _Watched(max(64, _KEPT_VALUES // count)) for _, name in tensors}
    for number, read in enumerate(runs(content, samples)):
        counting.count(number + 1, count)
        for index, name in tensors:
            found[name].see(read(index))
    return {name: watched.observed() for name, watched in found.items()}


class _Watched:
    """One tensor over the samples so far."""

    def __init__(self, kept_values: int) -> None:
        self._kept_values = kept_values
        self._places: NDArray[np.int64] | None = None
        self._kept: list[NDArray[np.float32]] = []
        self._low: Array = np.zeros(0, np.float32)
        self._high: Array = np.zeros(0, np.float32)
        self._sum: Array = np.zeros(0)
        self._rank = 0
        self._seen = 0
        self._waiting: list[Array] = []

    def see(self, values: Array) -> None:
        """Add what the next sample gave; the array is kept for a while."""
        if values.size > _SMALL:
            self._add(values[None])
            return
        self._waiting.append(values)
        if len(self._waiting) == _TOGETHER:
            self._add_waiting()

    def _add_waiting(self) -> None:
        self._add(np.stack(self._waiting))
        self._waiting = []

    def _add(self, values: Array) -> None:
        """Add what the next samples gave, (n, ...)."""
        self._rank = values.ndim - 1
        low, high, total = (_by_channel(values, one) for one in (np.minimum, np.maximum, np.add))
        if not np.isfinite(total).all():
            values = _finite(values)
            low, high, total = (_by_channel(values, one) for one in (np.minimum, np.maximum, np.add))
        count, size = len(values), values[0].size
        mean = total / np.float32(size // total.size)
        if self._places is None:
            self._places = np.sort(np.random.default_rng(0).permutation(size)[: min(size, self._kept_values)])
            self._low, self._high, self._sum = low, high, mean.astype(np.float64)
        else:
            self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
            self._sum = self._sum + mean
        moved = _STRIDE * np.arange(self._seen, self._seen + count)[:, None]
        self._kept.append(np.take_along_axis(values.reshape(count, -1), (self._places + moved) % size, axis=1).ravel())
        self._seen += count

    def observed(self) -> Observed:
        """Return all that was seen."""
        if self._waiting:
            self._add_waiting()
        channels = None
        if self._rank > 1:
            channels = ChannelStatistics(self._low, self._high, self._sum / self._seen)
        return Observed(float(self._low.min()), float(self._high.max()), np.concatenate(self._kept), channels)


def _by_channel(values: Array, reduced: np.ufunc) -> Array:
    """Return tensors (n, ...) reduced to their last axis, (channels,); of one axis to one value.

    Rows of a picture first: long runs of memory are reduced several times as fast as many short ones.
    """
    channels = values.shape[-1] if values.ndim > 2 else 1
    if values.ndim > 3:
        values = reduced.reduce(values.reshape(-1, values.shape[-2] * channels), axis=0)
    return np.asarray(reduced.reduce(values.reshape(-1, channels), axis=0))


def _finite(values: Array) -> Array:
    """Return values with the numbers beside them for what is none (the logarithm of zero): int8 has no infinity."""
    finite = np.isfinite(values)
    known = values[finite] if finite.any() else np.zeros(1, values.dtype)
    return np.nan_to_num(values, nan=float(known[0]), posinf=float(known.max()), neginf=float(known.min()))


def runs(content: bytes, samples: str | Path) -> Iterator[Read]:
    """Run each sample and yield a function that returns the tensor of an index; it holds until the next one."""
    interpreter = _opened(content)
    for sample in read_array(samples):
        _feed(interpreter, sample)
        interpreter.invoke()
        yield interpreter.get_tensor


def _opened(content: bytes) -> Any:
    """Return an interpreter in which every tensor can be read after a run.

    XNNPACK keeps what lies between its operators to itself, so every tensor becomes an output: five times as fast as
    the plain kernels with all tensors preserved, which are taken where XNNPACK refuses the network.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(model_content=with_all_outputs(content), num_threads=_THREADS)
    try:
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError):
        interpreter = Interpreter(
            model_content=content,
            num_threads=_THREADS,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
    return interpreter


def with_all_outputs(content: bytes) -> bytes:
    """Return the model with every tensor of numbers that an operator computes as an output, behind its own."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    known = {int(index) for index in (*graph.inputs, *graph.outputs)}
    more = dict.fromkeys(int(index) for operator in graph.operators for index in operator.outputs)
    graph.outputs = [
        *map(int, graph.outputs),
        *(index for index in more if index not in known and graph.tensors[index].type in _NUMBERS),
    ]
    return packed(model)


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
        return np.asarray(value, np.float32, order="C")  # and not ascontiguousarray, which gives a scalar an axis
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
