"""Starts commands from a process that is itself small, and says what each took; run by startup.py, not by hand.

The kernel counts the memory of the process that forks into its child's peak (ru_maxrss), so a benchmark that has read
pictures would show its own. Reads one JSON list of words per line, writes one JSON document per line; times are those
of CLOCK_MONOTONIC.
"""

import json
import os
import sys
import time


def launch(words: list[str]) -> dict[str, float]:
    """Run a command with its output in a pipe; return when it started, first wrote a line, and ended."""
    reading, writing = os.pipe()
    silence = os.open(os.devnull, os.O_WRONLY)
    started_s = time.monotonic()
    pid = os.posix_spawn(
        words[0],
        words,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_DUP2, silence, 2)],
    )
    os.close(writing)
    os.close(silence)
    with os.fdopen(reading, "rb") as output:
        output.readline()
        wrote_s = time.monotonic()
        output.read()
    _, status, usage = os.wait4(pid, 0)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "started_s": started_s,
        "wrote_s": wrote_s,
        "ended_s": time.monotonic(),
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
    }


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(launch(json.loads(line))), flush=True)
