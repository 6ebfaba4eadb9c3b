"""The short forms of `scripts/fuzz`, which runs 20,000 cases of each kind by hand; `inspect` is in test_cli_inspect."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/fuzzing/fuzz.py"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("kind", "count", "least"),
    [
        ("loader", 120, {"refused": 20, "fails": 20, "works": 8}),
        ("pictures", 400, {"refused": 100, "read": 40}),
        ("configurations", 400, {"refused": 100, "good": 40}),
        ("commands", 1000, {"refused": 300, "done": 100, "ignored": 1}),
    ],
)
def test_hostile_input_is_taken_or_refused_with_a_typed_error(kind: str, count: int, least: dict[str, int]) -> None:
    ran = subprocess.run(
        [sys.executable, SCRIPT, kind, str(count), "--seed", "7"], capture_output=True, text=True, timeout=280
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " 0 failures" in ran.stdout
    for outcome, number in least.items():
        found = re.search(rf"{outcome} (\d+)", ran.stdout)
        assert found, ran.stdout
        assert int(found[1]) >= number, ran.stdout
