import os
import stat

import pytest

from edge_runtime.telemetry import throttling
from edge_runtime.telemetry.resources import Resources
from edge_runtime.telemetry.throttling import Throttling, run_vcgencmd

NS = 10**9


class Tree:
    """A root directory of a board that exists on paper."""

    def __init__(self, root):
        self.root = root

    def put(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def cpu(self, *, busy, idle, utime, stime):
        self.put("proc/stat", f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3 4\nbtime 5\n")
        fields = ["0"] * 50
        fields[0], fields[11], fields[12] = "S", str(utime), str(stime)
        self.put("proc/self/stat", f"42 (edge (infer) x) {' '.join(fields)}\n")


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


@pytest.fixture
def pi4(tree):
    tree.put("proc/self/status", "Name:\tpython3\nVmRSS:\t   71680 kB\nThreads:\t7\n")
    tree.put("proc/self/smaps_rollup", "55 [rollup]\nRss:  71680 kB\nPss:  61440 kB\nPss_Anon: 5 kB\n")
    tree.put("proc/meminfo", "MemTotal: 3884328 kB\nMemFree: 10 kB\nMemAvailable:    3145728 kB\n")
    tree.put(
        "proc/net/dev",
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n"
        "    lo: 999 9 0 0 0 0 0 0 999 9 0 0 0 0 0 0\n"
        "  eth0: 123456 100 0 0 0 0 0 0 654321 90 0 0 0 0 0 0\n"
        " wlan0:0 0 0 0 0 0 0 0 12 0 0 0 0 0 0 0\n",
    )
    tree.put("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    tree.put("sys/class/thermal/thermal_zone0/temp", "51608\n")
    tree.put("sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    tree.put("sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    tree.put("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n")
    tree.put("sys/devices/platform/soc/soc:firmware/get_throttled", "0\n")
    return tree


def never():
    return None


def test_a_raspberry_pi_tells_everything(pi4):
    pi = Resources(pi4.root)
    assert pi.memory_mb() == {"rss": 70.0, "pss": 60.0, "available": 3072.0}
    assert pi.temperature_c() == 51.6
    assert pi.network() == {
        "eth0": {"rx_bytes": 123456, "tx_bytes": 654321},
        "wlan0": {"rx_bytes": 0, "tx_bytes": 12},
    }
    assert pi.disk_free_mb() > 0
    assert Throttling(pi4.root, vcgencmd=never).read() == {"now": [], "since_boot": []}


def test_an_empty_machine_tells_nothing_and_nothing_is_invented(tmp_path):
    empty = Resources(tmp_path, disk=tmp_path / "missing")
    assert empty.cpu_percent() == {"process": None, "system": None}
    assert empty.memory_mb() == {"rss": None, "pss": None, "available": None}
    assert empty.temperature_c() is None
    assert empty.disk_free_mb() is None
    assert empty.network() is None
    assert Throttling(tmp_path, vcgencmd=never).read() is None


def test_nonsense_is_nothing(tree):
    for path in ("proc/self/stat", "proc/stat", "proc/self/status", "proc/meminfo", "proc/net/dev"):
        tree.put(path, "what\nis: this\n\n")
    tree.put("proc/self/smaps_rollup", "Pss: many kB\n")
    tree.put("sys/class/thermal/thermal_zone0/temp", "hot")
    odd = Resources(tree.root)
    assert odd.cpu_percent() == {"process": None, "system": None}
    assert odd.memory_mb() == {"rss": None, "pss": None, "available": None}
    assert odd.temperature_c() is None
    assert odd.network() == {}


def test_processor_use_is_that_since_the_last_request(tree):
    now = [0]
    machine = Resources(tree.root, ticks_per_s=100, monotonic_ns=lambda: now[0])
    tree.cpu(busy=1000, idle=9000, utime=50, stime=10)
    assert machine.cpu_percent() == {"process": None, "system": None}
    now[0] += 10 * NS
    tree.cpu(busy=1500, idle=10500, utime=1050, stime=510)  # 15 s in 10 s: one and a half cores
    assert machine.cpu_percent() == {"process": 150.0, "system": 25.0}
    now[0] += 10 * NS
    assert machine.cpu_percent() == {"process": 0.0, "system": None}  # the system's clock ticks did not move
    assert machine.uptime_s() == 20.0


def test_the_processor_is_preferred_to_other_hot_things(tree):
    zones = {0: ("acpitz", 90000), 1: ("x86_pkg_temp", 45000), 2: ("iwlwifi_1", 95000)}
    for number, (kind, temp) in zones.items():
        tree.put(f"sys/class/thermal/thermal_zone{number}/type", kind)
        tree.put(f"sys/class/thermal/thermal_zone{number}/temp", str(temp))
    assert Resources(tree.root).temperature_c() == 45.0


def test_without_a_processor_zone_its_sensor_then_the_hottest_plausible_zone(tree):
    tree.put("sys/class/thermal/thermal_zone0/type", "acpitz")
    tree.put("sys/class/thermal/thermal_zone0/temp", "40000")
    tree.put("sys/class/thermal/thermal_zone1/type", "broken")
    tree.put("sys/class/thermal/thermal_zone1/temp", "255000000")
    assert Resources(tree.root).temperature_c() == 40.0
    tree.put("sys/class/hwmon/hwmon3/name", "k10temp")
    tree.put("sys/class/hwmon/hwmon3/temp1_input", "55125")
    assert Resources(tree.root).temperature_c() == 55.1


@pytest.mark.parametrize("bus", ["soc", "soc@107c000000"])
def test_the_firmware_tells_now_from_since_boot(tree, bus):
    tree.put(f"sys/devices/platform/{bus}/{bus}:firmware/get_throttled", "50005\n")
    assert Throttling(tree.root, vcgencmd=never).read() == {
        "now": ["under_voltage", "throttled"],
        "since_boot": ["under_voltage", "throttled"],
    }
    tree.put(f"sys/devices/platform/{bus}/{bus}:firmware/get_throttled", "0xe0000\n")
    assert Throttling(tree.root, vcgencmd=never).read() == {
        "now": [],
        "since_boot": ["frequency_capped", "throttled", "soft_temperature_limit"],
    }


def test_the_kernels_sensor_knows_under_voltage_and_has_no_memory(tree):
    tree.put("sys/class/hwmon/hwmon0/name", "nvme\n")
    tree.put("sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    tree.put("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    assert Throttling(tree.root, vcgencmd=never).read() == {"now": ["under_voltage"], "since_boot": None}
    (tree.root / "sys/class/hwmon/hwmon1/in0_lcrit_alarm").unlink()
    assert Throttling(tree.root, vcgencmd=never).read() is None


def test_vcgencmd_is_the_last_to_be_asked(pi4):
    def forbidden():
        pytest.fail("vcgencmd was asked though the kernel tells")

    assert Throttling(pi4.root, vcgencmd=forbidden).read() == {"now": [], "since_boot": []}
    (pi4.root / "sys/devices/platform/soc/soc:firmware/get_throttled").unlink()
    asked = Throttling(pi4.root, vcgencmd=lambda: "throttled=0x80008\n")
    assert asked.read() == {"now": ["soft_temperature_limit"], "since_boot": ["soft_temperature_limit"]}
    broken = Throttling(pi4.root, vcgencmd=lambda: "VCHI initialization failed\n")
    assert broken.read() == {"now": [], "since_boot": None}


def test_a_real_vcgencmd_is_run(tmp_path, monkeypatch):
    program = tmp_path / "vcgencmd"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_vcgencmd() is None
    program.write_text('#!/bin/sh\n[ "$1" = get_throttled ] && echo throttled=0x1\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    assert run_vcgencmd() == "throttled=0x1\n"
    program.write_text("#!/bin/sh\nexit 1\n")
    assert run_vcgencmd() is None


def test_this_machine_can_be_read():
    here = Resources()
    assert here.memory_mb()["rss"] > 1
    here.cpu_percent()
    assert set(here.cpu_percent()) == {"process", "system"}
    assert here.uptime_s() >= 0
    assert throttling.NAMES[0] == "under_voltage"
    assert os.sysconf("SC_CLK_TCK") > 0
