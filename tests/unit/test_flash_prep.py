"""``edge-infer flash-prep`` on folders that look like the boot partitions of stock cards."""

import hashlib
import json
import tomllib
import zipfile
from types import SimpleNamespace

import pytest

from edge_runtime.cli import main
from edge_runtime.flash import prepare, wifi
from edge_runtime.flash.card import recognise
from edge_runtime.service.own_wheel import pack

CONFIG = """# the porch
[broker]
url = "mqtt://broker.local"
password = "geheim"

[[source]]
type = "camera"
fps = 5.0
"""
MODEL = "edge_runtime/demo/digits.tflite"


@pytest.fixture(scope="module")
def own_wheel(tmp_path_factory):
    return pack(tmp_path_factory.mktemp("own"))


@pytest.fixture(autouse=True)
def packed_once(own_wheel, monkeypatch):
    monkeypatch.setattr("edge_runtime.cli.flash_prep.pack", lambda _folder: own_wheel)


@pytest.fixture
def boot(tmp_path):
    """The boot partition of a card with Trixie, as it is written."""
    folder = tmp_path / "bootfs"
    (folder / "overlays").mkdir(parents=True)
    (folder / "config.txt").write_text("arm_64bit=1\n")
    (folder / "cmdline.txt").write_text("console=tty1 root=PARTUUID=1-02 rootfstype=ext4 rootwait resize\n")
    (folder / "user-data").write_text("#cloud-config\nhostname: porch # mine\n")
    (folder / "meta-data").write_text("instance-id: rpios-image\n")
    return folder


