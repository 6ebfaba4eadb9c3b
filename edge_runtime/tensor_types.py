"""The element types of a ``.tflite``: names, sizes, and numpy's where it has them (numbers of ``schema.fbs``)."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np


@dataclass(frozen=True, slots=True)
class TensorType:
    """An element type of the schema: its name, bits per element, and numpy dtype where numpy has it."""

    name: str
    bits: int
    dtype: np.dtype[Any] | None


def _tensor_types() -> dict[int, TensorType]:
    numeric = {
        0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 8: "complex64",
        9: "int8", 10: "float64", 11: "complex128", 12: "uint64", 15: "uint32", 16: "uint16",
    }  # fmt: skip
    other = {
        5: ("string", 0), 13: ("resource", 0), 14: ("variant", 0), 17: ("int4", 4), 18: ("bfloat16", 16),
        19: ("int2", 2), 20: ("uint4", 4), 21: ("float8_e4m3fn", 8), 22: ("float8_e5m2", 8),
    }  # fmt: skip
    types = {code: TensorType(name, np.dtype(name).itemsize * 8, np.dtype(name)) for code, name in numeric.items()}
    return types | {code: TensorType(name, bits, None) for code, (name, bits) in other.items()}


TENSOR_TYPES: Final = _tensor_types()
