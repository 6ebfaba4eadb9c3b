"""The element types of a ``.tflite``: names, sizes, and numpy's where it has them (numbers of ``schema.fbs``)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np

TYPES_OF_8_BITS: Final = frozenset({"int8", "uint8"})


@dataclass(frozen=True, slots=True)
class TensorType:
    """An element type of the schema: its name, bits per element, and whether numpy has it under that name."""

    name: str
    bits: int
    numeric: bool

    @property
    def dtype(self) -> "np.dtype[Any] | None":
        """Return numpy's type, or None where it has none."""
        import numpy as np

        return np.dtype(self.name) if self.numeric else None


def _tensor_types() -> dict[int, TensorType]:
    numeric = {
        0: ("float32", 32), 1: ("float16", 16), 2: ("int32", 32), 3: ("uint8", 8), 4: ("int64", 64), 6: ("bool", 8),
        7: ("int16", 16), 8: ("complex64", 64), 9: ("int8", 8), 10: ("float64", 64), 11: ("complex128", 128),
        12: ("uint64", 64), 15: ("uint32", 32), 16: ("uint16", 16),
    }  # fmt: skip
    other = {
        5: ("string", 0), 13: ("resource", 0), 14: ("variant", 0), 17: ("int4", 4), 18: ("bfloat16", 16),
        19: ("int2", 2), 20: ("uint4", 4), 21: ("float8_e4m3fn", 8), 22: ("float8_e5m2", 8),
    }  # fmt: skip
    types = {code: TensorType(name, bits, True) for code, (name, bits) in numeric.items()}
    return types | {code: TensorType(name, bits, False) for code, (name, bits) in other.items()}


TENSOR_TYPES: Final = _tensor_types()
