"""Where tflite-runtime is looked for, and what is said when it is not there."""

import sys
from pathlib import Path

import pytest

from converters import older_runtime
from edge_runtime.errors import ModelError, UsageError


def test_an_interpreter_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(older_runtime.VARIABLE, str(tmp_path / "python"))
    with pytest.raises(UsageError, match=r"python: no such file; make an environment .*numpy<2"):
        older_runtime.find_python()


def test_an_environment_without_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} -S -c 'import tflite_runtime'\n")
    python.chmod(0o755)
    monkeypatch.setenv(older_runtime.VARIABLE, str(python))
    with pytest.raises(UsageError, match="No module named 'tflite_runtime'; make an environment"):
        older_runtime.find_python()


def test_without_the_variable_it_lies_in_a_folder_beside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(older_runtime.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    python = tmp_path / ".venv-tflite" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)
    assert older_runtime.find_python().resolve() == python


def test_what_it_does_not_run_is_an_error_with_its_words(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"Didn't find op for builtin opcode 'SQRT' version '2'\" >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(ModelError, match=r"tflite-runtime does not run it: Didn't find op .*SQRT"):
        older_runtime.run(python, tmp_path / "m.tflite", tmp_path / "x.npy", tmp_path, outputs=1)
