"""Where an artifact comes from and what was measured of it, as the manifest says it."""

import hashlib
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.options import Options
from converters.result import ConversionResult
from edge_runtime._version import __version__

PACKAGES: Final = {
    "keras": ("tensorflow-cpu", "tensorflow", "keras"),
    "savedmodel": ("tensorflow-cpu", "tensorflow"),
    "onnx": ("onnx", "onnx2tf", "onnxruntime"),
    "tflite": (),
}


def provenance_facts(options: Options, result: ConversionResult, *, kind: str) -> dict[str, Any]:
    """Return the source, the tools and the way; ``warning`` where somebody overrode a check."""
    facts: dict[str, Any] = {
        "source": options.source.name,
        "source_sha256": result.source_sha256,
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "quantize": options.quantize,
        "route": result.route,
        "preprocessing": result.preprocessing,
        "layout": result.layout,
        "calibration_samples": result.calibration.samples if result.calibration else 0,
        "tools": _versions(kind),
    }
    chosen = [row.recipe.describe() for row in result.candidates if row.chosen]
    facts |= {"recipe": chosen[0]} if chosen else {}
    marks = ["calibrated with random inputs, its ranges are guesses"] if options.calibrated_at_random else []
    marks += [f"converted with --force: {failure}" for failure in result.verdict.failures]
    return facts | ({"warning": "; ".join(marks)} if marks else {})


def accuracy_facts(result: ConversionResult) -> dict[str, Any]:
    """Return what was measured against the source."""
    verdict = result.verdict
    facts: dict[str, Any] = {
        "samples": verdict.samples,
        "sqnr_db": verdict.sqnr_db,
    }
    if verdict.agreement is not None:
        facts["agreement"] = round(verdict.agreement, 4)
    if verdict.accuracy is not None:
        facts |= {"metric": "accuracy", "float": verdict.accuracy.before, result.quantize: verdict.accuracy.after}
    elif verdict.precision is not None:
        both = {"float": verdict.precision.before, result.quantize: verdict.precision.after}
        facts |= {"metric": "mAP@0.5:0.95"} | both
    elif verdict.mean_squared_error is not None:
        before, after = verdict.mean_squared_error
        facts |= {"metric": "mean squared error", "float": before, result.quantize: after}
    return facts


def _versions(kind: str) -> dict[str, str]:
    found = {"edge-infer": __version__}
    for package in (*PACKAGES[kind], "ai-edge-quantizer", "ai-edge-litert", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {"numpy": np.__version__}


def source_sha256(source: Path) -> str:
    """Return the digest of a file, or of a folder's files with their names."""
    digest = hashlib.sha256()
    if source.is_file():
        digest.update(source.read_bytes())
        return digest.hexdigest()
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(source)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
