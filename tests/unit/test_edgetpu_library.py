"""Which libedgetpu is installed, and which interpreter it was built for."""

import pytest

from edge_runtime.engines.edgetpu import library_build

STATUS = (
    "Package: libc6\nStatus: install ok installed\nVersion: 2.36\n\n"
    "Package: libedgetpu1-{flavour}\nStatus: {status}\nVersion: {version}\nDescription: it\n more\n\n"
    "Package: zsh\nStatus: install ok installed\nVersion: 5\n"
)


@pytest.mark.parametrize(
    ("flavour", "version", "tensorflow", "suits"),
    [
        ("std", "16.0", "2.5", "crashes tflite-runtime 2.12 and later"),
        ("max", "16.0TF2.17.1-1.bookworm", "2.17.1", "built for TensorFlow 2.17.1"),
        ("std", "16.0tf2.19.1-1.trixie", "2.19.1", "made for newer interpreters"),
    ],
)
def test_the_package_tells_what_it_was_built_for(tmp_path, flavour, version, tensorflow, suits):
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    text = STATUS.format(flavour=flavour, version=version, status="install ok installed")
    (tmp_path / "var/lib/dpkg/status").write_text(text)
    build = library_build(tmp_path)
    assert build is not None
    assert (build.package, build.version, build.tensorflow) == (f"libedgetpu1-{flavour}", version, tensorflow)
    assert suits in build.suits


def test_a_removed_package_and_none_are_nothing(tmp_path):
    assert library_build(tmp_path) is None
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    text = STATUS.format(flavour="std", version="16.0", status="deinstall ok config-files")
    (tmp_path / "var/lib/dpkg/status").write_text(text)
    assert library_build(tmp_path) is None
