"""What a model costs on this machine: the engine alone, each stage, and the pipeline without and with threads.

Nothing is published and nothing is read from a device: frames come from memory, so that the numbers are the
pipeline's. Measurements take turns, so that a machine that is busy for a while slows all of them.
"""

import os
import platform
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Final

from edge_runtime.captures import Inlet
from edge_runtime.clock import monotonic_ns
from edge_runtime.flow import Flow
from edge_runtime.pipeline import Pipeline
from edge_runtime.protocols import Engine
from edge_runtime.stopping import Stop
from edge_runtime.telemetry.latency import PERCENTILES, percentile
from edge_runtime.types import Frame, Prediction
from edge_runtime.workers import RunCounters

STREAM: Final = "bench0"
WARMUP: Final = 3
"""Invokes before anything is measured: the first ones repack weights and fill caches."""
STAGES: Final = ("prepare", "invoke", "postprocess")
MIB: Final = 1024 * 1024


@dataclass(slots=True)
class Samples:
    """What one way of running gave, over all its turns."""

    ms: list[float] = field(default_factory=list)
    """One value per frame."""
    cpu_s: float = 0.0
    wall_s: float = 0.0

    def summary(self, bare: "Samples") -> dict[str, float | int]:
        """Return percentiles, rate, CPU, and both as multiples of ``bare``'s; of nothing, no numbers."""
        if not self.ms or not bare.ms:
            return {"frames": 0}
        ordered = sorted(self.ms)
        return {
            "frames": len(ordered),
            **_percentiles(ordered),
            "frames_per_s": round(len(ordered) / self.wall_s, 1),
            "cpu_ms": round(self.cpu_ms, 3),
            "throughput_ratio": round(len(ordered) / self.wall_s / (len(bare.ms) / bare.wall_s), 3),
            "cpu_ratio": round(self.cpu_ms / bare.cpu_ms, 3) if bare.cpu_ms else 0.0,
        }

    @property
    def cpu_ms(self) -> float:
        """Return the CPU time of one frame, all threads together."""
        return 1000 * self.cpu_s / len(self.ms)


