"""The script that a prepared card runs on its device, in folders that stand for the FAT partition and the root."""

import os
import shutil
import struct
import subprocess
from importlib import resources
from pathlib import Path

import pytest

SECRET = 'password = "geheim"\n'
SYSTEM_PYTHON = Path("/usr/bin/python3")
INSTALLER = """#!/bin/sh
echo "umask $(umask) $*" >>"{calls}"
cat "$2" >/dev/null
{end}
"""
NO_NETWORK = "echo 'edge-infer: error: pip failed: no network' >&2; exit 1"

pytestmark = pytest.mark.skipif(
    not SYSTEM_PYTHON.exists() or struct.calcsize("P") == 4, reason="needs a 64-bit system's own Python"
)


class Device:
    """A card's FAT partition, a root, and programs that are not the system's own."""

    def __init__(self, folder: Path) -> None:
        self.boot, self.root, self.programs = folder / "boot", folder / "root", folder / "programs"
        self.card, self.setup = self.boot / "edge-infer", self.root / "var/lib/edge-infer-setup"
        self.calls = folder / "calls"
        files = resources.files("edge_runtime.flash") / "files"
        (self.card / "private/files").mkdir(parents=True)
        (self.card / "wheels").mkdir()
        self.programs.mkdir()
        self.root.mkdir()
        for name in ("first-boot.sh", "edge-infer-setup.service"):
            (self.card / name).write_bytes((files / name).read_bytes())
        (self.card / "private/config.toml").write_text(SECRET)
        (self.card / "private/files/model.tflite").write_bytes(b"model")
        (self.card / "wheels/edge_infer-1-py3-none-any.whl").write_bytes(b"wheel")
        self.installer("exit 0")
        for name in ("systemctl", "apt-get", "dpkg", "nmcli", "raspi-config", "rfkill"):
            self.program(name, f'echo "{name} $*" >>"{self.calls}"; exit 1')

    def program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.programs / name).chmod(0o755)

    def installer(self, end: str) -> None:
        (self.card / "install.sh").write_text(INSTALLER.format(calls=self.calls, end=end))

    def wheelhouse(self) -> None:
        words = "import os, sys; print('cp%d%d-%s' % (*sys.version_info[:2], os.uname().machine))"
        tag = subprocess.run([SYSTEM_PYTHON, "-c", words], capture_output=True, text=True, check=True).stdout.strip()
        (self.card / f"wheels/requirements-{tag}.txt").write_text("numpy==2\n")

    def run(self, *words: str, before: str = "") -> subprocess.CompletedProcess[str]:
        """Run the script as the device does: from the card, or, to install, the copy on the root."""
        script = (self.setup if "--install" in words else self.card) / "first-boot.sh"
        environment = {"EDGE_INFER_BOOT": str(self.boot), "EDGE_INFER_ROOT": str(self.root)}
        environment["PATH"] = f"{self.programs}:{os.environ['PATH']}"
        text = f'{before}\n. "{script}"'
        return subprocess.run(
            ["sh", "-c", text, "first-boot.sh", *words], env=environment, capture_output=True, text=True, check=False
        )

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def log(self) -> str:
        return (self.card / "first-boot.log").read_text()


@pytest.fixture
def device(tmp_path):
    return Device(tmp_path)


def test_secrets_leave_the_fat_partition_before_anything_else(device):
    assert device.run().returncode == 0
    assert sorted(path.name for path in device.card.iterdir()) == [
        "edge-infer-setup.service",
        "first-boot.log",
        "first-boot.sh",
        "install.sh",
        "wheels",
    ]
    assert (device.setup / "private/config.toml").read_text() == SECRET
    assert device.setup.stat().st_mode & 0o777 == 0o700
    assert (device.setup / "private/config.toml").stat().st_mode & 0o077 == 0
    enabled = device.root / "etc/systemd/system/multi-user.target.wants/edge-infer-setup.service"
    assert enabled.is_symlink()
    assert device.called() == []  # a folder is no running system


def test_what_held_a_secret_is_overwritten_in_place(device):
    with (device.card / "private/config.toml").open() as kept_open:
        assert device.run().returncode == 0
        kept_open.seek(0)
        assert set(kept_open.read()) == {"\0"}


