"""One node test through the real conversion, with every step in this process, so that a thousand take minutes."""

import importlib
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import onnx
from onnx_cases import Case

from converters import conversion
from converters.child import StepReport
from converters.options import PRESETS, Options
from converters.steps.onnx_inputs import takes_pictures
from edge_runtime.engines.litert import LiteRtEngine
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.manifest_file import read_embedded
from edge_runtime.model_file import read_model
from edge_runtime.preprocess.tensor import quantize

ATOL: Final = 1e-5
"""Beside the case's own tolerances: the interpreter sums in another order."""
INT8_DB: Final = 20.0
_SAMPLES: Final = 64


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case: ``passed``, ``refused`` (with the reason), ``wrong``, ``failed``.

    ``runtime``: it answers as onnxruntime does, which differs from what the case expects.
    """

    name: str
    operator: str
    expanded: bool
    outcome: str
    reason: str
    seconds: float
    sqnr_db: float | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class StepHere:
    """What ``converters.child.Child`` is elsewhere, without a process of its own."""

    def __init__(self, module: str, *, title: str, **_: Any) -> None:
        self._session: Any = importlib.import_module(f"converters.steps.{module}").Session()
        self.report = StepReport(title, 0.0, 0.0)

    def __enter__(self) -> Self:
        """Nothing has to be started."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing has to be ended."""

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        plain = json.loads(json.dumps(arguments))  # as it would travel
        reply: dict[str, Any] = json.loads(json.dumps(getattr(self._session, method)(**plain) or {}))
        return reply


def steps_here() -> None:
    """Let every module of the converters run its steps in this process from now on."""
    for name, module in list(sys.modules.items()):
        if name.startswith("converters.") and name != "converters.child" and hasattr(module, "Child"):
            module.Child = StepHere  # type: ignore[attr-defined]
    from onnx2tf import tflite_builder

    with tempfile.TemporaryDirectory() as folder:  # the converter compiles its schema anew for each output folder
        schema = tflite_builder.load_schema_module(folder)
    tflite_builder.load_schema_module = lambda _: schema


@contextmanager
def quiet(log: Path) -> Iterator[None]:
    """Send what native code and libraries print to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in enumerate(saved, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def sweep(case: Case, scheme: str) -> Outcome:
    """Convert one case and run it on its own data."""
    started_s = time.monotonic()
    ratio: float | None = None
    with tempfile.TemporaryDirectory(prefix="onnx-operators-") as name:
        try:
            with quiet(Path(name) / "log"):
                outcome, reason, ratio = _converted(case, scheme, Path(name))
        except EdgeRuntimeError as error:
            outcome = "refused" if error.exit_status in {2, 3} else "failed"
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - whatever else happens is what the table is for
            outcome, reason = "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    seconds = round(time.monotonic() - started_s, 2)
    return Outcome(case.name, case.operator, case.expanded, outcome, reason, seconds, ratio)


def _converted(case: Case, scheme: str, folder: Path) -> tuple[str, str, float | None]:
    source, output = folder / "case.onnx", folder / "case.tflite"
    onnx.save(case.model, source)
    shapes = {key: value.shape for key, value in case.inputs.items()}
    pictures = takes_pictures(shapes, said=scheme != "none")
    mean, std = PRESETS["raw"] if pictures or scheme != "none" else (None, None)
    samples = folder / "samples.npz"
    if scheme != "none" and pictures:
        mean, std = _write_pictures(case, samples)
    elif scheme != "none":
        _write_samples(case, samples)
    calibration = None if scheme == "none" else str(samples)
    convert = partial(Options, source=source, output=output, quantize=scheme, calibration=calibration)
    conversion.convert(convert(mean=mean, std=std))
    names = [value.name for value in case.model.graph.output]
    ratios = []
    for want, got in zip(case.outputs, run(output, case.inputs, names), strict=True):
        if want.shape != got.shape:
            return "wrong", f"shape {list(got.shape)}, expected {list(want.shape)}", None
        ratios.append(_ratio_db(want, got))
        if scheme != "none" and ratios[-1] < INT8_DB:
            return "wrong", f"{ratios[-1]:.1f} dB on the case's own input", ratios[-1]
        close = np.allclose(got, want, rtol=case.rtol, atol=max(case.atol, ATOL), equal_nan=True)
        if scheme == "none" and not close:
            if _as_onnxruntime(case, run(output, case.inputs, names)):
                return "runtime", "as onnxruntime, and not as the case expects", ratios[-1]
            error = np.nanmax(np.abs(got.astype(np.float64) - want), initial=0.0)
            return "wrong", f"largest error {error:.3g} against the case's own output", ratios[-1]
    return "passed", "", min(ratios)


def _as_onnxruntime(case: Case, found: list[np.ndarray]) -> bool:
    from converters.steps.onnx_source import Source

    wanted = Source(case.model).run(list(case.inputs.values()))
    pairs = zip(wanted, found, strict=True)
    return all(np.allclose(got, want, rtol=case.rtol, atol=max(case.atol, ATOL), equal_nan=True) for want, got in pairs)


def _drawn(value: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return samples whose values are drawn from the case's own; every fourth is the case's input, slightly noisy."""
    rows = generator.choice(value.reshape(-1), (_SAMPLES, *value.shape)).astype(np.float32)
    rows[::4] = value
    noise = generator.normal(0.0, 1e-3, rows.shape).astype(np.float32) * value.std()
    return rows + noise