class Bench:
    """Measures one pipeline on ``frames``, which are of the format the pipeline takes. One thread calls it."""

    def __init__(self, pipeline: Pipeline, frames: Sequence[Frame]) -> None:
        self._pipeline = pipeline
        self._frames = [replace(frame, stream=STREAM) for frame in frames]
        self._ways: dict[str, Samples] = {name: Samples() for name in ("bare", "serial", "threaded")}
        self._stages: dict[str, list[float]] = {stage: [] for stage in STAGES}

    def run(self, *, turns: int, seconds: float) -> None:
        """Run each way ``turns`` times for ``seconds``. Raises EngineError, BadFrameError, InputMismatchError."""
        for number in range(WARMUP):
            self._pipeline.process(self._frame(number))
        for _ in range(turns):
            self._timed("bare", seconds, self._bare)
            self._timed("serial", seconds, self._serial)
            self._timed("threaded", seconds, self._threaded)

    def document(self) -> dict[str, Any]:
        """Return everything that was measured, and what it was measured on, ready for JSON."""
        spec, engine = self._pipeline.spec, self._pipeline.engine
        bare = self._ways["bare"]
        data = self._frames[0].data
        return {
            "schema": 1,
            "model": {"name": spec.identity.name, "sha256": spec.identity.sha256, "task": spec.task},
            "runtime": engine.runtime,
            "delegate": engine.delegate,
            "threads": getattr(engine, "threads", None),
            "frames": {
                "different": len(self._frames),
                "format": self._frames[0].format,
                "bytes": round(sum(_size_bytes(frame) for frame in self._frames) / len(self._frames)),
                "shape": None if isinstance(data, bytes | memoryview) else list(data.shape),
            },
            "bare": bare.summary(bare),
            "stages": {stage: _percentiles(sorted(self._stages[stage])) for stage in STAGES},
            "serial": self._ways["serial"].summary(bare),
            "threaded": self._ways["threaded"].summary(bare),
            "memory_mb": memory_mb(),
            "machine": machine(),
        }

    def _frame(self, number: int) -> Frame:
        now_ns = monotonic_ns()
        frame = self._frames[number % len(self._frames)]
        return replace(frame, sequence=number, captured_ns=now_ns, arrived_ns=now_ns)

    def _timed(self, name: str, seconds: float, way: Callable[[float], list[float]]) -> None:
        samples = self._ways[name]
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        samples.ms += way(seconds)
        samples.cpu_s += time.process_time() - cpu_s
        samples.wall_s += time.perf_counter() - wall_s

    def _bare(self, seconds: float) -> list[float]:
        """Invoke with the same input again and again: the engine, its inputs set and its outputs copied."""
        prepared = self._pipeline.prepare(self._frame(0))
        engine: Engine = self._pipeline.engine
        took_ms: list[float] = []
        until_ns = monotonic_ns() + round(seconds * 1e9)
        while (started_ns := monotonic_ns()) < until_ns:
            engine.invoke(prepared.inputs)
            took_ms.append((monotonic_ns() - started_ns) / 1e6)
        self._pipeline.discard(prepared)
        return took_ms

    def _serial(self, seconds: float) -> list[float]:
        took_ms: list[float] = []
        until_ns = monotonic_ns() + round(seconds * 1e9)
        while monotonic_ns() < until_ns:
            prediction = self._pipeline.process(self._frame(len(took_ms)))
            for stage, values in self._stages.items():
                values.append(getattr(prediction.latency, stage))
            took_ms.append(prediction.latency.total)
        return took_ms

    def _threaded(self, seconds: float) -> list[float]:
        """Run the daemon's own threads around the pipeline; latencies are from the frame's arrival on."""
        took_ms: list[float] = []

        def hand_over(prediction: Prediction) -> None:
            took_ms.append(prediction.latency.total)

        counters = RunCounters()
        flow = Flow(
            {STREAM: Inlet(Replay(self._frame, seconds))},
            counters=counters,
            stop=Stop(),
            on_state=lambda _stream, _state, _error: None,
        )
        flow.run(self._pipeline, hand_over)
        if counters.fatal is not None:
            raise counters.fatal
        return took_ms


class Replay:
    """A source that gives frames from memory as fast as they are taken, for ``seconds``; none is dropped."""

    live: ClassVar[bool] = False
    stall_after_s: ClassVar[float | None] = None

    def __init__(self, frame: Callable[[int], Frame], seconds: float) -> None:
        self._frame = frame
        self._duration_ns = round(seconds * 1e9)
        self._until_ns = 0
        self._count = 0

    def open(self) -> None:
        """Start the clock."""
        self._until_ns = monotonic_ns() + self._duration_ns

    def read(self, timeout_s: float) -> Frame | None:  # noqa: ARG002 - there is always one
        """Return the next frame, None when the time is over."""
        if monotonic_ns() >= self._until_ns:
            return None
        self._count += 1
        return self._frame(self._count - 1)

    def close(self) -> None:
        """Do nothing: the frames are the caller's."""

    def describe(self) -> dict[str, Any]:
        """Return what it is."""
        return {"type": "replay"}


def _size_bytes(frame: Frame) -> int:
    return len(frame.data) if isinstance(frame.data, bytes) else frame.data.nbytes


def memory_mb() -> dict[str, float | None]:
    """Return resident memory now and at its peak, in MiB; None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
        rss = round(pages * os.sysconf("SC_PAGESIZE") / MIB, 1)
    except (OSError, ValueError, IndexError):
        rss = None
    return {"rss": rss, "peak": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)}


def machine() -> dict[str, Any]:
    """Return what the numbers depend on: processor, cores this process may use, system, Python, load."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def _cpu_name() -> str | None:
    """Return the name in /proc/cpuinfo, which Arm kernels leave out, else the board's from the device tree."""
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
        return Path("/proc/device-tree/model").read_text(errors="replace").strip("\0\n")
    except OSError:
        return None


def _percentiles(ordered: list[float]) -> dict[str, float]:
    """Return percentiles of sorted values; nothing of nothing."""
    return {f"p{percent}_ms": round(percentile(ordered, percent), 3) for percent in PERCENTILES} if ordered else {}
