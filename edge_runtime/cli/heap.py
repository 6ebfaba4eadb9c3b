"""How the C library gives memory to the threads of a process that runs for years."""

import contextlib
from typing import Final

_M_ARENA_MAX: Final = -8  # malloc.h of glibc


def share_one_heap() -> None:
    """Let all threads allocate from one heap; to be called before the first thread is started.

    By default glibc gives each thread an arena of its own: what a frame needs is then held ready in several of them,
    10 MB in all, and each goes on fragmenting for hours. Python takes small objects from its own allocator without
    asking, so one lock more is not noticed (docs/reliability.md has the figures). Elsewhere (musl) nothing is done.
    """
    import ctypes  # numpy imports it too

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
