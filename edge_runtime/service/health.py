"""Whether a new environment works, before it is used and after."""

import json
import subprocess
import time
from pathlib import Path
from typing import Final

from edge_runtime.errors import InstallError
from edge_runtime.service.commands import last_words, succeeds
from edge_runtime.service.layout import UNIT

PROBE_S: Final = 300.0
"""A Zero 2 W compiles and imports everything for the first time; a healthy one there takes a tenth of it."""
START_S: Final = 240.0
SETTLE_S: Final = 5.0
"""READY came; what ends within this time has not really come up."""


def probe(environment: Path) -> None:
    """Let the environment examine itself: interpreter, picture decoder, picamera2. Raises InstallError."""
    command = [str(environment / "bin/edge-infer"), "doctor", "--installed", "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_S, check=False, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"the new environment does not work: {error}") from error
    if done.returncode == 0:
        return
    try:
        failed = [check["message"] for check in json.loads(done.stdout)["checks"] if check["status"] == "fail"]
    except (ValueError, KeyError, TypeError):
        failed = [last_words(done.stderr)]
    raise InstallError(f"the new environment does not work: {'; '.join(failed)}")


def start() -> str | None:
    """Restart the service, wait until it says that it is ready, and return None; else what its log says."""
    succeeds(["systemctl", "reset-failed", UNIT])
    began_s = time.time()
    try:
        done = subprocess.run(
            ["systemctl", "restart", UNIT], capture_output=True, check=False, timeout=START_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        time.sleep(SETTLE_S)
        if succeeds(["systemctl", "is-active", "--quiet", UNIT]):
            return None
    return _log(began_s)


def _log(since_s: float) -> str:
    command = ["journalctl", "--unit", UNIT, f"--since=@{since_s:.0f}", "--output=cat", "--no-pager", "--lines=20"]
    try:
        text = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace").stdout
    except OSError as error:
        return str(error)
    ours = [line for line in text.splitlines() if "edge-infer: error:" in line]
    return ours[-1].partition("error: ")[2] if ours else last_words(text)
