"""What a model makes a process grow by: ``growth BYTES`` of ``Anonymous`` in /proc/self/smaps_rollup.

    python scripts/benchmarks/memory_growth.py MODEL.tflite plain|xnnpack

Started in a fresh process for each figure, by ``model_memory.py`` and by the tests of the memory estimate: one thread,
every input written, three runs.
"""

import ctypes
import re
import sys
from pathlib import Path
from typing import Any

from ai_edge_litert import interpreter as litert


def anonymous() -> int:
    """Return the bytes of memory that belongs to no file."""
    found = re.search(r"Anonymous:\s+(\d+)", Path("/proc/self/smaps_rollup").read_text(encoding="ascii"))
    assert found, "this kernel does not tell"
    return int(found[1]) * 1024


def main(path: str, kernels: str) -> None:
    anonymous()
    # What importing left free in the heap would be filled first and not be seen to grow (3 MB without cached bytecode).
    ctypes.CDLL(None).malloc_trim(0)
    before = anonymous()
    without = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    options: dict[str, Any] = {"experimental_op_resolver_type": without} if kernels == "plain" else {}
    engine = litert.Interpreter(model_path=path, num_threads=1, **options)
    engine.allocate_tensors()
    for entry in engine.get_input_details():
        engine.tensor(entry["index"])()[...] = 3
    for _ in range(3):
        engine.invoke()
    print("growth", anonymous() - before)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