def _write_samples(case: Case, path: Path) -> None:
    generator = np.random.default_rng(0)
    np.savez(path, **{name: _drawn(value, generator) for name, value in case.inputs.items()})


def _write_pictures(case: Case, path: Path) -> tuple[tuple[float], tuple[float]]:
    """Write the samples of a model of pictures as pixels; return the mean and std that make values of them again."""
    value = next(iter(case.inputs.values()))
    rows = _drawn(value, np.random.default_rng(0))[:, 0]
    low, high = float(rows.min()), float(rows.max())
    std = 255.0 / max(high - low, 1e-6)
    pixels = np.rint((rows - low) * std).astype(np.uint8)
    np.savez(path, x=pixels if value.shape[3] in {1, 3} else pixels.transpose(0, 2, 3, 1))
    return (-low * std,), (std,)


def run(artifact: Path, inputs: dict[str, np.ndarray], names: list[str]) -> list[np.ndarray]:
    """Feed an artifact by its manifest, and return the outputs in the source's order and layout."""
    manifest = read_embedded(read_model(artifact))
    assert manifest is not None
    assert manifest.provenance is not None
    layout = manifest.provenance["layout"]
    engine = LiteRtEngine(str(artifact), threads=1)
    values = []
    for facts, spec in zip(layout["inputs"], engine.inputs, strict=True):
        value = inputs[facts["source"]]
        turned = value.transpose(facts["axes"])
        values.append(quantize(np.asarray(turned, np.float64, order="C"), spec))
    found = {}
    for facts, spec, result in zip(layout["outputs"], engine.outputs, engine.invoke(values), strict=True):
        number = result.astype(np.float32)
        if spec.quantized:
            number = (number - spec.zero_point) * np.float32(spec.scale)
        found[facts["source"]] = number.transpose(np.argsort(facts["axes"]))
    return [found[name] for name in names]


def _ratio_db(want: np.ndarray, got: np.ndarray) -> float:
    finite = np.isfinite(want)
    wanted, had = want[finite].astype(np.float64), got[finite].astype(np.float64)
    noise, signal = float(np.sum((wanted - had) ** 2)), float(np.sum(wanted**2))
    if noise == 0.0:
        return 200.0
    return 10.0 * math.log10(signal / noise) if signal and math.isfinite(noise) else -200.0
