"""The doctor's look at the machine, on fake trees of one."""

import datetime as dt
from pathlib import Path

import pytest

from edge_runtime.clock import is_synchronised
from edge_runtime.doctor import machine
from edge_runtime.doctor.check import check
from edge_runtime.telemetry.resources import Resources
from edge_runtime.telemetry.throttling import Throttling

NOW = dt.datetime(2026, 11, 22, 6, 38, tzinfo=dt.UTC)


def write(root: Path, place: str, text: str) -> Path:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_raspberry_pi_is_named_from_its_device_tree(tmp_path: Path) -> None:
    write(tmp_path, "proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    write(tmp_path, "etc/os-release", 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    found = machine.system(tmp_path)
    assert found.status == "ok"
    assert found.message.startswith("Raspberry Pi 4 Model B Rev 1.4, Debian GNU/Linux 12 (bookworm), ")


def test_a_machine_without_names_still_has_a_sentence(tmp_path: Path) -> None:
    assert machine.board(tmp_path) is None
    assert machine.system(tmp_path).message.startswith("Linux ")


def test_a_clock_before_this_was_written_fails() -> None:
    found = machine.clock(now=lambda: dt.datetime(1970, 1, 1, tzinfo=dt.UTC), kept_right=lambda: True)
    assert (found.status, found.do) == ("fail", "sudo timedatectl set-ntp true")
    assert "1970-01-01 00:00" in found.message


@pytest.mark.parametrize(("kept_right", "status"), [(True, "ok"), (None, "ok"), (False, "warn")])
def test_a_clock_that_nothing_keeps_right_warns(kept_right: bool | None, status: str) -> None:
    assert machine.clock(now=lambda: NOW, kept_right=lambda: kept_right).status == status


def test_the_kernel_tells_the_state_of_its_clock() -> None:
    assert is_synchronised() in (True, False)


@pytest.mark.parametrize(
    ("word", "status", "said"),
    [
        ("0", "ok", "enough power"),
        ("50005", "fail", "under-voltage now"),
        ("80008", "warn", "soft temperature limit"),
        ("50000", "warn", "since boot: under voltage, throttled; it needs a stronger power supply"),
        ("80000", "warn", "it needs more air"),
    ],
)
def test_power_and_heat_of_a_pi_are_read_from_its_firmware(tmp_path: Path, word: str, status: str, said: str) -> None:
    write(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", word)
    found = machine.power(Throttling(tmp_path, vcgencmd=lambda: None))
    assert found.status == status
    assert said in found.message
    assert (found.do is None) == (status == "ok")


def test_a_board_without_such_a_sensor_tells_nothing(tmp_path: Path) -> None:
    assert machine.power(Throttling(tmp_path, vcgencmd=lambda: None)).status == "none"


@pytest.mark.parametrize(("thousandths", "status"), [("48200", "ok"), ("83000", "warn")])
def test_a_hot_processor_warns(tmp_path: Path, thousandths: str, status: str) -> None:
    write(tmp_path, "sys/class/thermal/thermal_zone0/type", "cpu-thermal")
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", thousandths)
    assert machine.temperature(Resources(tmp_path)).status == status


def test_a_machine_without_a_thermometer_shows_none(tmp_path: Path) -> None:
    assert machine.temperature(Resources(tmp_path)).status == "none"


@pytest.mark.parametrize(("kilobytes", "status"), [(900_000, "ok"), (80_000, "warn"), (20_000, "fail")])
def test_little_memory_warns_and_too_little_fails(tmp_path: Path, kilobytes: int, status: str) -> None:
    write(tmp_path, "proc/meminfo", f"MemTotal:  1000000 kB\nMemAvailable:  {kilobytes} kB\n")
    assert machine.memory(Resources(tmp_path)).status == status
    assert machine.memory(Resources(tmp_path / "nowhere")).status == "none"


def test_the_next_command_is_the_one_that_the_sentence_names() -> None:
    assert check("x", "fail", "busy: type `sudo fuser -v /dev/video0` and see").do == "sudo fuser -v /dev/video0"
    assert check("x", "warn", "`a`, or `b`", "c").do == "c"
    assert check("x", "ok", "`a` works").do is None