@pytest.fixture
def bookworm(boot):
    (boot / "user-data").unlink()
    (boot / "meta-data").unlink()
    (boot / "cmdline.txt").write_text(
        "root=PARTUUID=1-02 rootwait quiet init=/usr/lib/raspberrypi-sys-mods/firstboot\n"
    )
    return boot


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def wheelhouse(tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in ("edge_infer-1-py3-none-any.whl", "numpy-2-cp313-cp313-any.whl", "pip-26-py3-none-any.whl"):
        with zipfile.ZipFile(folder / name, "w") as wheel:
            wheel.writestr("what", name)
    lines = [
        f"{path.name.split('-')[0]}==1 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in folder.glob("[en]*.whl")
    ]
    (folder / "requirements-cp313-aarch64.txt").write_text("\n".join(lines) + "\n")
    (folder / "numpy-2-cp311-cp311-any.whl").write_bytes(b"for another Python")
    return folder


def prep(boot, config, *more):
    return main(["flash-prep", "--boot", str(boot), "--config", str(config), *map(str, more)])


def test_a_32_bit_bookworm_card_fetches_its_packages_itself(bookworm, config, wheelhouse, capsys):
    (bookworm / "kernel7l.img").touch()
    before = snapshot(bookworm)
    assert prep(bookworm, config, "--wheelhouse", wheelhouse) == 2
    assert "leave --wheelhouse out and give it a network" in capsys.readouterr().err
    assert snapshot(bookworm) == before
    assert prep(bookworm, config) == 0
    said = capsys.readouterr()
    assert "bookworm for armv7l" in said.out
    assert "a Zero W or a Pi 1 (ARMv6) cannot run any" in said.err


def test_a_32_bit_trixie_card_is_refused_in_one_line(boot, config, capsys):
    (boot / "kernel7.img").touch()
    before = snapshot(boot)
    assert prep(boot, config) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "write the card with the 64-bit Raspberry Pi OS" in said
    assert snapshot(boot) == before


def snapshot(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_card_with_cloud_init_gets_payload_and_hook(boot, config, wheelhouse, capsys):
    assert prep(boot, config, "--wheelhouse", wheelhouse, "--model", MODEL, "--device", "pi-4b-64", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["formats"] == ["cloud-init"]
    assert report["hooks"] == ["user-data"]
    assert "fits" in report["verdict"]
    assert (boot / "user-data").read_text().startswith("#cloud-config\nhostname: porch # mine\n")
    wheels = {path.name for path in (boot / "edge-infer/wheels").iterdir()}
    assert wheels == {
        "edge_infer-1-py3-none-any.whl",
        "numpy-2-cp313-cp313-any.whl",
        "pip-26-py3-none-any.whl",
        "requirements-cp313-aarch64.txt",
    }
    written = (boot / "edge-infer/private/config.toml").read_text()
    assert "# the porch" in written
    assert tomllib.loads(written)["model"]["path"] == "digits.tflite"
    assert (boot / "edge-infer/private/files/digits.tflite").is_file()
    assert (boot / "edge-infer/private/files/digits.manifest.json").is_file()
    assert not (boot / "edge-infer.new").exists()


def test_a_second_time_changes_nothing(boot, config, wheelhouse, capsys):
    assert prep(boot, config, "--wheelhouse", wheelhouse) == 0
    before = {path: path.stat().st_mtime_ns for path in boot.rglob("*")}
    assert prep(boot, config, "--wheelhouse", wheelhouse) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in boot.rglob("*")} == before


def test_another_configuration_replaces_the_payload_and_leaves_the_hook(boot, config):
    assert prep(boot, config) == 0
    hook = (boot / "user-data").read_bytes()
    config.write_text(CONFIG.replace("broker.local", "other.local"))
    assert prep(boot, config) == 0
    assert "other.local" in (boot / "edge-infer/private/config.toml").read_text()
    assert (boot / "user-data").read_bytes() == hook
    assert not (boot / "edge-infer.old").exists()


def test_a_dry_run_writes_nothing(boot, config, wheelhouse, capsys):
    before = snapshot(boot)
    assert prep(boot, config, "--wheelhouse", wheelhouse, "--dry-run") == 0
    assert "would be" in capsys.readouterr().out
    assert snapshot(boot) == before


def test_bookworm_gets_a_first_run_script(bookworm, config):
    assert prep(bookworm, config) == 0
    assert "first-boot.sh --later" in (bookworm / "firstrun.sh").read_text()
    assert (bookworm / "cmdline.txt").read_text().endswith("systemd.unit=kernel-command-line.target\n")
    assert "init=/usr/lib/raspberrypi-sys-mods/firstboot" in (bookworm / "cmdline.txt").read_text()


def test_a_preseed_file_is_merged_with(boot, config):
    (boot / "rpi-preseed.toml").write_text('config_version = "1.1"\n[system]\nhostname = "porch"\n')
    assert prep(boot, config) == 0
    for name in ("rpi-preseed.toml", "user-data"):
        assert "edge-infer/first-boot.sh" in (boot / name).read_text()


@pytest.mark.parametrize(
    ("cmdline", "booted"),
    [
        ("root=X rootwait resize", False),
        ("root=X rootwait resize quiet", False),
        ("root=X quiet init=/usr/lib/raspberrypi-sys-mods/firstboot", False),
        ("root=X rootwait quiet", True),
    ],
)
def test_a_card_that_has_booted_is_known(boot, cmdline, booted):
    (boot / "cmdline.txt").write_text(cmdline + "\n")
    assert recognise(boot).booted is booted


def test_a_booted_card_is_warned_of_and_what_to_do_then(boot, config, capsys):
    (boot / "cmdline.txt").write_text("root=X rootwait\n")
    assert prep(boot, config) == 0
    assert "sudo sh /boot/firmware/edge-infer/first-boot.sh" in capsys.readouterr().err


def refused(capsys, boot, status, says, *words):
    before = snapshot(boot) if boot.is_dir() else None
    assert prep(boot, *words) == status
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("edge-infer: error: ")
    assert says in said
    if before is not None:
        assert snapshot(boot) == before


def test_no_folder_the_root_partition_and_any_other_folder_are_refused(tmp_path, boot, config, capsys):
    refused(capsys, tmp_path / "nothing", 2, "mount the card's boot partition", config)
    root = tmp_path / "rootfs"
    (root / "etc").mkdir(parents=True)
    (root / "usr").mkdir()
    refused(capsys, root, 2, "is the root partition", config)
    (boot / "cmdline.txt").unlink()
    refused(capsys, boot, 2, "no cmdline.txt", config)


def test_a_full_partition_is_refused(boot, config, wheelhouse, capsys, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=1_000_000))
    refused(capsys, boot, 3, "nothing written", config, "--wheelhouse", wheelhouse)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[broker\n", "not valid TOML"),
        ('[broker]\nurll = "x"\n', "did you mean"),
        ('[[source]]\ntype = "camra"\n', "camra"),
        ('[model]\npath = "missing.tflite"\n[[source]]\ntype = "camera"\n', "there is no"),
        ('[broker]\nca_file = "certs/ca.crt"\n', "without a folder"),
    ],
)
def test_a_wrong_configuration_is_refused(boot, config, capsys, text, says):
    config.write_text(text)
    refused(capsys, boot, 2, says, config)


