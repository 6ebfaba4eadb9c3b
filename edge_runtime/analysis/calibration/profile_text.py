"""A calibration as the text of a profile: TOML that ``inspect --device FILE.toml`` reads, here or elsewhere."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from edge_runtime.analysis.calibrated import Calibration
from edge_runtime.analysis.calibration.speeds import kernels_of
from edge_runtime.analysis.network_cost import Context

_HEAD: Final = """\
# The profile of one device, measured by edge-infer bench --calibrate. Predict for it, here or elsewhere, with
# edge-infer inspect MODEL --device FILE.toml
"""
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def profile_text(calibration: Calibration, *, cores: int, memory_mb: float, clock_mhz: float | None) -> str:
    """Return the file's content; every figure says whether it was measured or derived."""
    one = calibration.context(1)
    far = float(np.exp(1.64 * one.error))
    measured = {"basis": "measured", "source": f"edge-infer bench --calibrate, {calibration.date}"}
    document: dict[str, Any] = {
        "title": calibration.machine,
        "cores": {"value": cores, "basis": "measured", "source": "that this process may use"},
        "clock_mhz": {"value": clock_mhz or 0.0, **measured, "source": "the highest that the kernel names; 0: unknown"},
        "memory_mb": {"value": memory_mb, "basis": "measured", "source": "/proc/meminfo"},
        "bandwidth_gb_per_s": {"value": _bandwidth(one), **measured},
        "parallel_share": {"value": _parallel_share(calibration), **measured},
        "interval": {"low": round(1 / far, 3), "high": round(far, 3), **measured},
        "xnnpack": msgspec.to_builtins(kernels_of(calibration, "xnnpack")),
        "plain": msgspec.to_builtins(kernels_of(calibration, "plain")),
        "calibration": msgspec.to_builtins(calibration),
    }
    return _HEAD + "\n".join(_table(document, ())) + "\n"


def _bandwidth(context: Context) -> float:
    """Return GB/s at which weights come from behind the caches."""
    slowest_us = context.cold_us_per_mb or context.cold_once_us_per_mb
    return round(1e3 / slowest_us, 2) if slowest_us else 1000.0


def _parallel_share(calibration: Calibration) -> float:
    """Return Amdahl's share from the pointwise convolutions that were timed with one and with all threads."""
    most = max(one.threads for one in calibration.contexts)
    if most < 2:
        return 0.0
    times: dict[int, dict[tuple[int, ...], float]] = {1: {}, most: {}}
    for table in calibration.kernels:
        if table.kernel.endswith("CONV_2D/1x1") and table.threads in times:
            sizes, took_us = table.measured
            times[table.threads] |= {
                (hash(table.kernel), *row): us for row, us in zip(sizes.tolist(), took_us, strict=True)
            }
    both = sorted(times[1].keys() & times[most].keys(), key=lambda size: -times[1][size])[:60]
    if not both:
        return 0.0
    gain = float(np.median([times[1][size] / times[most][size] for size in both]))
    return round(min(1.0, max(0.0, (1 - 1 / gain) / (1 - 1 / most))), 3)


def clock_mhz(root: Path = Path("/")) -> float | None:
    """Return the highest clock of the first processor in MHz, or None where the kernel does not tell."""
    try:
        return int((root / "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").read_text()) / 1000
    except (OSError, ValueError):
        return None


def memory_mb(root: Path = Path("/")) -> float:
    """Return the memory of the machine in MiB; 0 where the kernel does not tell."""
    try:
        text = (root / "proc/meminfo").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^MemTotal:\s+(\d+) kB", text, re.MULTILINE)
    return float(int(found[1]) // 1024) if found else 0.0


def _table(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines of a table: its own values first, then the tables in it."""
    plain = {key: value for key, value in values.items() if value is not None and not _nested(value)}
    if path and plain:
        yield f"\n[{'.'.join(path)}]"
    for key, value in plain.items():
        yield f"{_key(key)} = {_value(value)}"
    for key, value in values.items():
        if isinstance(value, Mapping) and _nested(value):
            yield from _table(value, (*path, _key(key)))
        elif isinstance(value, list | tuple) and _nested(value):
            for item in value:
                yield f"\n[[{'.'.join((*path, _key(key)))}]]"
                yield from (f"{_key(name)} = {_value(inner)}" for name, inner in item.items() if inner is not None)


def _nested(value: Any) -> bool:
    """Tell what is written as a table of its own: lists of tables, and tables with tables in them or many values."""
    if isinstance(value, list | tuple):
        return bool(value) and isinstance(value[0], Mapping)
    return isinstance(value, Mapping) and (
        len(value) > 4 or any(isinstance(one, Mapping | list) for one in value.values())
    )


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else f'"{key}"'


def _value(value: Any) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"""\n{escaped}"""' if "\n" in value else f'"{escaped}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items() if one is not None)
        return f"{{ {inner} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(one) for one in value)}]"
    return repr(value)
