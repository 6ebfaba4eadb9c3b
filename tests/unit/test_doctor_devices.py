"""The doctor's look at cameras, a Raspberry Pi camera and an Edge TPU."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from edgetpu_trees import install_library, plug_usb

from edge_runtime.doctor import devices
from edge_runtime.engines.edgetpu import install_command
from edge_runtime.engines.trial import Trial
from edge_runtime.errors import SourceUnavailableError
from edge_runtime.sources.v4l2 import CameraInfo

WORKS = Trial("works", invoke_ms=12.5)


def camera(device: str = "/dev/video0", reason: str = "") -> CameraInfo:
    return CameraInfo(device, "HD Webcam", "uvcvideo", "usb-1", (), usable=not reason, reason=reason)


def trial(outcome: Trial) -> Callable[..., Trial]:
    return lambda *_, **__: outcome


def raspberry_pi(root: Path) -> Path:
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/model").write_text("Raspberry Pi 5 Model B Rev 1.0\0")
    return root


def test_a_camera_that_captures_is_good() -> None:
    (found,) = devices.cameras(wanted=None, found=lambda: [camera()])
    assert (found.name, found.status) == ("camera /dev/video0", "ok")


def test_one_without_permission_fails_with_the_command_that_gives_it() -> None:
    reason = "may not be opened by pi: add yourself to group video: `sudo usermod -aG video pi`, then log in again"
    (found,) = devices.cameras(wanted=None, found=lambda: [camera(reason=reason)])
    assert (found.status, found.do) == ("fail", "sudo usermod -aG video pi")


def test_one_in_use_or_beside_one_that_works_is_a_warning() -> None:
    (busy,) = devices.cameras(wanted=True, found=lambda: [camera(reason="is in use by edge-infer (pid 7): stop it")])
    assert busy.status == "warn"
    _, other = devices.cameras(wanted=None, found=lambda: [camera(), camera("/dev/video1", "cannot stream")])
    assert other.status == "warn"


@pytest.mark.parametrize(("wanted", "status"), [(True, "fail"), (None, "warn"), (False, "none")])
def test_no_camera_weighs_what_the_configuration_makes_of_it(wanted: bool | None, status: str) -> None:
    (found,) = devices.cameras(wanted=wanted, found=list)
    assert (found.name, found.status, found.do) == ("camera", status, "edge-infer --list-cameras")


def test_a_raspberry_pi_camera_is_camera_enough() -> None:
    assert list(devices.cameras(wanted=True, found=list, pi_camera=True)) == []


def test_other_boards_have_no_raspberry_pi_camera(tmp_path: Path) -> None:
    assert devices.pi_camera(tmp_path).status == "none"


def test_picamera2_of_the_system_may_be_hidden_from_this_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda _: None)
    root = raspberry_pi(tmp_path)
    assert devices.pi_camera(root).do == "sudo apt install python3-picamera2"
    (root / "usr/lib/python3/dist-packages/picamera2").mkdir(parents=True)
    found = devices.pi_camera(root)
    assert found.status == "warn"
    assert "--system-site-packages" in str(found.do)


def picamera2(*cameras: dict[str, Any]) -> Callable[[], Any]:
    return lambda: SimpleNamespace(Picamera2=SimpleNamespace(global_camera_info=lambda: list(cameras)))


def test_a_raspberry_pi_camera_is_named_and_usb_ones_are_left_to_v4l2(tmp_path: Path) -> None:
    root = raspberry_pi(tmp_path)
    sensor = {"Model": "imx708", "Id": "/base/axi/pcie@1000120000/rp1/i2c@88000/imx708@1a"}
    found = devices.pi_camera(root, load=picamera2(sensor, {"Model": "UVC", "Id": "/base/soc/usb@7e980000/1.2"}))
    assert (found.status, found.message) == ("ok", "imx708 through picamera2")
    assert devices.pi_camera(root, load=picamera2()).status == "none"


def test_a_picamera2_that_does_not_load_fails_with_its_reason(tmp_path: Path) -> None:
    def broken() -> Any:
        raise SourceUnavailableError("numpy.dtype size changed:\nkeep the system's numpy")

    found = devices.pi_camera(raspberry_pi(tmp_path), load=broken)
    assert (found.status, found.message) == ("fail", "numpy.dtype size changed: keep the system's numpy")


def test_no_edge_tpu_is_no_failure_and_tries_nothing(tmp_path: Path) -> None:
    def never(*_: Any, **__: Any) -> Trial:
        pytest.fail("there is nothing to try")

    assert devices.edge_tpu(tmp_path, attempt=never).status == "none"
    library = install_library(tmp_path)
    assert str(library) in devices.edge_tpu(tmp_path, attempt=never).message


def test_an_edge_tpu_that_runs_the_model_is_good(tmp_path: Path) -> None:
    plug_usb(tmp_path)
    library = install_library(tmp_path)
    found = devices.edge_tpu(tmp_path, model="m_edgetpu.tflite", attempt=trial(WORKS))
    assert (found.status, found.message) == (
        "ok",
        f"USB 2-1 (5000 Mbit/s) runs the model (12.5 ms at first) with {library}",
    )


def test_without_a_model_for_it_less_is_claimed(tmp_path: Path) -> None:
    plug_usb(tmp_path)
    install_library(tmp_path)
    found = devices.edge_tpu(tmp_path, attempt=trial(WORKS))
    assert found.status == "ok"
    assert "shows with a model compiled for it" in found.message


def test_a_slow_link_warns(tmp_path: Path) -> None:
    plug_usb(tmp_path, speed="480")
    install_library(tmp_path)
    found = devices.edge_tpu(tmp_path, model="m.tflite", attempt=trial(WORKS))
    assert (found.status, found.do) == ("warn", "lsusb -t")
    assert "480 Mbit/s: use a USB 3 port" in found.message


@pytest.mark.parametrize("outcome", ["fails", "crashes"])
def test_a_library_that_is_missing_or_built_for_another_interpreter_says_what_to_install(
    tmp_path: Path, outcome: Any
) -> None:
    plug_usb(tmp_path)
    if outcome == "crashes":
        install_library(tmp_path)
    found = devices.edge_tpu(tmp_path, attempt=trial(Trial(outcome, "it crashes (SIGSEGV)")))
    assert (found.status, found.do) == ("fail", install_command(tmp_path))


def test_a_model_for_an_edge_tpu_without_one_fails(tmp_path: Path) -> None:
    found = devices.edge_tpu(tmp_path, model="m.tflite", attempt=trial(Trial("fails", "does not load")))
    assert found.status == "fail"
    assert "no Edge TPU was found" in found.message


def test_a_delegate_library_is_tried_with_a_real_model(fake_edgetpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.delegate(str(fake_edgetpu), model=None).status == "ok"
    monkeypatch.setenv("FAKE_EDGETPU", "null")
    found = devices.delegate(str(fake_edgetpu), model=None)
    assert (found.status, found.do) == ("fail", f"ldd {fake_edgetpu}")
    assert "no device answers" in found.message
    assert devices.delegate("/nowhere/x.so", model=None).status == "fail"
