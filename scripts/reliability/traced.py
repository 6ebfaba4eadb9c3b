"""The command under tracemalloc: ``traced.py FILE WORD...`` writes to FILE which lines hold more memory than before.

The first picture is taken after a minute, when pools are filled; the file is written anew every minute.
"""

import sys
import threading
import tracemalloc
from pathlib import Path

EVERY_S = 60.0


def watch(path: Path) -> None:
    stopped = threading.Event()
    stopped.wait(EVERY_S)
    first = tracemalloc.take_snapshot()
    begin = tracemalloc.get_traced_memory()[0]
    while not stopped.wait(EVERY_S):
        now = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, tracemalloc.__file__)])
        lines = [f"{tracemalloc.get_traced_memory()[0] - begin:+d} bytes since the first minute"]
        lines += [str(line) for line in now.compare_to(first, "lineno")[:40]]
        path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    from edge_runtime.cli import main

    tracemalloc.start(1)
    threading.Thread(target=watch, args=(Path(sys.argv[1]),), daemon=True).start()
    sys.exit(main(sys.argv[2:]))