def test_a_model_that_does_not_fit_the_board_is_refused(boot, config, capsys):
    words = (config, "--model", MODEL, "--device", "pi-zero-2-w", "--fps", "1000000")
    refused(capsys, boot, 3, "does not fit a Raspberry Pi Zero 2 W", *words)


def test_what_is_no_model_is_refused(boot, config, tmp_path, capsys):
    (tmp_path / "m.tflite").write_bytes(b"no model")
    refused(capsys, boot, 3, "m.tflite", config, "--model", tmp_path / "m.tflite", "--device", "pi-5")


def test_a_wheelhouse_for_another_python_is_refused(bookworm, config, wheelhouse, capsys):
    refused(capsys, bookworm, 2, "requirements-cp311-aarch64.txt", config, "--wheelhouse", wheelhouse)


def test_a_wheel_that_is_gone_is_missed(boot, config, wheelhouse, capsys):
    (wheelhouse / "numpy-2-cp313-cp313-any.whl").write_bytes(b"changed")
    refused(capsys, boot, 2, "lacks 1 of the wheels", config, "--wheelhouse", wheelhouse)


def test_user_data_that_cannot_be_merged_with_is_refused_before_anything_is_written(boot, config, capsys):
    (boot / "user-data").write_text("#!/bin/sh\n")
    refused(capsys, boot, 2, "cannot be merged", config)


@pytest.mark.parametrize("fails_at", ["user-data", "edge-infer.new"])
def test_a_write_that_fails_leaves_the_card_as_it_was(boot, config, capsys, monkeypatch, fails_at):
    def full(*_words, **_options):
        raise OSError(28, "No space left on device", fails_at)

    monkeypatch.setattr(prepare, "replace_file" if fails_at == "user-data" else "_write_payload", full)
    refused(capsys, boot, 1, "the card is as it was", config)


def test_files_that_the_configuration_names_go_with_it(boot, config, tmp_path, capsys):
    (tmp_path / "ca.crt").write_text("certificate")
    (tmp_path / "password").write_text("geheim\n")
    config.write_text('[broker]\nurl = "mqtts://b"\nca_file = "ca.crt"\npassword = { file = "password" }\n')
    assert prep(boot, config) == 0
    assert {path.name for path in (boot / "edge-infer/private/files").iterdir()} == {"ca.crt", "password"}
    config.write_text('[broker]\nurl = "mqtts://b"\nca_file = "/etc/ssl/ca.crt"\n')
    assert prep(boot, config) == 0
    assert "must be on the device already" in capsys.readouterr().err


def test_a_pi_camera_asks_for_its_library(boot, config):
    config.write_text('[[source]]\ntype = "picamera"\n')
    assert prep(boot, config) == 0
    assert (boot / "edge-infer/private/debian-packages").read_text() == "python3-picamera2\n"


def test_wifi_is_written_without_its_passphrase(boot, config, monkeypatch):
    monkeypatch.setenv("EDGE_INFER_WIFI_PASSWORD", "correct horse")
    assert prep(boot, config, "--wifi", "Porch; näh", "--wifi-country", "de") == 0
    text = (boot / "edge-infer/private/wifi.nmconnection").read_text()
    assert "correct horse" not in text
    assert f"ssid={';'.join(str(byte) for byte in 'Porch; näh'.encode())};" in text
    assert (boot / "edge-infer/private/wifi-country").read_text() == "DE"


def test_the_key_of_a_network_is_that_of_the_standard():
    """The test vectors of IEEE 802.11i, annex H.4."""
    assert "psk=f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e" in wifi.keyfile("IEEE", "password")


@pytest.mark.parametrize(
    ("words", "password", "says"),
    [
        (("--wifi", "Porch"), "12345678", "needs --wifi-country"),
        (("--wifi", "Porch", "--wifi-country", "DEU"), "12345678", "two letters"),
        (("--wifi", "Porch", "--wifi-country", "DE"), "short", "8 to 63"),
        (("--wifi", "x" * 33, "--wifi-country", "DE"), "12345678", "1 to 32 bytes"),
        (("--wifi", "Porch", "--wifi-country", "DE"), None, "needs a password"),
    ],
)
def test_wifi_that_cannot_be_meant_is_refused(boot, config, capsys, monkeypatch, words, password, says):
    monkeypatch.delenv("EDGE_INFER_WIFI_PASSWORD", raising=False)
    if password is not None:
        monkeypatch.setenv("EDGE_INFER_WIFI_PASSWORD", password)
    refused(capsys, boot, 2, says, config, *words)
