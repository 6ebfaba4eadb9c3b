"""What a model makes a process grow by: ``growth BYTES`` of ``Anonymous`` in /proc/self/smaps_rollup, seven times.

    python scripts/benchmarks/memory_growth.py MODEL.tflite plain|xnnpack

Started for each model by ``model_memory.py``: one thread, every input written, three runs. The same model takes up to
0.7 MB more or less by where the program before it left room on the heap. That is a matter of Python's version, of the
modules it has imported, even of how many environment variables there are, and the same in every process that is
started alike. So it imports as little as it can, and each figure is of a copy of this process (``fork``) in which a
block of another size was taken first; the median counts.
"""

import ctypes
import os
import re
import sys

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # A copy of a process has one thread.
HEAPS = 7
STEP_BYTES = 132 * 1024 // HEAPS
"""By which those blocks differ: together as much as the heap grows by for small ones."""


def copied(work, *words):  # type: ignore[no-untyped-def]
    """Do it in a copy of this process; where it fails there, the whole has failed."""
    child = os.fork()
    if child == 0:
        work(*words)
        sys.stdout.flush()
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(1)


def load():  # type: ignore[no-untyped-def]
    """Import what belongs to the program, not to the model."""
    import numpy as np  # noqa: F401
    from ai_edge_litert import interpreter

    return interpreter


def anonymous():  # type: ignore[no-untyped-def]
    """Return the bytes of memory that belongs to no file."""
    return int(re.search(r"Anonymous:\s+(\d+)", open("/proc/self/smaps_rollup").read())[1]) * 1024  # noqa: PTH123


def grow(taken_bytes):  # type: ignore[no-untyped-def]
    """Print by how much this process grows after a block was taken."""
    libc.malloc(taken_bytes)
    before = anonymous()
    plain = {"experimental_op_resolver_type": litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
    engine = litert.Interpreter(model_path=sys.argv[1], num_threads=1, **(plain if sys.argv[2] == "plain" else {}))
    engine.allocate_tensors()
    for entry in engine.get_input_details():
        engine.tensor(entry["index"])()[...] = 3
    for _ in range(3):
        engine.invoke()
    print("growth", anonymous() - before)


# Compiling what is imported gives back large blocks, after which the heap keeps larger ones: once, and not in here.
sys.dont_write_bytecode = False
copied(load)
litert = load()
libc = ctypes.CDLL(None)
libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
anonymous()
# What importing left free in the heap would be filled first and not be seen to grow.
libc.malloc_trim(0)
for number in range(HEAPS):
    copied(grow, number * STEP_BYTES)
