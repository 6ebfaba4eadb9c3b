"""One process of LiteRT serves a whole conversion, and another one when a model has ended it."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert.schema_py_generated", reason="the schema's own code comes with LiteRT")
from unit.float_networks import Part, chain

from converters.litert import LiteRt


@pytest.fixture
def model(tmp_path: Path) -> Path:
    weights = np.eye(3, dtype=np.float32).reshape(3, 1, 1, 3)
    path = tmp_path / "model.tflite"
    path.write_bytes(chain((1, 4, 4, 3), [Part("CONV_2D", weights, np.ones(3, np.float32))], [(1, 4, 4, 3)]))
    return path


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    path = tmp_path / "samples.npy"
    np.save(path, np.random.default_rng(1).normal(size=(2, 4, 4, 3)).astype(np.float32))
    return path


def test_a_process_that_ended_is_replaced(model: Path, samples: Path, tmp_path: Path) -> None:
    wanted = np.load(samples) + 1.0
    with LiteRt(tmp_path) as litert:
        assert litert.report.seconds == 0.0  # nothing was started
        before = litert.run(model, samples, stem="before").outputs[0]
        assert litert._child is not None
        first = litert._child._process
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        after = litert.run(model, samples, stem="after").outputs[0]
        spent = litert.report
    np.testing.assert_allclose(before, wanted, atol=1e-6)
    np.testing.assert_allclose(after, wanted, atol=1e-6)
    assert spent.peak_mb > 0
    assert litert.report == spent  # what was spent is still known at the end
