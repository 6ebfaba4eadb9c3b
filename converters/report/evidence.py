"""What the page shows beside the numbers of the result, and how long both models take, here and on the known boards."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from converters.arrays import Array
from converters.child import Child
from edge_runtime.analysis.edgetpu import map_operators, with_edgetpu
from edge_runtime.analysis.graph import Graph, read_graph
from edge_runtime.analysis.latency import predict_latency
from edge_runtime.analysis.profile import load_profile, profile_names
from edge_runtime.types import ModelSpec

_ROUNDS: Final = 5


@dataclass(frozen=True, slots=True)
class Board:
    """Predicted times of one inference on a board, all its cores, in ms; the intervals are of the artifact."""

    title: str
    source_ms: float
    artifact_ms: float
    low_ms: float
    high_ms: float
    edgetpu_ms: float | None


@dataclass(frozen=True, slots=True)
class Speed:
    """How long one inference takes and how large both files are."""

    source_bytes: int
    artifact_bytes: int
    source_ms: float
    """Measured on this machine by LiteRT with one thread, the best of ``runs``, both models in turn."""
    artifact_ms: float
    runs: int
    boards: tuple[Board, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Inputs (n, ...) and both models' outputs of the compared samples, in the ``.tflite``'s order."""

    spec: ModelSpec
    samples: Array
    names: Sequence[str]
    source: Sequence[Array]
    artifact: Sequence[Array]
    targets: Array | None
    speed: Speed | None = None


def measure_speed(source: Path, artifact: Path, *, folder: Path) -> Speed:
    """Time both ``.tflite`` files in one child, in turn, and predict the boards. Raises ModelError."""
    best = {source: float("inf"), artifact: float("inf")}
    runs = 0
    with Child("tflite_model", folder=folder, title="time both models") as child:
        deadline_s = time.monotonic() + 10.0
        for _ in range(_ROUNDS):
            for path in (source, artifact):
                reply = child.call("time", model=str(path))
                best[path] = min(best[path], float(reply["best_ms"]))
                runs += int(reply["runs"])
            if time.monotonic() > deadline_s:
                break
    return Speed(
        source_bytes=source.stat().st_size,
        artifact_bytes=artifact.stat().st_size,
        source_ms=best[source],
        artifact_ms=best[artifact],
        runs=runs // 2,
        boards=_predict(read_graph(source), read_graph(artifact)),
    )


def _predict(source: Graph, artifact: Graph) -> tuple[Board, ...]:
    mapping = map_operators(artifact)
    boards = []
    for name in profile_names():
        profile = load_profile(name)
        before, after = predict_latency(source, profile), predict_latency(artifact, profile)
        if before.unknown or after.unknown:
            continue
        accelerated = with_edgetpu(mapping, after, profile)
        boards.append(
            Board(
                title=profile.title,
                source_ms=before.ms,
                artifact_ms=after.ms,
                low_ms=after.low_ms,
                high_ms=after.high_ms,
                edgetpu_ms=accelerated.ms if accelerated else None,
            )
        )
    return tuple(boards)