@pytest.mark.parametrize("program", ["cp", "mv", "rm", "shred", "sync"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_cut_at_any_step_loses_no_secret_and_leaves_none_on_the_card(device, program, call):
    """The power goes at the first, second, third use of each program: half-way through it, or before it."""
    real = shutil.which(program)
    counter = device.setup.parent.parent / f"{program}.count"
    counter.parent.mkdir(parents=True)
    device.program(
        program,
        f'printf x >>"{counter}"\n[ "$(wc -c <"{counter}")" != {call} ] || kill -9 $PPID $$\nexec {real} "$@"',
    )
    device.run()
    (device.programs / program).unlink()
    assert device.run().returncode == 0
    assert (device.setup / "private/config.toml").read_text() == SECRET
    assert (device.setup / "private/files/model.tflite").read_bytes() == b"model"
    assert not list(device.card.glob("private*"))


def test_a_folder_that_was_copied_half_is_copied_again(device):
    (device.setup / "private.new").mkdir(parents=True)
    (device.setup / "private.new/config.toml").write_text("pass")
    assert device.run().returncode == 0
    assert (device.setup / "private/config.toml").read_text() == SECRET
    assert not (device.setup / "private.new").exists()


def test_a_full_root_keeps_the_secrets_where_they_are_and_says_so(device):
    device.program("cp", "exit 1")
    done = device.run()
    assert done.returncode == 1
    assert "is the card full?" in done.stderr
    assert (device.card / "private/config.toml").read_text() == SECRET


def test_the_log_keeps_its_end_and_does_not_fill_the_partition(device):
    device.installer(NO_NETWORK)
    assert device.run().returncode == 0
    log = device.card / "first-boot.log"
    log.write_text("an old line\n" * 6000)
    assert device.run("--install").returncode == 1
    assert log.stat().st_size < 40_000
    assert "no network" in device.log().splitlines()[-1]


def test_wifi_is_for_root_alone(device):
    (device.card / "private/wifi.nmconnection").write_text("[wifi-security]\npsk=geheim\n")
    (device.card / "private/wifi-country").write_text("DE\n")
    assert device.run().returncode == 0
    connection = device.root / "etc/NetworkManager/system-connections/edge-infer-wifi.nmconnection"
    assert connection.stat().st_mode & 0o777 == 0o600
    assert not (device.setup / "private/wifi.nmconnection").exists()
    assert "raspi-config nonint do_wifi_country DE" in device.called()


def test_installs_from_the_wheels_on_the_card_and_removes_what_it_brought(device):
    device.wheelhouse()
    device.run()
    assert device.run("--install").returncode == 0
    (call,) = device.called()
    assert call.startswith(f"umask 0022 --wheelhouse {device.card}/wheels --config ")
    assert call.endswith(f"--file {device.setup}/private/files/model.tflite")
    assert [path.name for path in device.card.iterdir()] == ["first-boot.log"]
    assert sorted(path.name for path in device.setup.iterdir()) == ["done", "install.log"]
    assert not list((device.root / "etc/systemd/system").rglob("edge-infer-setup.service"))
    assert SECRET.split('"')[1] not in device.log()


def test_without_a_network_or_a_wheelhouse_it_is_tried_until_there_is_one(device):
    device.run()
    device.installer(NO_NETWORK)
    for _ in range(5):
        assert device.run("--install").returncode == 1
    assert (device.setup / "private/config.toml").read_text() == SECRET
    assert "not installed yet (status 1): pip failed: no network; it is tried again" in device.log()
    device.installer("exit 0")
    assert device.run("--install").returncode == 0
    assert "--wheel " in device.called()[-1]
    assert (device.setup / "done").exists()


def test_wheels_on_the_card_do_not_wait_for_ever_for_apt(device):
    """Two tries for the camera's packages; at the third what is on the card is installed, they follow later."""
    device.wheelhouse()
    (device.card / "private/debian-packages").write_text("python3-picamera2\n")
    device.run()
    installations = []
    for _ in range(5):
        assert device.run("--install").returncode == 1
        installations.append(sum("--wheelhouse" in call for call in device.called()))
    assert installations == [0, 0, 1, 1, 1]
    assert "without python3-picamera2" in device.log()
    device.program("apt-get", "exit 0")
    assert device.run("--install").returncode == 0
    assert sum("--wheelhouse" in call for call in device.called()) == 2
    assert (device.setup / "done").exists()
    assert not (device.setup / "tries").exists()


def test_a_platform_that_cannot_work_is_said_once_and_for_all(device):
    device.run()
    device.installer("echo 'edge-infer: error: no TFLite wheel for 32-bit Trixie' >&2; exit 3")
    assert device.run("--install").returncode == 0
    assert "edge-infer cannot work here: no TFLite wheel for 32-bit Trixie" in device.log()
    assert not list(device.root.rglob("config.toml"))


def test_installed_and_not_up_yet_is_installed(device):
    device.run()
    device.installer("echo 'edge-infer: error: installed, and the service is not up: no camera' >&2; exit 1")
    assert device.run("--install").returncode == 0
    assert (device.setup / "done").exists()


def test_a_cut_while_it_finished_leaves_no_secret(device):
    device.run()
    (device.setup / "done").touch()
    assert device.run("--install").returncode == 0
    assert not list(device.root.rglob("config.toml"))
    assert [path.name for path in device.card.iterdir()] == ["first-boot.log"]


def test_a_card_that_was_prepared_again_is_installed_again(device):
    device.run()
    assert device.run("--install").returncode == 0
    again = Device(device.boot.parent / "again")
    shutil.copytree(again.card, device.card, dirs_exist_ok=True)
    device.installer("exit 0")
    assert device.run().returncode == 0
    assert device.run("--install").returncode == 0
    assert sum("--wheel" in call for call in device.called()) == 2
