"""The conversion tests need the packages of the extra [convert]; elsewhere they are skipped."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from converters.cli import main

Convert = Callable[..., dict[str, Any]]
NEEDED = ("tensorflow", "ai_edge_quantizer", "onnx", "onnx2tf", "onnxruntime")


@pytest.fixture(scope="session")
def convertible() -> None:
    """Skip where the packages are missing; fail where they were asked for."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing and os.environ.get("EDGE_REQUIRE_CONVERT") == "1":
        pytest.fail(f"missing: {', '.join(missing)}")
    if missing:
        pytest.skip(f"needs the extra [convert] under Python 3.12 (missing: {', '.join(missing)})")


@pytest.fixture(scope="session")
def models(convertible: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small models of every kind, good and bad."""
    folder = tmp_path_factory.mktemp("models")
    script = Path(__file__).with_name("make_models.py")
    made = subprocess.run(
        [sys.executable, str(script), str(folder)],
        capture_output=True,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )
    assert made.returncode == 0, made.stderr[-2000:]
    return folder


@pytest.fixture
def convert(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Convert:
    """``convert(model, *flags, status=0)`` runs the command and returns its JSON document, or the error's line."""

    def run(model: Path, *flags: object, status: int = 0) -> dict[str, Any]:
        output = tmp_path / "out.tflite"
        before = set(tmp_path.iterdir())
        found = main([str(model), "-o", str(output), "--json", "-q", *map(str, flags)])
        said = capsys.readouterr()
        assert found == status, said.err
        if status:
            assert set(tmp_path.iterdir()) == before, "a failed conversion left something behind"
            assert said.err.count("\n") == 1
            return {"error": said.err.strip(), **(json.loads(said.out) if said.out else {})}
        assert output.is_file()
        return dict(json.loads(said.out))

    return run
