"""One node test through the real conversion, with every step in this process, so that a thousand take minutes."""

import importlib
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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
from converters.result import GateError
from converters.steps.onnx_inputs import takes_pictures
from edge_runtime.engines.litert import LiteRtEngine
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.manifest_file import read_embedded
from edge_runtime.model_file import read_model
from edge_runtime.preprocess.tensor import quantize
from edge_runtime.types import TensorSpec

ATOL: Final = 1e-5
"""Beside the case's own tolerances: the interpreter sums in another order."""
INT8_DB: Final = 20.0
_STEPS: Final = 2.0
_SAMPLES: Final = 64
_NOISE: Final = (0.001, 0.03, 0.1, 0.3)
"""Of the input's own spread, in turns."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case: ``passed``, ``refused`` (with the reason), ``wrong``, ``failed``.

    ``runtime``: it answers as onnxruntime does, which differs from what the case expects. Of int8 also ``beyond``:
    refused or off on the case's own input, and no int8 input could do better. The float source itself, fed with the
    input as int8 holds it, is as far off (a jump such as that of Round), or all is within two steps of the output.
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
        self.alive = True

    def __enter__(self) -> Self:
        """Nothing has to be started."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing has to be ended."""

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        plain = json.loads(json.dumps(arguments))  # as it would travel
        reply: dict[str, Any] = json.loads(json.dumps(getattr(self._session, method)(**plain) or {}))
        return reply

    def begin(self, method: str, **arguments: Any) -> Callable[[], dict[str, Any]]:
        reply = self.call(method, **arguments)
        return lambda: reply


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
            if isinstance(error, GateError) and scheme == "int8" and (alone := _rounding_db(case)) < INT8_DB:
                outcome, reason = "beyond", f"the source with its input rounded to 8 bits: {alone:.1f} dB"
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
    found = run(output, case.inputs, names)
    for want, got in zip(case.outputs, found, strict=True):
        if want.shape != got.shape:
            return "wrong", f"shape {list(got.shape)}, expected {list(want.shape)}", None
    ratio = min(_ratio_db(want, got) for want, got in zip(case.outputs, found, strict=True))
    if scheme != "none":
        return ("passed", "", ratio) if ratio >= INT8_DB else _off(case, output, found, ratio)
    wrong = [pair for pair in zip(case.outputs, found, strict=True) if not _close(case, *pair)]
    if not wrong:
        return "passed", "", ratio
    if all(_close(case, *pair) for pair in zip(_source(case, case.inputs), found, strict=True)):
        return "runtime", "as onnxruntime, and not as the case expects", ratio
    error = max(np.nanmax(np.abs(got.astype(np.float64) - want), initial=0.0) for want, got in wrong)
    return "wrong", f"largest error {error:.3g} against the case's own output", ratio


def _off(case: Case, artifact: Path, found: list[np.ndarray], ratio: float) -> tuple[str, str, float]:
    """Say why an int8 artifact that passed its gate is off on the case's own input."""
    if all(_ratio_db(*pair) >= INT8_DB for pair in zip(_source(case, case.inputs), found, strict=True)):
        return "runtime", "as onnxruntime, and not as the case expects", ratio
    engine = LiteRtEngine(str(artifact), threads=1)
    held = {name: _held(value, engine.inputs[place]) for place, (name, value) in enumerate(case.inputs.items())}
    rounded = list(zip(_source(case, held), found, strict=True))
    if all(_ratio_db(*pair) >= INT8_DB for pair in rounded):
        return "beyond", f"{ratio:.1f} dB on the case's own input; right for that input as int8 holds it", ratio
    steps = max(float(np.max(np.abs(want - got))) for want, got in rounded) / max(one.scale for one in engine.outputs)
    if steps <= _STEPS:
        return "beyond", f"{ratio:.1f} dB on the case's own input; within {steps:.1f} steps of the output", ratio
    return "wrong", f"{ratio:.1f} dB on the case's own input", ratio


def _held(value: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Return an input as the values that an integer tensor has for it."""
    steps = quantize(np.asarray(value, np.float64), spec)
    return ((steps.astype(np.float64) - spec.zero_point) * spec.scale).astype(np.float32)


def _rounding_db(case: Case) -> float:
    """Return how far the source is from itself, over the samples, when its inputs are rounded to 8 bits."""
    generator = np.random.default_rng(0)
    exact = {name: _drawn(value, generator) for name, value in case.inputs.items()}
    rounded = {}
    for name, rows in exact.items():
        low, high = min(float(rows.min()), 0.0), max(float(rows.max()), 0.0)
        scale = (high - low) / 255.0 or 1.0
        rounded[name] = (np.rint(rows / scale) * scale).astype(np.float32)
    pairs = [
        zip(_source(case, _row(exact, place)), _source(case, _row(rounded, place)), strict=True)
        for place in range(_SAMPLES)
    ]
    outputs = zip(*pairs, strict=True)
    return min(_ratio_db(*(np.stack(side) for side in zip(*column, strict=True))) for column in outputs)


def _row(samples: dict[str, np.ndarray], place: int) -> dict[str, np.ndarray]:
    return {name: rows[place] for name, rows in samples.items()}


def _source(case: Case, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    from converters.steps.onnx_source import Source

    return Source(case.model).run(list(inputs.values()))


def _close(case: Case, want: np.ndarray, got: np.ndarray) -> bool:
    return np.allclose(got, want, rtol=case.rtol, atol=max(case.atol, ATOL), equal_nan=True)


def _drawn(value: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return samples like the case's own input: with noise, from hardly any to a good part of its spread.

    They stay within the input's own ends, beyond which a function may not be defined. An input of one value only gets
    little noise around it.
    """
    low, high = float(value.min()), float(value.max())
    spread = float(value.std()) or 0.01 * (abs(high) or 1.0)
    noise = generator.standard_normal((_SAMPLES, *value.shape)) * spread
    rows = value + noise * np.resize(_NOISE, _SAMPLES).reshape(-1, *[1] * value.ndim)
    return (rows if low == high else rows.clip(low, high)).astype(np.float32)


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
