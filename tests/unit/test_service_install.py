"""The service in a root of its own: what is written, what a failure leaves, and that it goes away again.

The packages are one wheel made here; the real ones are installed by the system tests.
"""

import hashlib
import json
import os
import shutil
import zipfile

import pytest
from roots import make_root

from edge_runtime.errors import InstallError, UsageError
from edge_runtime.service import environment as environments
from edge_runtime.service import install as installing
from edge_runtime.service.command_line import add_arguments, run
from edge_runtime.service.environment import Packages
from edge_runtime.service.install import Wishes, install
from edge_runtime.service.layout import Layout
from edge_runtime.service.own_wheel import pack
from edge_runtime.service.status import status
from edge_runtime.service.uninstall import uninstall

pytestmark = [
    pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="the installer needs systemd"),
    pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user: run as root"),
]


def quiet(_sentence):
    pass


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory):
    """A wheelhouse of one package, small enough to be installed many times."""
    folder = tmp_path_factory.mktemp("wheels")
    wheel = folder / "edge_infer-9.9-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("edge_runtime/__init__.py", "")
        archive.writestr("edge_infer-9.9.dist-info/METADATA", "Metadata-Version: 2.1\nName: edge-infer\nVersion: 9.9\n")
        archive.writestr(
            "edge_infer-9.9.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("edge_infer-9.9.dist-info/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (folder / "requirements-cp313-aarch64.txt").write_text(f"edge-infer==9.9 --hash=sha256:{digest}\n")
    return folder


@pytest.fixture
def layout(tmp_path):
    return Layout(make_root(tmp_path / "root"))


@pytest.fixture
def no_pip(monkeypatch):
    """pip takes a second each time; what it does is shown once, by the test about hashes."""
    monkeypatch.setattr(environments, "run", lambda *_words, **_options: "")
    monkeypatch.setattr(environments.packages, "find_pip", lambda *_places: ["pip"])


def wishes(wheelhouse, **more):
    return Wishes(packages=Packages(wheelhouse=wheelhouse), **more)


def files_below(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_everything_is_in_its_place(layout, wheelhouse):
    outcome = install(layout, wishes(wheelhouse), say=quiet)
    assert outcome.previous is None
    assert not outcome.started
    assert not outcome.configured
    script = layout.current / "bin/edge-infer"
    assert script.read_text().startswith("#!/usr/lib/edge-infer/environment-1/bin/python\n")
    assert os.access(script, os.X_OK)
    assert os.readlink(layout.command) == "/usr/lib/edge-infer/current/bin/edge-infer"
    assert os.readlink(layout.current / "bin/python") == "/usr/bin/python3.13"
    assert "include-system-site-packages = true" in (layout.current / "pyvenv.cfg").read_text()
    assert (layout.root / "etc/systemd/system/multi-user.target.wants/edge-infer.service").is_symlink()
    assert layout.restart_steps.is_file()
    assert layout.config.stat().st_mode & 0o777 == 0o640
    assert layout.state.stat().st_mode & 0o777 == 0o700
    found = status(layout)
    assert found["installed"]
    assert found["user"]
    assert all(found["files"].values())


def test_the_user_is_locked_and_in_the_groups_that_there_are(layout, wheelhouse, no_pip):
    install(layout, wishes(wheelhouse), say=quiet)
    shadow = next(
        line for line in (layout.root / "etc/shadow").read_text().splitlines() if line.startswith("edge-infer")
    )
    assert shadow.split(":")[1].startswith("!")
    groups = {line.split(":")[0]: line.split(":")[3] for line in (layout.root / "etc/group").read_text().splitlines()}
    assert groups["video"] == groups["plugdev"] == "edge-infer"
    assert "gpio" not in groups
    assert "apex" not in groups


def test_an_older_systemd_gets_no_drop_in_that_it_does_not_know(tmp_path, wheelhouse, no_pip):
    layout = Layout(make_root(tmp_path / "old", systemd=252))
    install(layout, wishes(wheelhouse), say=quiet)
    assert not layout.restart_steps.exists()


def test_an_upgrade_stands_beside_the_previous_one_and_keeps_the_configuration(layout, wheelhouse, tmp_path, no_pip):
    mine = tmp_path / "edge.toml"
    mine.write_text('device_id = "porch"\n')
    assert install(layout, wishes(wheelhouse, config=mine), say=quiet).configured
    for expected in ("environment-2", "environment-3"):
        outcome = install(layout, wishes(wheelhouse), say=quiet)
        assert outcome.configured
        assert os.readlink(layout.current) == expected
    assert [path.name for path in layout.environments()] == ["environment-2", "environment-3"]
    assert layout.config.read_text() == 'device_id = "porch"\n'


def test_another_configuration_keeps_the_one_before(layout, wheelhouse, tmp_path, no_pip):
    for name in ("one", "two"):
        (tmp_path / name).write_text(f'device_id = "{name}"\n')
        install(layout, wishes(wheelhouse, config=tmp_path / name), say=quiet)
    assert "two" in layout.config.read_text()
    assert "one" in (layout.config_folder / "config.toml.previous").read_text()


def test_what_a_power_cut_left_is_cleared_away(layout, wheelhouse, no_pip):
    half = layout.home / "environment-1"
    (half / "bin").mkdir(parents=True)
    (layout.home / "current.new").symlink_to("environment-1")
    install(layout, wishes(wheelhouse), say=quiet)
    assert [path.name for path in layout.environments()] == ["environment-1"]
    assert (layout.current / ".complete").is_file()


@pytest.mark.parametrize("breaks", ["make_user", "write_files", "enable"])
def test_a_failure_leaves_what_was_there(layout, wheelhouse, monkeypatch, breaks, no_pip):
    install(layout, wishes(wheelhouse), say=quiet)
    before = files_below(layout.root)

    def fail(*_args, **_options):
        raise InstallError("no")

    monkeypatch.setattr(installing.system, breaks, fail)
    with pytest.raises(InstallError):
        install(layout, wishes(wheelhouse), say=quiet)
    assert files_below(layout.root) == before
    assert os.readlink(layout.current) == "environment-1"


def test_a_wheel_that_is_not_the_one_on_the_list_is_refused(layout, wheelhouse, tmp_path):
    changed = tmp_path / "changed"
    shutil.copytree(wheelhouse, changed)
    with next(changed.glob("*.whl")).open("ab") as wheel:
        wheel.write(b"\0")
    with pytest.raises(InstallError, match=r"(?i)hash"):
        install(layout, wishes(changed), say=quiet)
    assert layout.environments() == []


def test_one_installation_at_a_time(layout, wheelhouse, no_pip):
    with installing._alone(layout), pytest.raises(InstallError, match="another installation"):
        install(layout, wishes(wheelhouse), say=quiet)


def start_that(*answers):
    given = list(answers)
    return lambda: given.pop(0)


def test_an_upgrade_that_does_not_come_up_goes_back(layout, wheelhouse, monkeypatch, no_pip):
    install(layout, wishes(wheelhouse), say=quiet)
    first = installing.current(layout)
    shutil.copytree(first, layout.home / "environment-2", symlinks=True)
    installing.switch(layout, layout.home / "environment-2")
    monkeypatch.setattr(installing.health, "start", start_that("it fell over", None))
    with pytest.raises(InstallError, match=r"it fell over.*back to environment-1, which runs again"):
        installing._start(layout, layout.home / "environment-2", first, quiet)
    assert os.readlink(layout.current) == "environment-1"
    assert not (layout.home / "environment-2").exists()


def test_a_first_start_that_fails_is_said_and_stays_installed(layout, wheelhouse, monkeypatch, no_pip):
    install(layout, wishes(wheelhouse), say=quiet)
    monkeypatch.setattr(installing.health, "start", start_that("no camera"))
    with pytest.raises(InstallError, match=r"does not come up yet \(no camera\)"):
        installing._start(layout, installing.current(layout), None, quiet)
    assert installing.current(layout) is not None


def test_uninstall_leaves_configuration_and_state_and_purge_nothing(layout, wheelhouse, no_pip):
    before = files_below(layout.root)
    install(layout, wishes(wheelhouse), say=quiet)
    (layout.state / "outbox.db").touch()
    assert uninstall(layout, purge=False) == [str(layout.config_folder), str(layout.state)]
    assert not layout.home.exists()
    assert uninstall(layout, purge=True) == []
    left = set(files_below(layout.root)) - set(before)
    assert not {name for name in left if "edge-infer" in name}
    assert "edge-infer" not in (layout.root / "etc/passwd").read_text() + (layout.root / "etc/group").read_text()
    assert uninstall(layout, purge=True) == []


def test_the_command_line_reports_as_json(layout, wheelhouse, capsys, no_pip):
    import argparse

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    root = ["--root", str(layout.root), "--json"]
    assert run(parser.parse_args(["status", *root])) == 1
    assert run(parser.parse_args(["install", "--wheelhouse", str(wheelhouse), *root])) == 0
    assert run(parser.parse_args(["status", *root])) == 0
    documents = capsys.readouterr().out.replace("}\n{", "}\0{").split("\0")
    assert json.loads(documents[1])["environment"].endswith("environment-1")


def test_an_image_needs_a_wheelhouse(layout, no_pip):
    with pytest.raises(UsageError, match="--make-wheelhouse"):
        install(layout, Wishes(packages=Packages()), say=quiet)


def test_our_own_wheel_is_the_same_twice_and_carries_the_installer(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = pack(tmp_path / "a"), pack(tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    names = zipfile.ZipFile(first).namelist()
    assert "edge_runtime/service/files/edge-infer.service" in names
    assert "edge_runtime/demo/digits.tflite" in names
    assert not [name for name in names if "__pycache__" in name]


def test_the_service_can_read_what_a_careful_root_installed(layout, wheelhouse, no_pip):
    before = os.umask(0o077)
    try:
        install(layout, wishes(wheelhouse), say=quiet)
    finally:
        os.umask(before)
    for path in (layout.home, *layout.home.rglob("*"), layout.command.parent):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o044, path
