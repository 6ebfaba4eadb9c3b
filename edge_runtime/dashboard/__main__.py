"""``python -m edge_runtime.dashboard``: settings as one line of JSON on standard input, then serve until it closes.

The daemon starts it so: no secret on a command line, and nothing left behind when the parent dies.
"""

import os
import sys
import threading

import msgspec

from edge_runtime.dashboard.serve import serve
from edge_runtime.dashboard.settings import DashboardSettings
from edge_runtime.errors import EdgeRuntimeError, UsageError


def main() -> int:
    """Run and return the exit status."""
    stop = threading.Event()
    try:
        settings = _read()
        threading.Thread(target=_wait_for_end, args=(stop,), name="dashboard-stdin", daemon=True).start()
        serve(settings, stop=stop)
    except EdgeRuntimeError as error:
        print(f"edge-infer: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return 0


def _read() -> DashboardSettings:
    line = sys.stdin.buffer.readline()
    try:
        return msgspec.json.decode(line, type=DashboardSettings)
    except msgspec.MsgspecError as error:
        raise UsageError(f"expected the settings as one line of JSON on standard input: {error}") from error


def _wait_for_end(stop: threading.Event) -> None:
    # Past Python's own buffer: its lock, held by a daemon thread, would abort the interpreter's shutdown.
    while os.read(0, 4096):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
