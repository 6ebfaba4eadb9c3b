"""Whether a model suits the board it is prepared for, from its file alone."""

from pathlib import Path
from typing import Final

from edge_runtime.analysis.inspection import inspect_model
from edge_runtime.analysis.profile import load_profile
from edge_runtime.errors import RefusedError

SERVICE_SHARE: Final = 0.75
"""Of the board's memory, as the service's unit allows it (MemoryMax)."""


def judge(model: Path, *, device: str, fps: float | None, compiled_runs: bool = True) -> str:
    """Return the verdict in one sentence. Raises RefusedError when the model does not fit, ModelError, UsageError.

    ``compiled_runs`` is whether a model that was compiled for an Edge TPU has one to run on.
    """
    profile = load_profile(device)
    memory_mb = profile.memory_mb.value * SERVICE_SHARE
    found = inspect_model(model, profiles=(profile,), fps=fps, memory_mb=memory_mb)
    prediction = found.predictions[0]
    timed = prediction.edgetpu or prediction.latency
    if found.mapping.compiled and not compiled_runs:
        raise RefusedError(f'{model} is compiled for an Edge TPU and the configuration says delegate = "cpu"')
    process_mb = found.memory.process_bytes / 2**20
    says = f"{process_mb:.0f} MiB of {memory_mb:.0f}, about {timed.ms:.3g} ms an inference"
    if prediction.verdict == "does not fit":
        wanted = f"; {fps:g} frames per second were asked for" if fps else ""
        raise RefusedError(
            f"{model} does not fit a {profile.title}: {says}{wanted}. See: edge-infer inspect {model} --device {device}"
        )
    return f"{model.name} on a {profile.title}: {prediction.verdict} ({says})"
