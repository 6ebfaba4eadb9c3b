"""Opening an engine: which delegate, how many threads."""

import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from edge_runtime.engines import edgetpu
from edge_runtime.engines.delegates import load_delegate, resolve_library
from edge_runtime.engines.litert import EngineConfig, LiteRtEngine, default_threads
from edge_runtime.errors import ConfigError, EdgeTpuRequiredError, EngineError, ModelError
from edge_runtime.interpreter import RuntimeName, load_runtime
from edge_runtime.manifest import Overrides, resolve
from edge_runtime.protocols import Engine
from edge_runtime.types import ModelSpec

if TYPE_CHECKING:
    from edge_runtime.engines.trial import Trial

log = logging.getLogger(__name__)

TRIALS: Final = 5
WORTH_A_THREAD: Final = 0.9
"""More threads must bring the time below this share, or they are left to everything else."""
MOST_THREADS_TRIED: Final = 8
MOST_THREADS: Final = 64
LEAST_MEMORY_MB: Final = 50
"""An interpreter with nothing in it holds about that much."""

TryModel = Callable[..., "Trial"]


@dataclass(frozen=True, slots=True)
class Choice:
    """What runs the model, and why."""

    name: str
    """``cpu``, ``edgetpu`` or the delegate library's path."""
    reason: str
    library: str | None = None
    away: str | None = None
    """Why it does not work now, where a fallback runs until it does."""


def open_engine(spec: ModelSpec, config: EngineConfig) -> Engine:
    """Open ``spec`` with the delegate and threads asked for.

    Raises ModelError, EdgeTpuRequiredError, DelegateError, UsageError.
    """
    choice = _choose(spec, config)
    if choice.library is not None if config.isolate == "auto" else config.isolate:
        return _open_isolated(spec, config, choice)
    if config.fallback_model is not None and choice.library is not None:
        raise ConfigError("engine.fallback_model: only an isolated engine has one; leave out isolate = false")
    delegate = load_delegate(choice.library, load_runtime(config.runtime)) if choice.library else None
    return LiteRtEngine(
        spec.path,
        threads=_threads(spec, config, on_cpu=choice.library is None),
        runtime=config.runtime,
        delegate_library=delegate,
        delegate=choice.name,
        delegate_reason=choice.reason,
    )


def _choose(spec: ModelSpec, config: EngineConfig) -> Choice:
    try:
        return choose_delegate(spec, config)
    except EdgeTpuRequiredError as error:
        if config.fallback_model is None or config.isolate is False or config.delegate == "cpu":
            raise
        library = edgetpu.find_library() or edgetpu.LIBRARY
        return Choice("edgetpu", "the model is compiled for an Edge TPU, which answers again", library, str(error))


def _open_isolated(spec: ModelSpec, config: EngineConfig, choice: Choice) -> Engine:
    from edge_runtime.engines._isolated_dialogue import Opening
    from edge_runtime.engines._memory_ceiling import MemoryCeiling, half_of_memory_bytes
    from edge_runtime.engines.isolated import IsolatedEngine

    if config.invoke_timeout_s is not None and config.invoke_timeout_s <= 0:
        raise ConfigError(f"engine.invoke_timeout_s: expected more than 0, found {config.invoke_timeout_s:g}")
    if config.memory_mb is not None and config.memory_mb < LEAST_MEMORY_MB:
        raise ConfigError(f"engine.memory_mb: expected {LEAST_MEMORY_MB} or more, found {config.memory_mb:g}")
    preferred = Opening(
        model=spec.path,
        library=choice.library,
        threads=_threads(spec, config, on_cpu=choice.library is None),
        runtime=config.runtime,
        delegate=choice.name,
        delegate_reason=choice.reason,
        allocate_bytes=half_of_memory_bytes(),
    )
    fallback = None
    if choice.library is not None and config.fallback_model is not None:
        fallback = Opening(
            model=_checked_fallback(config.fallback_model, spec),
            threads=preferred.threads,
            runtime=config.runtime,
            delegate_reason=f"{choice.name} does not work now: engine.fallback_model runs until it does",
            allocate_bytes=preferred.allocate_bytes,
        )
    engine = IsolatedEngine(
        preferred,
        fallback=fallback,
        invoke_timeout_s=config.invoke_timeout_s,
        ceiling=MemoryCeiling(config.memory_mb),
    )
    try:
        engine.open(away=choice.away)
    except EngineError as error:
        if fallback is None or choice.away is not None:
            raise
        engine.open(away=str(error))
    return engine


def _checked_fallback(path: str, spec: ModelSpec) -> str:
    """Return ``path``, of a model that can stand in for ``spec``. Raises ConfigError, ModelError."""
    from edge_runtime.engines.isolated import same_tensors

    if not Path(path).is_file():
        raise ConfigError(f"engine.fallback_model: {path}: no such model file")
    model = resolve(Path(path), Overrides())
    if model.edgetpu:
        raise ConfigError(f"engine.fallback_model: {path} is compiled for an Edge TPU: {edgetpu.BEFORE_COMPILER}")
    if not same_tensors(model.inputs, spec.inputs) or not same_tensors(model.outputs, spec.outputs):
        raise ConfigError(f"engine.fallback_model: {path} has other inputs or outputs than {spec.path}")
    return path


