"""What the command line does before and after a command: nothing of it may be left."""

import gc
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.cli import main


@pytest.mark.parametrize("words", [["run", "--nonsense"], ["run", "--broker", "none"], ["config", "check", "/nowhere"]])
def test_garbage_is_collected_again_however_a_command_ends(words: list[str]) -> None:
    assert main(words) != 0
    assert gc.isenabled()


def test_the_daemon_collects_garbage_once_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edge_runtime.sources.demo import DemoSource

    collecting: list[bool] = []
    read = DemoSource.read

    def look(self: DemoSource, timeout_s: float) -> Any:
        collecting.append(gc.isenabled())
        return read(self, timeout_s)

    monkeypatch.setattr(DemoSource, "read", look)
    monkeypatch.setenv("EDGE_INFER_STATE_DIR", str(tmp_path / "state"))
    config = tmp_path / "edge.toml"
    config.write_text('[model]\npath = "none"\n[broker]\nurl = "none"\n[[source]]\ntype = "demo"\n')
    digits = Path(__file__).parents[2] / "edge_runtime/demo/digits.tflite"
    assert main(["--config", str(config), "--model", str(digits), "--frames", "2", "-q"]) == 0
    assert collecting
    assert all(collecting)
    assert gc.get_freeze_count() > 0
    gc.unfreeze()
