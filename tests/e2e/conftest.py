"""The real command, with a state directory of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Ended:
    """A finished run of the command."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines it wrote to standard output."""
        return [json.loads(line) for line in self.out.splitlines()]


class EdgeInfer:
    """Runs ``edge-infer``; ``start`` leaves it running until the test ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("EDGE_INFER_")}
        self.environment |= {"XDG_STATE_HOME": str(folder / "state"), "PYTHONWARNINGS": "error::ResourceWarning"}
        self.running: list[subprocess.Popen[str]] = []

    def __call__(self, *words: str | Path, timeout_s: float = 60.0, **environment: str) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "edge_runtime", *map(str, words)],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str | Path, **environment: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_runtime", *map(str, words)],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        return process

    def finish(self, process: "subprocess.Popen[str]", *, with_signal: signal.Signals | None = None) -> Ended:
        """Wait for a started run, after a signal where one is named."""
        if with_signal is not None:
            process.send_signal(with_signal)
        out, err = process.communicate(timeout=30)
        assert "Traceback" not in err, err
        return Ended(process.returncode, out, err)


@pytest.fixture
def edge_infer(tmp_path: Path) -> Iterator[EdgeInfer]:
    command = EdgeInfer(tmp_path)
    yield command
    for process in command.running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def predictions(edge_infer: EdgeInfer) -> Callable[..., list[dict[str, Any]]]:
    """Run to the end without a broker and return the predictions."""

    def run(*words: str | Path) -> list[dict[str, Any]]:
        ended = edge_infer(*words, "--broker", "none", "--jsonl", "-", "-q")
        assert ended.status == 0, ended.err
        return ended.lines

    return run
