"""Run a ``.tflite`` as the device does: LiteRT, default delegate."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from converters.arrays import Array, read_array, split_sample, write_arrays
from edge_runtime.engines.litert import LiteRtEngine
from edge_runtime.preprocess.tensor import quantize
from edge_runtime.types import TensorSpec

_LEAST_RUNS, _MOST_RUNS, _TIMED_NS = 3, 200, 500_000_000


class Session:
    """Runs models one after the other."""

    def run(self, model: str, samples: str, folder: str, stem: str) -> dict[str, Any]:
        """Run ``samples``, an .npy of (n, ...) float32 inputs; write the outputs, dequantised, one .npy for each.

        Returns ``outputs`` (paths), ``names``, ``clipped`` (the share of input values beyond the input's range; of
        several inputs the largest). Raises ModelError, EngineError.
        """
        engine = LiteRtEngine(model, threads=1)
        inputs = read_array(samples)
        rows: list[list[Array]] = [[] for _ in engine.outputs]
        clipped = 0.0
        for sample in inputs:
            values = split_sample(np.asarray(sample, np.float64), [spec.shape for spec in engine.inputs])
            pairs = list(zip(values, engine.inputs, strict=True))
            clipped += max(clipped_share(value, spec) for value, spec in pairs)
            results = engine.invoke([quantize(value, spec) for value, spec in pairs])
            for kept, result, spec in zip(rows, results, engine.outputs, strict=True):
                kept.append(dequantize(result, spec))
        # Outputs without a batch of their own (detection's count, for one) get the sample as their first axis.
        outputs = [np.concatenate(kept) if kept[0].ndim and len(kept[0]) == 1 else np.stack(kept) for kept in rows]
        return {
            "outputs": write_arrays(Path(folder), stem, outputs),
            "names": [spec.name for spec in engine.outputs],
            "clipped": clipped / max(len(inputs), 1),
        }

    def time(self, model: str) -> dict[str, Any]:
        """Invoke a model on zeros with one thread for about half a second; return ``best_ms`` and ``runs``."""
        engine = LiteRtEngine(model, threads=1)
        inputs = [np.zeros(spec.shape, spec.dtype) for spec in engine.inputs]
        engine.invoke(inputs)
        times_ns: list[int] = []
        while len(times_ns) < _LEAST_RUNS or (sum(times_ns) < _TIMED_NS and len(times_ns) < _MOST_RUNS):
            started_ns = time.perf_counter_ns()
            engine.invoke(inputs)
            times_ns.append(time.perf_counter_ns() - started_ns)
        return {"best_ms": min(times_ns) / 1e6, "runs": len(times_ns)}


def dequantize(values: Array, spec: TensorSpec) -> Array:
    """Return an output tensor's values as float32."""
    if spec.quantized:
        return ((values.astype(np.float32) - spec.zero_point) * np.float32(spec.scale)).astype(np.float32)
    return values.astype(np.float32)


def clipped_share(value: Array, spec: TensorSpec) -> float:
    """Return the share of values that an integer tensor cannot hold and saturates."""
    if not spec.quantized:
        return 0.0
    limits = np.iinfo(spec.dtype)
    steps = np.rint(value / spec.scale) + spec.zero_point
    return float(np.mean((steps < limits.min - 1) | (steps > limits.max + 1)))
