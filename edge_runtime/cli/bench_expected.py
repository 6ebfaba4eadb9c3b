"""What ``bench`` was to measure: the prediction on this machine's own profile, at the pace of this moment."""

from pathlib import Path
from typing import Any

from edge_runtime.analysis.boards import own_profile
from edge_runtime.analysis.graph import read_graph
from edge_runtime.analysis.latency import predict_latency
from edge_runtime.cli.bench_layers import pace
from edge_runtime.errors import EdgeRuntimeError


def expected(model: Path, *, threads: int, state: Path) -> dict[str, Any] | None:
    """Return the predicted milliseconds of an invoke, their interval, the pace and the prediction at that pace.

    None where this machine was not calibrated, where nothing is predicted of the model, and where the references
    do not run: a measurement does not fail for what it is compared with.
    """
    try:
        profile = own_profile(state)
        now = pace(profile, threads=threads)
        if profile is None or now is None:
            return None
        latency = predict_latency(read_graph(model), profile, threads=threads)
    except EdgeRuntimeError:
        return None
    if latency.unknown:
        return None
    return {
        "predicted_ms": round(latency.ms, 3),
        "interval_ms": [round(latency.low_ms, 3), round(latency.high_ms, 3)],
        "pace": round(now, 3),
        "at_this_pace_ms": round(latency.ms * now, 3),
    }


def line(found: dict[str, Any]) -> str:
    """Return it as a line for a person."""
    return (
        f"expected: {found['predicted_ms']:.2f} ms an invoke by this device's profile; its references take "
        f"{found['pace']:.2f} times as long as then, {found['at_this_pace_ms']:.2f} ms at this pace"
    )
