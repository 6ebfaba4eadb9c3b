"""Chooses the postprocessor of a model."""

from typing import cast

from edge_runtime import registry
from edge_runtime.protocols import Postprocessor
from edge_runtime.types import ModelSpec


def build(spec: ModelSpec, *, top_k: int | None, score_threshold: float | None) -> Postprocessor:
    """Return the postprocessor of ``spec.task``; only its module is imported.

    ``top_k`` and ``score_threshold`` are the user's; None means the task's default. Raises ModelError when the outputs
    cannot be what the task needs, InputMismatchError when the input cannot, UsageError when the labels do not fit,
    ConfigError for a task nobody registered.
    """
    kind = registry.plugin("postprocess", spec.task)
    return cast("Postprocessor", kind(spec, top_k=top_k, score_threshold=score_threshold))
