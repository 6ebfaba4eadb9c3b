"""Whether a Raspberry Pi is short of power or too hot, from whichever of three places is there.

The firmware's word is a bit field: bits 0-3 for now, bits 16-19 for "since boot" (Raspberry Pi documentation, vcgencmd
get_throttled). The kernel's ``rpi_volt`` sensor knows under-voltage only.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge_runtime.telemetry.files import read_text

NAMES: Final = ("under_voltage", "frequency_capped", "throttled", "soft_temperature_limit")
_SINCE_BOOT_SHIFT: Final = 16
_FIRMWARE: Final = "sys/devices/platform/soc*/soc*:firmware/get_throttled"
"""``soc/soc:firmware`` on a Pi 1 to 4; the bus has an address in its name on later ones."""

Throttled = dict[str, list[str] | None]


def run_vcgencmd() -> str | None:
    """Return what ``vcgencmd get_throttled`` prints (``throttled=0x50005``), or None where there is none."""
    import shutil  # both cost a start milliseconds
    import subprocess

    if shutil.which("vcgencmd") is None:
        return None
    try:
        done = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=2, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


class Throttling:
    """Reads the state of one machine; called from the thread of the statistics.

    ``root`` is ``/`` or a tree made for a test; ``vcgencmd`` is asked only where the kernel does not tell.
    """

    def __init__(self, root: Path = Path("/"), *, vcgencmd: Callable[[], str | None] = run_vcgencmd) -> None:
        self._root = root
        self._vcgencmd = vcgencmd

    def read(self) -> Throttled | None:
        """Return ``{"now": [...], "since_boot": [...]}`` of names in `NAMES`; None on boards that have nothing to say.

        ``since_boot`` alone is None where only the kernel's sensor is there, which has no memory.
        """
        word = self._firmware_word()
        under_voltage = self._under_voltage()
        if word is None and under_voltage is None:
            return None
        now = [] if word is None else _names(word)
        if under_voltage and NAMES[0] not in now:
            now.insert(0, NAMES[0])
        return {"now": now, "since_boot": None if word is None else _names(word >> _SINCE_BOOT_SHIFT)}

    def _firmware_word(self) -> int | None:
        for path in sorted(self._root.glob(_FIRMWARE)):
            word = _hexadecimal(read_text(path))
            if word is not None:
                return word
        return _hexadecimal(self._vcgencmd())

    def _under_voltage(self) -> bool | None:
        for name in sorted(self._root.glob("sys/class/hwmon/hwmon*/name")):
            if read_text(name) == "rpi_volt":
                alarm = read_text(name.with_name("in0_lcrit_alarm"))
                return None if alarm is None else alarm != "0"
        return None


def _hexadecimal(text: str | None) -> int | None:
    """Read ``50005``, ``0x50005`` or ``throttled=0x50005``."""
    try:
        return None if text is None else int(text.strip().rpartition("=")[2], 16)
    except ValueError:
        return None


def _names(word: int) -> list[str]:
    return [name for bit, name in enumerate(NAMES) if word >> bit & 1]
