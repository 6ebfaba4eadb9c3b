"""The measured time of an invoke beside the predicted one: published, kept for the next run, and a warning when slow.

The prediction is made once, in a child of the lowest priority, some seconds after the start. Everything here runs in
the thread of the statistics.
"""

import logging
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from edge_runtime import clock
from edge_runtime.analysis.expected import Expectation
from edge_runtime.protocols import Engine
from edge_runtime.store.speeds import Speed, find_speed, keep_speed, setup_name
from edge_runtime.types import ModelSpec

log = logging.getLogger(__name__)

SETTLED: Final = 3
"""Intervals before anything is said or kept: pools fill, clocks rise."""
REMEMBERED: Final = 30
"""Intervals whose median is the usual time."""
TOLERATED: Final = 1.3
"""Times the usual or predicted one that still count as normal: other threads share the caches."""
CHANGED: Final = 0.1
"""A usual time this much off the kept one is worth a write,"""
WRITE_EVERY_S: Final = 3600.0
"""but not more often than this: the file is on an SD card."""
TEMPORARY: Final = frozenset({"delegate", "throttling", "load"})
"""Causes under which a time is not the usual one."""
BUSY_PERCENT: Final = 85.0
UNKNOWN: Final[dict[str, Any]] = dict.fromkeys(
    ("profile", "predicted_ms", "low_ms", "high_ms", "measured_ms", "ratio", "usual_ratio", "slow")
)

Ask = Callable[[], "Asked"]


class Asked:
    """A prediction that is being made: ``answer`` is None until it is there."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def answer(self) -> Expectation | None:
        """Return the prediction once it is made; an empty one when it could not be."""
        if self._process.poll() is None:
            return None
        said, complaint = self._process.communicate()
        if self._process.returncode != 0:
            log.info("no prediction for this model: %s", complaint.decode("utf-8", "replace").strip()[-300:])
            return Expectation()
        try:
            return msgspec.json.decode(said, type=Expectation)
        except msgspec.DecodeError as error:
            log.info("no prediction for this model: %s", error)
            return Expectation()

    def close(self) -> None:
        """End the child if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


