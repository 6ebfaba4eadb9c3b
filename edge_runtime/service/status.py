"""What is installed and how it is."""

import subprocess
from typing import Any

from edge_runtime.service import system
from edge_runtime.service.environment import version_of
from edge_runtime.service.install import current
from edge_runtime.service.layout import UNIT, Layout

_PROPERTIES = ("ActiveState", "SubState", "NRestarts", "MainPID", "UnitFileState", "ActiveEnterTimestamp")


def status(layout: Layout) -> dict[str, Any]:
    """Return what there is as JSON-like values; ``service`` is None for an image and without systemd."""
    used = current(layout)
    return {
        "schema": 1,
        "installed": used is not None,
        "version": version_of(used) if used else None,
        "environment": str(used) if used else None,
        "environments": [path.name for path in layout.environments()],
        "config": str(layout.config) if layout.config.is_file() else None,
        "user": system.identity(layout) is not None,
        "files": {name: path.is_file() for name, path in layout.system_files.items()},
        "service": _service() if layout.live else None,
    }


def _service() -> dict[str, str] | None:
    command = ["systemctl", "show", UNIT, "--property", ",".join(_PROPERTIES)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError:
        return None
    if done.returncode != 0:
        return None
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    return {key: value for key, _, value in pairs}