def choose_delegate(
    spec: ModelSpec, config: EngineConfig, *, root: Path = Path("/"), attempt: TryModel | None = None
) -> Choice:
    """Decide what runs the model; an Edge TPU is tried with this very model in a child process first.

    ``root`` holds the /sys and /dev that are looked at; ``attempt`` tries a model, by default ``trial.try_model``.
    Raises EdgeTpuRequiredError for a model compiled for an Edge TPU that none runs, ModelError for ``edgetpu`` with a
    model that is not, UsageError.
    """
    match config.delegate:
        case "auto" | "edgetpu" if spec.edgetpu:
            return _edgetpu(spec, config, root=root, attempt=attempt)
        case "edgetpu":
            raise ModelError(
                f"{spec.path} is not compiled for an Edge TPU: compile its int8 form with edgetpu_compiler, "
                "or run it with --delegate cpu"
            )
        case "auto":
            return Choice("cpu", _why_cpu(root))
        case "cpu" if spec.edgetpu:
            raise EdgeTpuRequiredError(
                f"{spec.path} is compiled for an Edge TPU and cannot run on the CPU: {edgetpu.BEFORE_COMPILER}"
            )
        case "cpu":
            return Choice("cpu", "the CPU was asked for")
        case library if ".so" in library:
            resolved = resolve_library(library)
            return Choice(resolved, "this delegate library was asked for", resolved)
        case other:
            raise ConfigError(f"engine.delegate: expected auto, cpu, edgetpu or a library FILE.so, found {other!r}")


def _edgetpu(spec: ModelSpec, config: EngineConfig, *, root: Path, attempt: TryModel | None) -> Choice:
    from edge_runtime.engines.trial import try_model  # comes with subprocess, which other models do without

    load_runtime(config.runtime)  # without one the trial could only fail
    devices, library = edgetpu.find_edgetpus(root), edgetpu.find_library(root)
    where = "".join(f"{device.place}, " for device in devices)
    log.info("trying this model on an Edge TPU in a process of its own (%s%s)", where, library or edgetpu.LIBRARY)
    # Where neither is seen it is tried all the same: a container may hide /sys, and the loader knows more folders.
    trial = (attempt or try_model)(spec.path, library=library or edgetpu.LIBRARY, runtime=config.runtime)
    if trial.outcome != "works":
        raise EdgeTpuRequiredError(
            f"{spec.path} is compiled for an Edge TPU, and {edgetpu.why_not(devices, library, trial)}; "
            f"or {edgetpu.BEFORE_COMPILER}"
        )
    reason = f"the model is compiled for an Edge TPU, and one ran it in a trial ({where}{trial.invoke_ms:.1f} ms)"
    return Choice("edgetpu", reason, library or edgetpu.LIBRARY)


def _why_cpu(root: Path) -> str:
    if devices := edgetpu.find_edgetpus(root):
        return f"there is an Edge TPU ({devices[0].place}), but this model is not compiled for one: see {edgetpu.PAGE}"
    return "no Edge TPU was found, and the model is not compiled for one"


def _threads(spec: ModelSpec, config: EngineConfig, *, on_cpu: bool) -> int:
    if config.threads is None:
        return default_threads()
    if config.threads == "auto":
        # With a delegate the interpreter's threads only run what the delegate leaves, and trials would hold it up.
        return measure_threads(spec.path, runtime=config.runtime) if on_cpu else default_threads()
    if not 1 <= config.threads <= MOST_THREADS:
        raise ConfigError(f"engine.threads: expected 1 to {MOST_THREADS} or auto, found {config.threads}")
    return config.threads


def measure_threads(path: str, *, runtime: RuntimeName = "auto") -> int:
    """Run the model on the CPU with 1, 2, ... threads and return the fewest that are about as fast as the best."""

    def best_of(threads: int) -> float:
        with contextlib.closing(LiteRtEngine(path, threads=threads, runtime=runtime)) as engine:
            inputs = [np.zeros(tensor.shape, tensor.dtype) for tensor in engine.inputs]
            engine.invoke(inputs)
            took_s = min(_timed(engine, inputs) for _ in range(TRIALS))
        log.info("%d thread%s: %.2f ms", threads, "s" if threads > 1 else "", took_s * 1000)
        return took_s

    return fewest_threads(best_of, cores=len(os.sched_getaffinity(0)))


def fewest_threads(took_s: Callable[[int], float], *, cores: int) -> int:
    """Return the number of threads, up to the cores and at most 8, after which more are not worth it.

    ``took_s(n)`` is the duration with n threads; called with 1, 2, ... once each.
    """
    best, best_s = 1, took_s(1)
    for threads in range(2, min(cores, MOST_THREADS_TRIED) + 1):
        if (duration_s := took_s(threads)) < best_s * WORTH_A_THREAD:
            best, best_s = threads, duration_s
    return best


def _timed(engine: LiteRtEngine, inputs: list[np.ndarray]) -> float:
    started_s = time.perf_counter()
    engine.invoke(inputs)
    return time.perf_counter() - started_s
