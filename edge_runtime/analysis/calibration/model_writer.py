"""Write a ``.tflite`` of a few operators with made-up constants, for timing it.

Field numbers are those of TensorFlow Lite's ``schema.fbs``. Constants are noise: zeros would take less power and let
some processors run faster than with real ones.
"""

from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Final

import numpy as np

from edge_runtime.analysis.calibration.flat_writer import Fields, Numbers, Scalar, write
from edge_runtime.analysis.operator_names import BUILTIN_NAMES

TYPE_CODES: Final = {"float32": 0, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9}
OptionFields = tuple[int, Fields]
"""Member of the schema's ``BuiltinOptions`` union, and its fields."""
SCALE: Final = 0.05
WEIGHT_SCALE: Final = 0.02
_NOISE: Final = 1 << 16


class ModelWriter:
    """Adds tensors and operators one after another; a tensor is known by the number it got."""

    def __init__(self) -> None:
        self._buffers: list[Fields] = [{}]
        self._tensors: list[Fields] = []
        self._operators: list[Fields] = []
        self._codes: dict[tuple[str, int], int] = {}

    def tensor(self, shape: Sequence[int], type_name: str, *, scale: float = SCALE, zero_point: int = 0) -> int:
        """Add a computed tensor. Quantised types get one scale; ``zero_point`` counts from the middle of their range.

        The type ``dynamic`` is float32 whose weights alone have 8 bits.
        """
        type_name = "float32" if type_name == "dynamic" else type_name
        quantization: Fields = {}
        if type_name in {"int8", "uint8", "int16"}:
            zero = zero_point + (128 if type_name == "uint8" else 0)
            quantization = {2: Numbers("f", [scale]), 3: Numbers("q", [zero])}
        return self._add(shape, type_name, None, quantization)

    def state(self, shape: Sequence[int], type_name: str = "float32", *, scale: float = SCALE) -> int:
        """Add a variable, which an operator keeps from one step to the next; ``scale`` is of integers."""
        number = self.tensor(shape, type_name, scale=scale)
        self._tensors[number] = {**self._tensors[number], 5: Scalar("B", True)}
        return number

    def weights(self, shape: Sequence[int], type_name: str, *, axis: int | None = 0) -> int:
        """Add constant weights of noise; int8 ones have a scale per channel of ``axis``, or one where it is None."""
        size = prod(shape)
        type_name = "int8" if type_name == "dynamic" else type_name
        if type_name == "float32":
            return self._add(shape, type_name, _repeated("float32", 4 * size), {})
        axis = axis if type_name == "int8" else None
        scales = [WEIGHT_SCALE] * (1 if axis is None else shape[axis])
        zero = 128 if type_name == "uint8" else 0
        quantization = {2: Numbers("f", scales), 3: Numbers("q", [zero] * len(scales)), 6: Scalar("i", axis or 0)}
        return self._add(shape, type_name, _repeated("int8", size), quantization)

    def slopes(self, channels: int, type_name: str) -> int:
        """Add a constant for each channel, above zero as trained slopes mostly are: kernels branch on the sign."""
        shape = [1, 1, channels]
        if type_name == "float32":
            return self._add(shape, type_name, np.full(channels, 0.25, np.float32).tobytes(), {})
        zero = 128 if type_name == "uint8" else 0
        return self._add(
            shape, type_name, bytes([zero + 100]) * channels, {2: Numbers("f", [0.0025]), 3: Numbers("q", [zero])}
        )

    def bias(self, channels: int, type_name: str) -> int:
        """Add the bias that belongs to such weights: float32, or int32 with the product of both scales."""
        if type_name in {"float32", "dynamic"}:
            return self._add([channels], "float32", bytes(4 * channels), {})
        scales = [SCALE * WEIGHT_SCALE] * (channels if type_name == "int8" else 1)
        quantization = {2: Numbers("f", scales), 3: Numbers("q", [0] * len(scales))}
        return self._add([channels], "int32", bytes(4 * channels), quantization)

    def integers(self, values: Sequence[int]) -> int:
        """Add a constant vector of int32: a shape, axes, paddings."""
        return self._add([len(values)], "int32", np.asarray(values, "<i4").tobytes(), {})

    def matrix(self, rows: Sequence[Sequence[int]]) -> int:
        """Add a constant matrix of int32, such as paddings."""
        return self._add([len(rows), len(rows[0])], "int32", np.asarray(rows, "<i4").tobytes(), {})

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: OptionFields | None = None,
        *,
        version: int = 1,
        intermediates: Sequence[int] = (),
    ) -> None:
        """Add a builtin operator; of ``intermediates`` it reads the quantisation alone."""
        code = self._codes.setdefault((name, version), len(self._codes))
        fields: dict[int, object] = {0: Scalar("I", code), 1: Numbers("i", inputs), 2: Numbers("i", outputs)}
        if options:
            fields |= {3: Scalar("B", options[0]), 4: options[1]}
        if intermediates:
            fields[8] = Numbers("i", intermediates)
        self._operators.append(fields)

    def model(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """Return the file."""
        graph: Fields = {
            0: self._tensors,
            1: Numbers("i", inputs),
            2: Numbers("i", outputs),
            3: self._operators,
        }
        codes = []
        for name, version in self._codes:
            number = BUILTIN_NAMES.index(name)
            codes.append({0: Scalar("b", min(number, 127)), 2: Scalar("i", version), 3: Scalar("i", number)})
        return write({0: Scalar("I", 3), 1: codes, 2: [graph], 3: "probe", 4: self._buffers}, b"TFL3")

    def _add(
        self, shape: Sequence[int], type_name: str, content: bytes | memoryview | None, quantization: Fields
    ) -> int:
        buffer = 0
        if content is not None:
            buffer = len(self._buffers)
            self._buffers.append({0: content})
        number = len(self._tensors)
        fields: dict[int, object] = {0: Numbers("i", shape), 1: Scalar("b", TYPE_CODES[type_name])}
        fields |= {2: Scalar("I", buffer), 3: f"t{number}"}
        if quantization:
            fields[4] = quantization
        self._tensors.append(fields)
        return number


@cache
def _noise(type_name: str) -> bytes:
    random = np.random.default_rng(1)
    if type_name == "float32":
        return random.normal(0, 0.5, _NOISE).astype(np.float32).tobytes()
    return random.integers(-100, 100, 4 * _NOISE, np.int8).tobytes()


@cache
def _long_noise(type_name: str, times: int) -> memoryview:
    return memoryview(_noise(type_name) * times)


def _repeated(type_name: str, size: int) -> memoryview:
    """Return so many bytes of noise, a view: many networks are kept, and all weights share a few buffers."""
    times = -(-size // len(_noise(type_name)))
    return _long_noise(type_name, 1 << (times - 1).bit_length())[:size]
