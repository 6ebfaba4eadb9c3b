"""The short forms of the reliability scripts; the long ones are run by hand (docs/reliability.md)."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from native_libraries import build_powercut
from real_broker import mosquitto_program

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "reliability"
ANY_MACHINE = ("--slack-ms", "inf")
"""Nothing is said of times here: what was seen to be committed must survive. The long forms hold the interval too."""


def run(script: str, tmp_path: Path, *words: str, timeout_s: float = 280.0) -> tuple[int, dict[str, Any], str]:
    """Run a script; return its status, its ledger and what it printed."""
    ledger = tmp_path / "ledger.json"
    done = subprocess.run(
        [sys.executable, SCRIPTS / f"{script}.py", *words, "--ledger", ledger, "--folder", tmp_path],
        capture_output=True, text=True, timeout=timeout_s,
    )  # fmt: skip
    said = done.stdout + done.stderr
    return done.returncode, json.loads(ledger.read_text()) if ledger.exists() else {}, said


@pytest.fixture(autouse=True)
def _needed(tmp_path: Path) -> None:
    mosquitto_program()
    build_powercut(tmp_path)


def test_a_power_cut_takes_nothing_that_was_committed(tmp_path: Path) -> None:
    status, ledger, said = run("kills", tmp_path, "3", "--seed", "2", "--power-cut", "nothing", *ANY_MACHINE)
    assert (status, ledger["lost"], ledger["gaps"], ledger["repeated"]) == (0, [], [], 0), said
    assert ledger["rows_committed_at_kills"] >= 3, "nothing was at stake"


def test_the_same_power_cuts_show_an_outbox_that_does_not_synchronise(tmp_path: Path) -> None:
    words = ("3", "--seed", "2", "--power-cut", "nothing", *ANY_MACHINE, "--weak", "NORMAL")
    status, ledger, said = run("kills", tmp_path, *words)
    assert status == 0, said
    assert ledger["rows_gone_after_kills"] >= 3, said


def test_a_little_chaos_loses_nothing(tmp_path: Path) -> None:
    kinds = ("broker killed", "daemon killed, broker away", "delegate crashes")
    words = [word for kind in kinds for word in ("--only", kind)]
    status, ledger, said = run("chaos", tmp_path, "--faults", str(len(kinds)), "--seed", "3", *words, *ANY_MACHINE)
    assert status == 0, said
    assert set(ledger["recovery_s"]) == set(kinds)
    assert ledger["kills"] >= 1
    assert ledger["acknowledged"] > 0
