"""What the machine says of itself: processor, memory, heat, disk, network. Read from /proc and /sys, without psutil.

Everything is read below a root directory, so that a test can be any board. What a machine cannot tell is None.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge_runtime import clock
from edge_runtime.telemetry.files import read_int, read_text

_MB: Final = 1024 * 1024
_CPU_ZONES: Final = ("cpu-thermal", "cpu_thermal", "soc-thermal", "soc_thermal", "x86_pkg_temp", "cpu")
"""Thermal zones named after the processor: Raspberry Pi, other Arm boards, Intel."""
_CPU_SENSORS: Final = ("cpu_thermal", "coretemp", "k10temp", "zenpower")
_PLAUSIBLE_C: Final = (-55.0, 150.0)

MaybeFloat = float | None


class Resources:
    """Reads the machine on request; percentages are over the time since the last request.

    Called from the thread of the statistics only. ``disk`` is a path on the file system that fills up: the state
    directory's.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        disk: Path | None = None,
        ticks_per_s: float | None = None,
        monotonic_ns: Callable[[], int] = clock.monotonic_ns,
    ) -> None:
        # Made once: a path made anew interns its parts each time, and that uses up the interpreter's table of them.
        proc = root / "proc"
        self._of_process = {name: proc / "self" / name for name in ("stat", "status", "smaps_rollup")}
        self._of_system = {name: proc / name for name in ("stat", "meminfo", "net/dev")}
        self._zones, self._sensors = (root / "sys" / "class" / name for name in ("thermal", "hwmon"))
        self._disk = disk or root
        self._ticks_per_s = ticks_per_s or os.sysconf("SC_CLK_TCK")
        self._clock = monotonic_ns
        self._started_ns = monotonic_ns()
        self._process_before: tuple[int, float] | None = None
        self._system_before: tuple[int, int] | None = None

    def uptime_s(self) -> float:
        """Return how long this process has been running, from when this object was made."""
        return round((self._clock() - self._started_ns) / 1e9, 1)

    def cpu_percent(self) -> dict[str, MaybeFloat]:
        """Return ``process`` (100 is one core) and ``system`` (100 is all cores); None at the first request."""
        return {"process": self._process_percent(), "system": self._system_percent()}

    def memory_mb(self) -> dict[str, MaybeFloat]:
        """Return ``rss``, ``pss`` (shared pages in part, the fairer figure) and ``available``, in MiB."""
        return {
            "rss": _kilobytes(self._of_process["status"], "VmRSS"),
            "pss": _kilobytes(self._of_process["smaps_rollup"], "Pss"),
            "available": _kilobytes(self._of_system["meminfo"], "MemAvailable"),
        }

    def temperature_c(self) -> MaybeFloat:
        """Return the processor's temperature, else that of the hottest zone that is plausible."""
        zones = {
            zone.name: (read_text(zone / "type") or "", _celsius(zone / "temp"))
            for zone in sorted(self._zones.glob("thermal_zone*"))
        }
        found = [(kind, celsius) for kind, celsius in zones.values() if celsius is not None]
        for name in _CPU_ZONES:
            for kind, celsius in found:
                if kind == name:
                    return celsius
        return self._sensor_c() or max((celsius for _, celsius in found), default=None)

    def disk_free_mb(self) -> MaybeFloat:
        """Return what this user may still write, in MiB."""
        try:
            disk = os.statvfs(self._disk)
        except OSError:
            return None
        return round(disk.f_bavail * disk.f_frsize / _MB, 1)

    def network(self) -> dict[str, dict[str, int]] | None:
        """Return ``{interface: {rx_bytes, tx_bytes}}`` since boot for every interface but the loopback."""
        text = read_text(self._of_system["net/dev"])
        if text is None:
            return None
        interfaces = {}
        for line in text.splitlines():
            name, colon, rest = line.partition(":")
            numbers = rest.split()
            # Two title lines have no colon; columns 0 and 8 are the bytes received and sent (proc(5)).
            if colon and name.strip() != "lo" and len(numbers) >= 9 and numbers[0].isdigit() and numbers[8].isdigit():
                interfaces[name.strip()] = {"rx_bytes": int(numbers[0]), "tx_bytes": int(numbers[8])}
        return interfaces

    def _process_percent(self) -> MaybeFloat:
        text = read_text(self._of_process["stat"])
        try:
            # The second field is the program's name in brackets and may hold spaces; utime and stime are 14 and 15.
            fields = (text or "").rpartition(")")[2].split()
            busy_s = (int(fields[11]) + int(fields[12])) / self._ticks_per_s
        except (ValueError, IndexError):
            return None
        now_ns = self._clock()
        before, self._process_before = self._process_before, (now_ns, busy_s)
        if before is None or now_ns <= before[0]:
            return None
        return round(100 * max(0.0, busy_s - before[1]) / ((now_ns - before[0]) / 1e9), 1)

    def _system_percent(self) -> MaybeFloat:
        text = read_text(self._of_system["stat"]) or ""
        fields = text.partition("\n")[0].split()
        try:
            # user nice system idle iowait irq softirq steal; guest times are contained in the first two (proc(5)).
            times = [int(field) for field in fields[1:9]]
            idle = times[3] + (times[4] if len(times) > 4 else 0)
        except (ValueError, IndexError):
            return None
        total = sum(times)
        before, self._system_before = self._system_before, (total, idle)
        if before is None or total <= before[0]:
            return None
        passed = total - before[0]
        return round(100 * min(1.0, max(0.0, (passed - (idle - before[1])) / passed)), 1)

    def _sensor_c(self) -> MaybeFloat:
        """Ask the processor's own sensor, where the kernel offers no thermal zone for it."""
        for name in sorted(self._sensors.glob("hwmon*/name")):
            if read_text(name) in _CPU_SENSORS:
                celsius = _celsius(name.with_name("temp1_input"))
                if celsius is not None:
                    return celsius
        return None


def _celsius(path: Path) -> MaybeFloat:
    """Read thousandths of a degree; a sensor that is off says 0 or nonsense."""
    value = read_int(path)
    if value is None or value == 0 or not _PLAUSIBLE_C[0] <= value / 1000 <= _PLAUSIBLE_C[1]:
        return None
    return round(value / 1000, 1)


def _kilobytes(path: Path, key: str) -> MaybeFloat:
    """Return the value of a line ``Key:   1234 kB`` in MiB."""
    for line in (read_text(path) or "").splitlines():
        name, _, rest = line.partition(":")
        if name == key:
            number = rest.split()[0] if rest.split() else ""
            return round(int(number) / 1024, 1) if number.isdigit() else None
    return None
