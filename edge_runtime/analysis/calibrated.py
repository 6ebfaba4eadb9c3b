"""What ``edge-infer bench --calibrate`` found out about a device, and the time of operators by it.

What a network of them takes is in ``surroundings``.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from math import exp, sqrt
from typing import Final

import msgspec
import numpy as np

from edge_runtime.analysis.descriptor import Descriptor
from edge_runtime.analysis.kernel_table import Table
from edge_runtime.analysis.network_cost import Context

INTERVAL_SIGMAS: Final = 1.64
"""Half of an interval that is to hold nine of ten predictions, in standard deviations."""
SHARED_ERROR: Final = 0.5
_ALIKE: Final = {
    "SQUEEZE": "RESHAPE", "EXPAND_DIMS": "RESHAPE", "RELU_N1_TO_1": "RELU", "RELU_0_TO_1": "RELU", "NEG": "ABS",
    "FLOOR": "ABS", "CEIL": "ABS", "ROUND": "ABS", "POW": "EXP", "LOG": "EXP", "SIN": "TANH", "COS": "TANH",
    "PRELU": "LEAKY_RELU", "PADV2": "PAD", "MIRROR_PAD": "PAD", "SPLIT_V": "SPLIT", "UNPACK": "PACK",
    "REDUCE_MAX": "SUM", "REDUCE_MIN": "SUM", "REDUCE_PROD": "SUM", "ARG_MIN": "ARG_MAX", "DEPTH_TO_SPACE": "TRANSPOSE",
    "SPACE_TO_DEPTH": "TRANSPOSE", "BATCH_TO_SPACE_ND": "TRANSPOSE", "SPACE_TO_BATCH_ND": "TRANSPOSE",
    "GATHER": "SLICE", "LOG_SOFTMAX": "SOFTMAX", "SUB": "ADD",
    "MINIMUM": "MAXIMUM", "SQUARE": "ABS", "SQRT": "RSQRT", "RELU6": "RELU", "CAST": "DEQUANTIZE",
}  # fmt: skip
"""Operators that are not timed to those that do about the same work."""
UNKNOWN_ERROR: Final = 0.5
"""Standard deviation of the logarithm where an operator is predicted from another kind."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """Everything measured on one device. Immutable."""

    basis: str = "measured"
    """Of every time in here."""
    date: str
    runtime: str
    software: str
    machine: str
    system: str
    seconds: float
    noise: float
    """How far two passes are apart, median of the logarithm: the noise floor of one operator."""
    contexts: tuple[Context, ...]
    kernels: tuple[Table, ...]

    def __post_init__(self) -> None:
        """Refuse what nothing can be predicted from. Raises ValueError."""
        if not self.contexts:
            raise ValueError("a calibration needs a context for at least one number of threads")

    @cached_property
    def _tables(self) -> dict[tuple[str, int], Table]:
        return {(table.kernel, table.threads): table for table in self.kernels}

    def context(self, threads: int) -> Context:
        """Return the context of so many threads: of the nearest number that was measured, no more than there are."""
        return min(self.contexts, key=lambda one: (abs(one.threads - threads), one.threads))

    def operators(self, wanted: Sequence[Descriptor], *, threads: int) -> list[tuple[float, float] | None]:
        """Return microseconds and the standard deviation of their logarithm for each operator; None where unknown."""
        counts = sorted({one.threads for one in self.contexts})
        below = max((count for count in counts if count <= threads), default=counts[0])
        above = min((count for count in counts if count >= threads), default=counts[-1])
        found = look_up(self._tables, wanted, threads=below)
        if above == below:
            return found
        # Amdahl's law between the two numbers that were measured.
        share = (1 / below - 1 / threads) / (1 / below - 1 / above)
        return [
            (one[0] + (other[0] - one[0]) * share, max(one[1], other[1])) if one and other else one
            for one, other in zip(found, look_up(self._tables, wanted, threads=above), strict=True)
        ]


Tables = Mapping[tuple[str, int], Table]
"""By kernel and number of threads."""


def look_up(tables: Tables, wanted: Sequence[Descriptor], *, threads: int) -> list[tuple[float, float] | None]:
    """Return microseconds and the standard deviation of their logarithm for each operator; None where unknown."""
    found: list[tuple[float, float] | None] = [None] * len(wanted)
    groups: dict[tuple[str, float], list[int]] = {}
    for number, one in enumerate(wanted):
        if key := _known(tables, one.kernel, threads):
            groups.setdefault(key, []).append(number)
    for (kernel, doubt), numbers in groups.items():
        table = tables[kernel, threads]
        sizes = np.array([_as_long(wanted[number].sizes, table) for number in numbers], np.int64)
        took_us, unsure = table.predict(sizes)
        for number, us, sigma in zip(numbers, took_us.tolist(), unsure.tolist(), strict=True):
            found[number] = us, max(sigma, doubt)
    return found


def _known(tables: Tables, kernel: str, threads: int) -> tuple[str, float] | None:
    """Return the table to ask for a kernel, and how doubtful it is to ask it."""
    if (kernel, threads) in tables:
        return kernel, 0.0
    for doubt, candidate in _relatives(kernel):
        for name, count in tables:
            if count == threads and (name == candidate or name.startswith(candidate + "/")):
                return name, doubt
    return None


def _relatives(kernel: str) -> Iterator[tuple[float, str]]:
    """Yield kernels that take about as long, the most alike first, each with a doubt."""
    kernel = kernel.replace("int64", "int32", 1)  # what indices are written as hardly matters
    by, types, name, *variant = kernel.split("/")
    other = types.replace("uint8", "int8") if "uint8" in types else types.replace("int8", "uint8")
    yield 0.15, f"{by}/{types}/{name}"
    yield 0.15, kernel.replace(types, other, 1)
    yield 0.2, f"{by}/{other}/{name}"
    if alike := _ALIKE.get(name):
        yield 0.15, "/".join((by, types, alike, *variant))
        yield 0.3, f"{by}/{types}/{alike}"
        yield 0.3, f"{by}/{other}/{alike}"
    for swapped in ("int8", "float32"):
        yield UNKNOWN_ERROR, f"{by}/{swapped}/{name}"
    if alike:
        yield UNKNOWN_ERROR, f"plain/int8/{alike}"


def _as_long(sizes: tuple[int, ...], table: Table) -> tuple[int, ...]:
    """Return sizes with as many numbers as the table's points have."""
    wanted = table.measured[0].shape[1]
    return (*sizes, *([1] * wanted))[:wanted]


def interval_factor(context: Context, alone: Sequence[tuple[float, float]]) -> float:
    """Return by what a prediction may be off, as a factor, in nine cases of ten.

    ``alone`` are microseconds and deviations of the operators. Half of an operator's error is taken as its own, half as
    shared by all operators of its kind, which is what was seen on the networks of the design set.
    """
    total = sum(us for us, _ in alone) or 1.0
    own = sqrt(sum((us * sigma) ** 2 for us, sigma in alone)) / total
    shared = sum(us * sigma for us, sigma in alone) / total
    return exp(INTERVAL_SIGMAS * sqrt(own**2 + (SHARED_ERROR * shared) ** 2 + context.error**2))
