"""The machine itself: board, system, clock, power, heat, memory."""

import datetime as dt
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge_runtime._version import __version__
from edge_runtime.clock import is_synchronised
from edge_runtime.doctor.check import Check, Status, check
from edge_runtime.telemetry.files import read_text
from edge_runtime.telemetry.resources import Resources
from edge_runtime.telemetry.throttling import Throttling

NOT_BEFORE: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
"""No clock that is set shows a time before this was written."""
HOT_C: Final = 80.0
"""Where a Raspberry Pi begins to slow down (Raspberry Pi documentation, frequency management and thermal control)."""
LITTLE_MEMORY_MB: Final = 100.0
TOO_LITTLE_MEMORY_MB: Final = 40.0


def board(root: Path = Path("/")) -> str | None:
    """Return the board's name from the device tree, or the product's from the firmware of a PC."""
    for place in ("proc/device-tree/model", "sys/firmware/devicetree/base/model", "sys/class/dmi/id/product_name"):
        if name := (read_text(root / place) or "").strip("\0 \n"):
            return name
    return None


def system(root: Path = Path("/")) -> Check:
    """Say what this is: board, operating system, processor, Python."""
    parts = [
        board(root),
        _distribution(root),
        platform.machine(),
        f"Python {platform.python_version()}",
        f"edge-infer {__version__}",
    ]
    return check("system", "ok", ", ".join(part for part in parts if part))


def clock(
    *,
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    kept_right: Callable[[], bool | None] = is_synchronised,
) -> Check:
    """Say whether the time is plausible, and whether something keeps it right."""
    moment = now()
    shown = f"{moment:%Y-%m-%d %H:%M} UTC"
    if moment < NOT_BEFORE:
        message = f"shows {shown}, which cannot be: predictions are stamped wrongly and TLS fails"
        return check("clock", "fail", message, "sudo timedatectl set-ntp true")
    if kept_right() is False:
        message = f"{shown}, and nothing keeps it right: it drifts, and starts wrong without a battery"
        return check("clock", "warn", message, "sudo timedatectl set-ntp true")
    return check("clock", "ok", f"{shown}, synchronised")


def power(throttling: Throttling) -> Check:
    """Say whether the board is short of power or slowed down."""
    state = throttling.read()
    if state is None:
        return check("power", "none", "this board does not tell about its power")
    now, before = state["now"] or [], state["since_boot"] or []
    if "under_voltage" in now:
        message = "under-voltage now: a stronger power supply and a short, thick cable are needed"
        return check("power", "fail", message, "vcgencmd get_throttled")
    if now:
        return check("power", "warn", f"slowed down now ({_spoken(now)}): give it more air", "vcgencmd measure_temp")
    if before:
        advice = "a stronger power supply" if "under_voltage" in before else "more air"
        message = f"good now, but since boot: {_spoken(before)}; it needs {advice}"
        return check("power", "warn", message, "vcgencmd get_throttled")
    return check("power", "ok", "enough power, not slowed down")


def temperature(resources: Resources) -> Check:
    """Say how hot the processor is."""
    celsius = resources.temperature_c()
    if celsius is None:
        return check("temperature", "none", "this machine shows no temperature")
    if celsius >= HOT_C:
        return check(
            "temperature", "warn", f"{celsius:.0f} °C: boards slow down from {HOT_C:.0f} °C on; add a heat sink"
        )
    return check("temperature", "ok", f"{celsius:.0f} °C")


def memory(resources: Resources) -> Check:
    """Say how much memory is left for a model."""
    available = resources.memory_mb()["available"]
    if available is None:
        return check("memory", "none", "this machine does not tell its memory")
    status: Status = "ok" if available >= LITTLE_MEMORY_MB else "warn" if available >= TOO_LITTLE_MEMORY_MB else "fail"
    message = f"{available:.0f} MiB available"
    if status == "ok":
        return check("memory", status, message)
    return check(
        "memory", status, f"{message}: a run takes about 70 MiB; end other programs", "ps aux --sort=-rss | head"
    )


def _spoken(names: list[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names)


def _distribution(root: Path) -> str | None:
    for line in (read_text(root / "etc/os-release") or "").splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip('"')
    return f"{os.uname().sysname} {os.uname().release}"
