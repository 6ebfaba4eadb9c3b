"""The child's side of a trial: ``python -m ... MODEL LIBRARY RUNTIME DEADLINE_S BYTES``; answers with one line of JSON.

LIBRARY is empty for a trial without a delegate; BYTES is what it may allocate.
"""

import json
import math
import signal
import sys
import time
from pathlib import Path
from typing import Any, cast

import numpy as np

from edge_runtime.engines._child_limits import go_first, limit_memory
from edge_runtime.engines.delegates import load_delegate
from edge_runtime.engines.litert import LiteRtEngine
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.interpreter import RuntimeName, load_runtime


def attempt(model: str, library: str, runtime: RuntimeName) -> dict[str, Any]:
    """Load, construct, invoke once on zeros and release; return ``{"invoke_ms"}`` or ``{"error"}``."""
    try:
        delegate = load_delegate(library, load_runtime(runtime)) if library else None
        engine = LiteRtEngine(model, runtime=runtime, delegate_library=delegate, delegate=library or "cpu")
        inputs = [np.zeros(tensor.shape, tensor.dtype) for tensor in engine.inputs]
        started_s = time.perf_counter()
        engine.invoke(inputs)
        took_ms = (time.perf_counter() - started_s) * 1000
        del delegate
        engine.close()
    except EdgeRuntimeError as error:
        said = str(error).replace(model, "this model")
        return {"error": said.replace(library, Path(library).name) if library else said}
    except MemoryError:  # its inputs are larger than what is allowed
        return {"error": "MemoryError"}
    return {"invoke_ms": round(took_ms, 3)}


if __name__ == "__main__":
    go_first()
    limit_memory(int(sys.argv[5]))
    # Ends even a process that is stuck in native code, should the parent be gone by then.
    signal.alarm(math.ceil(float(sys.argv[4])) + 1)
    answer = attempt(sys.argv[1], sys.argv[2], cast("RuntimeName", sys.argv[3]))
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
