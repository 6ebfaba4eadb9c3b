"""Opening an engine: which delegate, how many threads."""

import logging
import os
import time

import numpy as np

from edge_runtime.engines.litert import EngineConfig, LiteRtEngine, default_threads
from edge_runtime.errors import ConfigError, EdgeTpuRequiredError
from edge_runtime.protocols import Engine
from edge_runtime.types import ModelSpec

log = logging.getLogger(__name__)

TRIALS = 5
WORTH_A_THREAD = 0.9
"""One more thread must bring the time below this share, or it is left to everything else."""


def open_engine(spec: ModelSpec, config: EngineConfig) -> Engine:
    """Open ``spec`` with the delegate and threads asked for.

    Raises ModelError, EdgeTpuRequiredError, DelegateError, UsageError.
    """
    if spec.edgetpu:
        raise EdgeTpuRequiredError(
            f"{spec.path} is compiled for an Edge TPU and none answers here; "
            "use the same model as it was before edgetpu_compiler"
        )
    threads = _threads(spec, config)
    return LiteRtEngine(spec.path, threads=threads, delegate="cpu", delegate_reason="no accelerator was asked for")


def _threads(spec: ModelSpec, config: EngineConfig) -> int:
    if config.threads == "auto":
        return measure_threads(spec.path)
    if config.threads is None:
        return default_threads()
    if not 1 <= config.threads <= 64:
        raise ConfigError(f"engine.threads: expected 1 to 64 or auto, found {config.threads}")
    return config.threads


def measure_threads(path: str) -> int:
    """Try 1, 2, ... threads, up to the cores, and return the fewest that are about as fast as the best."""
    best, best_s = 1, float("inf")
    for threads in range(1, len(os.sched_getaffinity(0)) + 1):
        engine = LiteRtEngine(path, threads=threads)
        inputs = [np.zeros(tensor.shape, tensor.dtype) for tensor in engine.inputs]
        engine.invoke(inputs)
        took_s = min(_timed(engine, inputs) for _ in range(TRIALS))
        engine.close()
        log.info("%d thread%s: %.2f ms", threads, "s" if threads > 1 else "", took_s * 1000)
        if took_s < best_s * WORTH_A_THREAD:
            best, best_s = threads, took_s
    return best


def _timed(engine: LiteRtEngine, inputs: list[np.ndarray]) -> float:
    started_s = time.perf_counter()
    engine.invoke(inputs)
    return time.perf_counter() - started_s
