"""What a model makes a process grow by: ``growth BYTES`` of ``Anonymous`` in /proc/self/smaps_rollup.

    python scripts/benchmarks/memory_growth.py MODEL.tflite plain|xnnpack

Started in a fresh process for each figure, by ``model_memory.py`` and by the tests of the memory estimate: one thread,
every input written, three runs. It imports as little as it can: what other modules leave free on the heap decides
where the interpreter's blocks come from, which is up to 0.7 MB.
"""

import ctypes
import re
import sys

import numpy as np  # noqa: F401 - before the first look: it belongs to the program, not to the model
from ai_edge_litert import interpreter as litert


def anonymous():  # type: ignore[no-untyped-def]
    """Return the bytes of memory that belongs to no file."""
    return int(re.search(r"Anonymous:\s+(\d+)", open("/proc/self/smaps_rollup").read())[1]) * 1024  # noqa: PTH123


anonymous()
# What importing left free in the heap would be filled first and not be seen to grow (3 MB without cached bytecode).
ctypes.CDLL(None).malloc_trim(0)
before = anonymous()
plain = {"experimental_op_resolver_type": litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
engine = litert.Interpreter(model_path=sys.argv[1], num_threads=1, **(plain if sys.argv[2] == "plain" else {}))
engine.allocate_tensors()
for entry in engine.get_input_details():
    engine.tensor(entry["index"])()[...] = 3
for _ in range(3):
    engine.invoke()
print("growth", anonymous() - before)
