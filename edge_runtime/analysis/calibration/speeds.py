"""The few speeds that every profile has, from a calibration: for advice, which asks about changed networks."""

from typing import Final

import numpy as np

from edge_runtime.analysis.calibrated import Calibration
from edge_runtime.analysis.calibration.fitting import least_relative_squares
from edge_runtime.analysis.kernel_table import Table
from edge_runtime.analysis.profile import ElementType, Kernel, Kernels

_TYPES: Final[tuple[ElementType, ...]] = ("float32", "int8", "uint8")
_KINDS: Final = {"dense": "CONV_2D/1x1", "window": "CONV_2D/kxk", "depthwise": "DEPTHWISE_CONV_2D", "values": "ADD"}
_SLOWER: Final = 0.5
"""Plain kernels against XNNPACK's where only the latter were timed: a guess."""
_TINY: Final = 1e-9


def kernels_of(calibration: Calibration, by: str) -> dict[ElementType, Kernels]:
    """Return the speeds of one core for ``xnnpack`` or ``plain`` kernels, by element type."""
    return {type_name: _kernels(calibration, by, type_name) for type_name in _TYPES}


def _kernels(calibration: Calibration, by: str, type_name: ElementType) -> Kernels:
    found: dict[str, Kernel] = {}
    derived = False
    for kind, operator in _KINDS.items():
        table, factor = _nearest(calibration, by, type_name, operator)
        derived |= factor != 1.0
        found[kind] = _kernel(table, kind, factor) if table else Kernel(gmacs_per_s=1.0, mega_values_per_s=100.0)
    return Kernels(
        dense=found["dense"],
        window=found["window"],
        depthwise=found["depthwise"],
        values=found["values"],
        basis="derived" if derived else "measured",
        source="read off the tables of the calibration" + (", in part of related kernels" if derived else ""),
    )


def _nearest(calibration: Calibration, by: str, type_name: str, operator: str) -> tuple[Table | None, float]:
    """Return the table of a kernel or of its nearest relative, and how fast it is believed to be against that."""
    tables = {table.kernel: table for table in calibration.kernels if table.threads == 1}
    others = {"uint8": ("uint8", "int8"), "int8": ("int8", "uint8")}.get(type_name, (type_name,))
    for who in (by, "xnnpack", "plain"):
        for kind in others:
            if table := tables.get(f"{who}/{kind}/{operator}"):
                same = who == by and kind == type_name
                return table, 1.0 if same else _SLOWER if who != by and by == "plain" else 1.0 - _TINY
    return None, _SLOWER


def _kernel(table: Table, kind: str, factor: float) -> Kernel:
    sizes, took_us = table.measured
    columns = np.maximum(sizes, 1).astype(np.float64).T
    if kind == "values":
        terms = np.stack([columns[0] * columns[1], np.ones_like(took_us)], axis=1)
        per_value, overhead = least_relative_squares(terms, took_us)
        return Kernel(mega_values_per_s=_speed(per_value, factor), overhead_us=round(float(overhead), 3))
    macs = columns[0] * columns[1] * columns[3] * (1.0 if kind == "depthwise" else columns[2])
    terms = np.stack([macs, columns[0] * columns[1], np.ones_like(took_us)], axis=1)
    per_mac, per_value, overhead = least_relative_squares(terms, took_us)
    return Kernel(
        gmacs_per_s=_speed(per_mac, factor, unit=1e3) or 1e6,
        mega_values_per_s=_speed(per_value, factor),
        overhead_us=round(float(overhead), 3),
    )


def _speed(us: float, factor: float, *, unit: float = 1.0) -> float | None:
    """Return how many (millions, or with ``unit`` 1000 thousand millions) a second; None for what takes no time."""
    return float(f"{factor / (us * unit):.4g}") if us > _TINY else None
