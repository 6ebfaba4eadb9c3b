"""What a conversion shows while it runs: live in a terminal, lines elsewhere, nothing where it was not asked for."""

import os
import pty
import subprocess
import sys

import pytest

from converters.progress import open_display

SHOW = """
from converters.progress import open_display
with open_display(quiet=False) as display:
    display("reading samples")
    for done in range(1, 4):
        display("quantising (int8)", done, 3)
    if {fails}:
        raise RuntimeError
"""


def show_in_terminal(*, fails: bool) -> str:
    master, slave = pty.openpty()
    command = [sys.executable, "-c", SHOW.format(fails=fails)]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    process = subprocess.Popen(command, stderr=slave, env=environment)
    os.close(slave)
    said = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        said += part
    process.wait()
    os.close(master)
    return said.decode("utf-8", "replace")


def test_a_terminal_gets_a_bar_with_counts_and_times() -> None:
    pytest.importorskip("rich", reason="the live display comes with the extra [convert]")
    said = show_in_terminal(fails=False)
    assert "quantising (int8)" in said
    assert "3 of 3" in said
    assert "0:00:00" in said
    assert said.rfind("✓") > said.rfind("reading samples")


def test_a_failure_leaves_the_step_that_failed_unticked() -> None:
    pytest.importorskip("rich", reason="the live display comes with the extra [convert]")
    said = show_in_terminal(fails=True)
    marks = [line for line in said.splitlines() if "quantising" in line]
    assert "✗" in marks[-1]
    assert "✓" not in marks[-1]


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with open_display(quiet=False) as display:
        display("reading samples")
        display("quantising", 1, 2)
        display("quantising", 2, 2)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" s  ")[1] for line in lines] == ["reading samples", "quantising"]


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with open_display(quiet=True) as display:
        display("reading samples")
    assert capsys.readouterr().err == ""
