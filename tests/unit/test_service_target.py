"""Which systems the installer takes, and what it says of the others."""

import pytest
from roots import make_root

from edge_runtime.errors import UnsupportedPlatformError
from edge_runtime.service import packages
from edge_runtime.service.target import examine


@pytest.mark.parametrize(
    ("python", "machine", "tag"),
    [
        ("python3.13", "aarch64", "cp313-aarch64"),
        ("python3.11", "aarch64", "cp311-aarch64"),
        ("python3.11", "armv7l", "cp311-armv7l"),
        ("python3.12", "x86_64", "cp312-x86_64"),
    ],
)
def test_a_system_is_named_by_its_own_python(tmp_path, python, machine, tag):
    assert examine(make_root(tmp_path / "root", python=python, machine=machine)).tag == tag


@pytest.mark.parametrize(
    ("python", "machine", "kernel", "says"),
    [
        ("python3.13", "armv7l", "aarch64", "64-bit Raspberry Pi OS, or with 32-bit Bookworm"),
        ("python3.11", "armv7l", "armv6l", "a Zero 2 W has the same size and works"),
        ("python3.9", "aarch64", "aarch64", "needs 3.11 or newer"),
        ("python3.13", "riscv64", "riscv64", "neither x86-64 nor"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(tmp_path, python, machine, kernel, says):
    root = make_root(tmp_path / "root", python=python, machine=machine)
    with pytest.raises(UnsupportedPlatformError, match=says) as refused:
        examine(root, kernel_machine=kernel)
    assert "\n" not in str(refused.value)


def test_a_root_without_python_says_what_to_install(tmp_path):
    with pytest.raises(UnsupportedPlatformError, match="apt install python3"):
        examine(tmp_path)


def test_a_python_that_is_a_script_is_refused(tmp_path):
    root = make_root(tmp_path / "root")
    (root / "usr/bin/python3.13").write_text("#!/bin/sh\n")
    with pytest.raises(UnsupportedPlatformError, match="no program for Linux"):
        examine(root)


def test_numpy_is_held_to_the_systems(tmp_path):
    root = make_root(tmp_path / "root", python="python3.11", numpy="1.24.2")
    assert packages.system_numpy(root, examine(root)) == "1.24.2"


def test_a_numpy_that_is_too_old_or_too_new_is_not_held(tmp_path):
    old = make_root(tmp_path / "old", numpy="1.19.5")
    assert packages.system_numpy(old, examine(old)) is None
    new = make_root(tmp_path / "new", python="python3.11", machine="armv7l", numpy="2.2.4")
    assert packages.system_numpy(new, examine(new)) is None


def test_32_bit_takes_tflite_runtime_and_numpy_1_whatever_the_markers_say(tmp_path):
    root = make_root(tmp_path / "root", python="python3.11", machine="armv7l", numpy="1.24.2")
    wheel = tmp_path / "edge_infer-1-py3-none-any.whl"
    first, second = packages.from_index(wheel, examine(root), extras=("dashboard",), numpy="1.24.2")
    assert "tflite-runtime>=2.14,<3" in first
    assert "numpy==1.24.2" in first
    assert any(line.startswith("starlette") for line in first)
    assert not any(line.startswith(("ai-edge-litert", "simplejpeg")) for line in first)
    assert second == ["--no-deps", str(wheel)]


def test_a_wheelhouse_for_another_system_says_what_it_is_for(tmp_path):
    root = make_root(tmp_path / "root", python="python3.12")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/requirements-cp313-aarch64.txt").write_text(
        "numpy==2.0 --hash=sha256:0\nidna==3 --hash=sha256:1\n"
    )
    with pytest.raises(Exception, match=r"no wheels for cp312-aarch64 \(it is for cp313-aarch64\)"):
        packages.pinned(tmp_path / "wheels", examine(root), without_numpy=False)


def test_the_systems_numpy_is_left_out_of_the_list(tmp_path):
    root = make_root(tmp_path / "root")
    (tmp_path / "requirements-cp313-aarch64.txt").write_text("numpy==2.0 --hash=sha256:0\nidna==3 --hash=sha256:1\n")
    assert packages.pinned(tmp_path, examine(root), without_numpy=True) == "idna==3 --hash=sha256:1\n"
