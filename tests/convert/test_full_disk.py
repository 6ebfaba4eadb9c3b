"""A disk that fills up ends a conversion with a sentence, and leaves nothing."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.convert, pytest.mark.usefixtures("convertible")]
_LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
runpy.run_module("converters.cli", run_name="__main__")
"""


@pytest.mark.parametrize("room_bytes", [0, 2_000, 60_000])
def test_no_room_is_said_and_nothing_is_left(room_bytes: int, reference: Path, tmp_path: Path) -> None:
    """No file may grow beyond ``room_bytes``: first the samples do not fit, then what is made of them."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8))
    (tmp_path / "work").mkdir()
    source = reference / "models/mlperf_tiny/pretrainedResnet.tflite"
    flags = ["-o", str(tmp_path / "out.tflite"), "--calibration", str(tmp_path / "x.npy"), "--preset", "raw", "-q"]
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(room_bytes), str(source), *flags],
        capture_output=True,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path / "work")},
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1
    assert "no room left" in done.stderr
    assert list((tmp_path / "work").iterdir()) == []
    assert not (tmp_path / "out.tflite").exists()
