"""The unit, the udev rule and the drop-in, as systemd itself reads them."""

import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

FILES = resources.files("edge_runtime.service") / "files"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture
def unit(tmp_path) -> Path:
    """The unit, with a program that is there in place of the one that is not installed here."""
    path = tmp_path / "edge-infer.service"
    text = (FILES / "edge-infer.service").read_text()
    path.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    return path


def analyze(*words: str) -> str:
    done = subprocess.run(["systemd-analyze", *words], capture_output=True, text=True)
    return done.stdout + done.stderr


@needs_systemd
def test_systemd_has_nothing_to_say_against_the_unit(unit):
    assert analyze("verify", "--man=no", str(unit)) == ""


@needs_systemd
def test_the_unit_is_exposed_as_little_as_is_published(unit):
    shown = analyze("security", "--offline=true", "--no-pager", str(unit))
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", shown)
    assert exposure is not None, shown
    assert float(exposure[1]) <= 1.5


def test_the_service_never_gives_up_and_is_watched():
    text = (FILES / "edge-infer.service").read_text()
    for line in ("Type=notify", "Restart=always", "StartLimitIntervalSec=0", "OOMPolicy=continue"):
        assert re.search(rf"^{line}$", text, re.MULTILINE), line
    assert re.search(r"^WatchdogSec=\d+", text, re.MULTILINE)
    assert re.search(r"^LogRateLimitBurst=\d+", text, re.MULTILINE)


def test_the_edge_tpu_is_let_in_before_and_after_it_has_its_firmware():
    rules = (FILES / "60-edge-infer.rules").read_text()
    for vendor, product in (("1a6e", "089a"), ("18d1", "9302")):
        assert f'ATTR{{idVendor}}=="{vendor}", ATTR{{idProduct}}=="{product}", GROUP="plugdev"' in rules
    assert (FILES / "edge-infer.service").read_text().count("DeviceAllow=char-usb_device rw") == 1


def test_the_configuration_to_begin_with_is_valid(tmp_path):
    from edge_runtime.config import load
    from edge_runtime.validation import effective

    path = tmp_path / "config.toml"
    path.write_text((FILES / "config.toml").read_text())
    assert effective(load(path, {}, {}), where="it")["broker"]["url"] == "mqtt://localhost:1883"
