"""Finding an Edge TPU and its library, and what is said when one is missing."""

from pathlib import Path

import pytest
from edgetpu_trees import install_library, plug_pcie, plug_usb

from edge_runtime.engines import edgetpu
from edge_runtime.engines.edgetpu import EdgeTpu, find_edgetpus, find_library, install_command, why_not
from edge_runtime.engines.trial import Trial

pytestmark = pytest.mark.runtime

FAILS = Trial("fails", "no device answers")
CORAL = EdgeTpu("usb", "USB 2-1", speed_mbps=5000)


@pytest.mark.parametrize(("vendor", "product"), [("1a6e", "089a"), ("18d1", "9302")])
def test_a_usb_accelerator_is_found_before_and_after_its_first_use(tmp_path: Path, vendor: str, product: str) -> None:
    plug_usb(tmp_path, vendor=vendor, product=product)
    assert find_edgetpus(tmp_path) == [CORAL]


def test_other_usb_devices_are_none(tmp_path: Path) -> None:
    plug_usb(tmp_path, vendor="18d1", product="4ee7")
    assert find_edgetpus(tmp_path) == []


def test_a_machine_without_usb_and_pcie_has_none(tmp_path: Path) -> None:
    assert find_edgetpus(tmp_path) == []


def test_the_speed_of_the_link_is_told_and_may_be_unknown(tmp_path: Path) -> None:
    plug_usb(tmp_path, speed="480")
    assert find_edgetpus(tmp_path)[0].speed_mbps == 480
    (tmp_path / "sys/bus/usb/devices/2-1/speed").write_text("unknown\n")
    assert find_edgetpus(tmp_path)[0].speed_mbps is None


def test_a_card_on_pcie_is_found_by_its_driver(tmp_path: Path) -> None:
    plug_pcie(tmp_path)
    assert find_edgetpus(tmp_path) == [EdgeTpu("pcie", "PCIe apex_0")]


def test_a_card_without_a_driver_says_which_to_install(tmp_path: Path) -> None:
    plug_pcie(tmp_path, driver=False)
    (card,) = find_edgetpus(tmp_path)
    assert card.place == "PCIe 0000:01:00.0"
    assert "install gasket-dkms" in card.problem


def test_a_device_without_a_node_names_the_container(tmp_path: Path) -> None:
    plug_usb(tmp_path, node=False)
    assert "container" in find_edgetpus(tmp_path)[0].problem


@pytest.mark.parametrize(("group", "advice"), [("plugdev", "usermod -aG plugdev"), ("root", "udev rule")])
def test_a_device_that_this_user_may_not_open_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, advice: str
) -> None:
    plug_usb(tmp_path)
    monkeypatch.setattr(edgetpu.os, "access", lambda *_: False)
    monkeypatch.setattr(edgetpu.grp, "getgrgid", lambda _: type("Group", (), {"gr_name": group}))
    assert advice in find_edgetpus(tmp_path)[0].problem


def test_the_library_is_found_where_the_loader_looks(tmp_path: Path) -> None:
    assert find_library(tmp_path, {}) is None
    installed = install_library(tmp_path)
    assert find_library(tmp_path, {}) == str(installed)
    named = tmp_path / "own"
    named.mkdir()
    (named / "libedgetpu.so.1").touch()
    assert find_library(tmp_path, {"LD_LIBRARY_PATH": f"/nowhere:{named}"}) == str(named / "libedgetpu.so.1")


def test_the_library_to_install_is_the_one_for_this_debian(tmp_path: Path) -> None:
    assert install_command(tmp_path, machine="aarch64").startswith("see https://")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text("ID=debian\nVERSION_CODENAME=trixie\n")
    command = install_command(tmp_path, machine="aarch64")
    assert command.startswith("curl -fLO https://")
    assert command.endswith("sudo apt install ./libedgetpu1-std_16.0tf2.19.1-1.trixie_arm64.deb")
    assert install_command(tmp_path, machine="riscv64").startswith("see https://")


@pytest.mark.parametrize(
    ("devices", "library", "trial", "said"),
    [
        ([], None, FAILS, ["no Edge TPU was found", "plug a Coral", "install its library"]),
        ([CORAL], None, FAILS, ["on USB 2-1 but no libedgetpu.so.1", "install its library"]),
        ([], "/lib/x", FAILS, ["no Edge TPU was found", "no device answers", "plug a Coral"]),
        ([CORAL], "/lib/x", FAILS, ["on USB 2-1 fails in a trial", "no device answers"]),
        (
            [CORAL],
            "/lib/x",
            Trial("crashes", "it crashes (SIGSEGV)"),
            ["/lib/x does not work here", "SIGSEGV", "build"],
        ),
        ([CORAL], "/lib/x", Trial("hangs", "no answer within 30 s"), ["hangs", "30 s", "pull it out"]),
        ([EdgeTpu("usb", "USB 1-1", "may not be opened")], "/lib/x", FAILS, ["on USB 1-1 may not be opened"]),
    ],
)
def test_each_reason_has_a_sentence_of_its_own(
    devices: list[EdgeTpu], library: str | None, trial: Trial, said: list[str]
) -> None:
    sentence = why_not(devices, library, trial)
    assert "\n" not in sentence
    for part in said:
        assert part in sentence
