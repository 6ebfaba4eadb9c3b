"""What a process that runs untrusted native code may do to the machine; called in that process, before the code."""

import contextlib
import resource
from pathlib import Path
from typing import Final

OOM_SCORE: Final = "800"


def go_first() -> None:
    """Let a crash leave no file, and let the kernel, if it must kill a process for memory, take this one."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)


def limit_memory(allocate_bytes: int) -> None:
    """Let code that runs away fail here, before the kernel looks for a process to kill. Mapped files do not count."""
    resource.setrlimit(resource.RLIMIT_DATA, (allocate_bytes, allocate_bytes))
