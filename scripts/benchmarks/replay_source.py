"""Sources that replay JPEG frames from memory, for benchmarks; installed as third parties do, by entry points.

They also take the measurements, as they live in the daemon's process: what it cost in CPU, all threads together, from
the end of the warm-up to the end of the run, and how its memory went.
"""

import json
import os
import resource
import time
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from edge_runtime.clock import monotonic_ns
from edge_runtime.errors import SourceTimeoutError
from edge_runtime.protocols import WantedInput
from edge_runtime.types import Frame


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is replayed, how fast, for how long, and where the measurement goes."""

    folder: str
    result: str
    rate: float = 0.0
    """Frames a second; 0 as fast as they are taken."""
    copied: bool = False
    """Each frame in memory of its own, as a camera gives it, instead of the same few again and again."""
    warmup_s: float = 0.7
    measured_s: float = 2.5
    measured_frames: int = 0
    """Where above 0: ends after so many frames instead."""
    memory_every: int = 0
    """Where above 0: notes the resident memory every so many frames."""


class ReplaySource:
    """Files: none is lost, the source waits for the pipeline."""

    Config = Config
    live: ClassVar[bool] = False
    stall_after_s: ClassVar[float | None] = None

    def __init__(self, config: Config, *, stream: str, wants: WantedInput) -> None:
        self._config = config
        self._stream = stream
        self._wants = wants
        self._frames: list[bytes] = []
        self._count = 0
        self._started_ns = 0
        self._first: dict[str, float] = {}
        self._memory: list[tuple[int, int]] = []

    def open(self) -> None:
        """Read all frames into memory."""
        self._frames = [path.read_bytes() for path in sorted(Path(self._config.folder).iterdir())]
        self._started_ns = monotonic_ns()

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next frame when it is due, None at the end."""
        config = self._config
        now_ns = monotonic_ns()
        if config.rate:
            due_ns = self._started_ns + round(self._count * 1e9 / config.rate)
            if (wait_s := (due_ns - now_ns) / 1e9) > 0:
                time.sleep(min(wait_s, timeout_s))
                if wait_s > timeout_s:
                    raise SourceTimeoutError("not due yet")
            now_ns = monotonic_ns()
        if not self._first and now_ns - self._started_ns >= config.warmup_s * 1e9:
            self._first = self._now()
        if self._first and self._is_over():
            return None
        if config.memory_every and self._count % config.memory_every == 0:
            self._memory.append((self._count, resident_bytes()))
        data = self._frames[self._count % len(self._frames)]
        if config.copied:
            data = bytes(memoryview(data))
        frame = Frame(data, "jpeg", self._stream, self._count, now_ns, now_ns)
        self._count += 1
        return frame

    def close(self) -> None:
        """Write what was measured."""
        if not self._first:
            return
        measured = {key: value - self._first[key] for key, value in self._now().items()}
        measured["memory"] = self._memory
        measured["peak_mb"] = peak_mb()
        Path(self._config.result).write_text(json.dumps(measured))
        self._first = {}

    def describe(self) -> dict[str, Any]:
        """Return what ``info`` says of it."""
        return {"type": "replay", "frames": len(self._frames)}

    def _is_over(self) -> bool:
        if self._config.measured_frames:
            return self._count - self._first["frames"] >= self._config.measured_frames
        return time.perf_counter() - self._first["wall_s"] >= self._config.measured_s

    def _now(self) -> dict[str, float]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "frames": self._count,
            "wall_s": time.perf_counter(),
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "switches": usage.ru_nvcsw + usage.ru_nivcsw,
        }


class ReplayCamera(ReplaySource):
    """A camera: frames come whether or not anybody is ready, and the oldest is dropped."""

    live: ClassVar[bool] = True


def peak_mb() -> float:
    """Return the peak of resident memory since this program was loaded (proc(5), VmHWM), in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def resident_bytes() -> int:
    """Return the resident memory of this process (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGESIZE")