class SpeedWatch:
    """Compares one run's invokes with the prediction. ``update`` is called once per ``stats`` message."""

    def __init__(
        self,
        spec: ModelSpec,
        engine: Engine,
        *,
        state: Path,
        ask: Ask | None = None,
        monotonic_ns: Callable[[], int] = clock.monotonic_ns,
    ) -> None:
        self._spec = spec
        self._engine = engine
        self._first_delegate = engine.delegate
        self._state = state
        self._clock = monotonic_ns
        self._ask = ask or (lambda: Asked(self._command()))
        self._asked: Asked | None = None
        self._expected: Expectation | None = None
        self._kept: Speed | None = None
        self._written_ns: int | None = None
        self._recent: deque[float] = deque(maxlen=REMEMBERED)
        self._slow = 0
        self._warned = False

    def update(self, stats: Mapping[str, Any], *, last: bool = False) -> dict[str, Any]:
        """Return the key ``speed`` of a ``stats`` message that is otherwise complete; the ``last`` asks for nothing."""
        measured = stats["latency_ms"]["invoke"]["p50"]
        if measured is None:
            return dict(UNKNOWN)
        if not last:
            self._learn()
        self._recent.append(measured)
        expected = self._expected
        if expected is None or not expected.predicted_ms or not expected.high_ms or self._fell_back:
            slow = self._judge(stats, measured, None) if self._fell_back else None
            return UNKNOWN | {"measured_ms": measured, "slow": slow}
        limit = max(expected.high_ms, TOLERATED * expected.predicted_ms)
        if self._kept is not None:
            limit = min(limit, TOLERATED * self._kept.ratio * expected.predicted_ms)
        slow = self._judge(stats, measured, limit)
        if not self._slow or slow not in {None, *TEMPORARY}:
            self._keep(expected.profile or "", expected.predicted_ms)
        return {
            "profile": expected.profile,
            "predicted_ms": expected.predicted_ms,
            "low_ms": expected.low_ms,
            "high_ms": expected.high_ms,
            "measured_ms": measured,
            "ratio": round(measured / expected.predicted_ms, 3),
            "usual_ratio": round(self._kept.ratio, 3) if self._kept else None,
            "slow": slow,
        }

    def close(self) -> None:
        """End the child."""
        if self._asked is not None:
            self._asked.close()
            self._asked = None

    @property
    def _fell_back(self) -> bool:
        return self._engine.delegate != self._first_delegate

    @property
    def _setup(self) -> str:
        engine = self._engine
        return setup_name(runtime=engine.runtime, threads=engine.threads, delegate=self._first_delegate)

    def _command(self) -> list[str]:
        runtime = "tflite-runtime" if self._engine.runtime.startswith("tflite") else "litert"
        command = [sys.executable, "-m", "edge_runtime.analysis.expectation", self._spec.path, str(self._state)]
        return [*command, "--threads", str(self._engine.threads), "--runtime", runtime]

    def _learn(self) -> None:
        """Ask for the prediction at the second message with measurements, and take it when it is there."""
        if self._expected is not None or self._first_delegate != "cpu" or not self._recent:
            return
        if self._asked is None:
            try:
                self._asked = self._ask()
            except OSError as error:
                log.info("no prediction for this model: %s", error)
                self._expected = Expectation()
            return
        self._expected = self._asked.answer()
        if self._expected is None:
            return
        self.close()
        found = find_speed(self._state, sha256=self._spec.identity.sha256, setup=self._setup)
        if found is not None and found.profile == self._expected.profile:
            self._kept, self._written_ns = found, self._clock()

    def _judge(self, stats: Mapping[str, Any], measured: float, limit_ms: float | None) -> str | None:
        """Return the likely cause when it has been slow for some intervals, and warn the first time."""
        self._slow = self._slow + 1 if limit_ms is None or measured > limit_ms else 0
        if self._slow < SETTLED:
            return None
        cause, sentence = likely_cause(
            stats, self._engine, expected=self._expected, measured_ms=measured, fell_back=self._fell_back
        )
        if not self._warned:
            self._warned = True
            against = "" if limit_ms is None else f", where {limit_ms:.1f} at most were expected"
            log.warning("invoke takes %.1f ms%s: %s", measured, against, sentence)
        return cause

    def _keep(self, profile: str, predicted_ms: float) -> None:
        """Write the usual time where it is new, or has changed and the last write is long ago."""
        if len(self._recent) < SETTLED:
            return
        from statistics import median  # not needed before the first prediction

        usual = median(self._recent)
        now_ns = self._clock()
        if self._kept is not None:
            unchanged = abs(usual / self._kept.measured_ms - 1) <= CHANGED
            if unchanged or (self._written_ns is not None and now_ns - self._written_ns < WRITE_EVERY_S * 1e9):
                return
        self._kept = Speed(
            sha256=self._spec.identity.sha256,
            setup=self._setup,
            profile=profile,
            predicted_ms=predicted_ms,
            measured_ms=round(usual, 3),
            at=clock.now_rfc3339(),
        )
        self._written_ns = now_ns
        try:
            keep_speed(self._state, self._kept)
        except OSError as error:
            log.info("the usual speed cannot be kept: %s", error.strerror or error)


def likely_cause(
    stats: Mapping[str, Any], engine: Engine, *, expected: Expectation | None, measured_ms: float, fell_back: bool
) -> tuple[str, str]:
    """Return one word and one sentence on why invokes are slow; the surest sign first."""
    if fell_back:
        return "delegate", f"it fell back to {engine.delegate} ({engine.restart_reason or engine.delegate_reason})"
    now = (stats.get("throttled") or {}).get("now") or []
    if now:
        told = ", ".join(str(name).replace("_", " ") for name in now)
        return "throttling", f"the board slows itself down ({told}); see edge-infer doctor"
    plain_ms = expected.plain_ms if expected else None
    if expected and plain_ms and plain_ms > 2 * (expected.high_ms or 0) and measured_ms > 0.6 * plain_ms:
        return (
            "xnnpack",
            f"as slow as without XNNPACK ({plain_ms:.0f} ms); is the runtime, {engine.runtime}, built with it?",
        )
    busy = stats["cpu_percent"]
    system, own = busy.get("system"), busy.get("process")
    if system is not None and own is not None and system > BUSY_PERCENT:
        return "load", f"the processor is busy ({system:.0f} % in all; this program takes {own:.0f} % of one core)"
    return "unknown", "no cause was found; edge-infer bench --calibrate measures what this machine can do"
