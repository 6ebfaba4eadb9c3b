"""From a trained model to an artifact that has proved itself, step by step."""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters import artifact, calibration, preprocessing
from converters.arrays import Array, read_array
from converters.calibration import Plan
from converters.child import Child, StepReport
from converters.comparison import Arrangement, arranged
from converters.gate import judge
from converters.options import CALIBRATED, RANDOM, Options
from converters.result import Calibration, ConversionResult, GateError
from converters.sample_pool import Drawn, Feeder
from converters.source_check import FloatModel, convert_source
from converters.source_kind import source_kind
from edge_runtime._version import __version__
from edge_runtime.errors import ModelError
from edge_runtime.manifest import resolve
from edge_runtime.model_file import parse_model
from edge_runtime.types import ModelSpec

PACKAGES: Final = {
    "keras": ("tensorflow-cpu", "tensorflow", "keras"),
    "savedmodel": ("tensorflow-cpu", "tensorflow"),
    "onnx": ("onnx", "onnx2tf", "onnxruntime"),
    "tflite": (),
}
Progress = Callable[[str], None]


def convert(options: Options, *, progress: Progress = lambda _: None) -> ConversionResult:
    """Convert, compare with the source, and write the artifact when it passes.

    ``progress`` is called with the name of each step as it starts. Raises UsageError for wrong input, ModelError for a
    model that cannot be converted, GateError (with the numbers) for one that lost too much, EdgeRuntimeError for a
    disk that cannot be written. Nothing is left at ``options.output`` unless it is complete.
    """
    kind = source_kind(options.source)
    with tempfile.TemporaryDirectory(prefix="edge-convert-") as name:
        return _Conversion(options, kind=kind, folder=Path(name), progress=progress).run()


@dataclass(frozen=True, slots=True)
class _Measured:
    """The outputs of source and artifact over the compared samples, and the source's over the calibration ones."""

    source: list[Array]
    artifact: list[Array]
    names: list[str]
    clipped: float


class _Conversion:
    """One conversion on its way; everything in ``folder`` goes away at the end."""

    def __init__(self, options: Options, *, kind: str, folder: Path, progress: Progress) -> None:
        self._options = options
        self._kind = kind
        self._folder = folder
        self._progress = progress
        self._steps: list[StepReport] = []
        self._warnings: list[str] = []

    def run(self) -> ConversionResult:
        options = self._options
        self._progress(f"converting to float ({self._kind})")
        with convert_source(options, kind=self._kind, folder=self._folder) as model:
            artifact.refuse_bad_constants(model.file)
            spec, said = preprocessing.settle(options, model, folder=self._folder, progress=self._progress)
            self._progress("reading samples")
            plan = calibration.plan(options, Feeder(spec), folder=self._folder)
            self._warnings += plan.warnings
            self._progress("running the source")
            arrangement = model.check(plan.compared)
            source_outputs = arranged(model.run(plan.compared), arrangement)
            self._steps.append(model.report)
        quantized = self._quantize(model, plan)
        measured = self._measure(quantized, source_outputs, plan)
        return self._hand_over(model, spec, said, plan, arrangement, quantized, measured)

    def _quantize(self, model: FloatModel, plan: Plan) -> Path:
        scheme = self._options.quantize
        if scheme == "none":
            return model.path
        self._progress(f"quantising ({scheme})")
        output = self._folder / "quantized.tflite"
        with Child("quantizer", folder=self._folder, title="quantise") as child:
            samples = str(plan.calibration.path) if plan.calibration else None
            child.call("quantize", source=str(model.path), output=str(output), scheme=scheme, samples=samples)
            self._steps.append(child.report)
        return output

    def _measure(self, path: Path, source: list[Array], plan: Plan) -> _Measured:
        self._progress("running the artifact in LiteRT")
        with Child("tflite_model", folder=self._folder, title="run in LiteRT") as child:
            reply = child.call(
                "run", model=str(path), samples=str(plan.compared.path), folder=str(self._folder), stem="artifact"
            )
            self._steps.append(child.report)
        outputs = [read_array(output) for output in reply["outputs"]]
        return _Measured(source, outputs, reply["names"], reply["clipped"])

    def _hand_over(
        self,
        model: FloatModel,
        spec: ModelSpec,
        said: str,
        plan: Plan,
        arrangement: tuple[Arrangement, ...],
        path: Path,
        measured: _Measured,
    ) -> ConversionResult:
        options = self._options
        names = [model.names[one.source] for one in arrangement]
        verdict = judge(
            names,
            measured.source,
            measured.artifact,
            classifier=spec.task in {"classify", "audio"} and len(names) == 1,
            targets=plan.compared.targets,
        )
        network = path.read_bytes()
        parsed = parse_model(network, "the artifact")
        if options.quantize in CALIBRATED and (left := artifact.float_operators(parsed)):
            self._warnings.append(f"{left} of {len(parsed.operators)} operators still compute in float")
        seen = plan.calibration
        result = ConversionResult(
            output=options.output,
            sha256="",
            size_bytes=0,
            source=options.source,
            source_sha256=source_sha256(options.source),
            route=f"{self._kind} -> float .tflite -> {options.quantize}",
            quantize=options.quantize,
            preprocessing=said,
            layout=model.layout(arrangement),
            compared_with=plan.compared_with,
            verdict=verdict,
            float_sqnr_db=model.sqnr_db,
            calibration=_seen(plan, measured.clipped),
            float_operators=artifact.float_operators(parsed),
            steps=tuple(self._steps),
            warnings=tuple(self._warnings),
        )
        if not verdict.passed and not options.force:
            refused = replace(result, output=None)
            raise GateError(f"not written: {'; '.join(verdict.failures)}; --force writes it all the same", refused)
        return self._write(result, spec, network, names=names, seen=seen, outputs=measured.source)

    def _write(
        self,
        result: ConversionResult,
        spec: ModelSpec,
        network: bytes,
        *,
        names: list[str],
        seen: Drawn | None,
        outputs: list[Array],
    ) -> ConversionResult:
        self._progress("writing")
        manifest = artifact.build_manifest(
            spec,
            reference=self._reference(spec, seen, names, outputs),
            provenance=self._provenance(result),
            accuracy=_accuracy(result),
        )
        content = artifact.describe(network, spec, manifest, output_names=names, seen=seen)
        trial = self._folder / "artifact.tflite"
        trial.write_bytes(content)
        opened = resolve(trial)
        if opened.input != replace(spec.input, **_decided_by_tensor(opened)):
            raise ModelError("the artifact does not read back as it was described; this is a fault of edge-convert")
        artifact.write_whole(self._options.output, content)
        return replace(result, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))

    def _reference(self, spec: ModelSpec, seen: Drawn | None, names: list[str], outputs: list[Array]) -> dict[str, Any]:
        samples = read_array(seen.path) if seen else None
        return {
            "samples": seen.count if seen else 0,
            "inputs": [] if samples is None else [artifact.statistics(spec.inputs[0].name, samples)],
            "compared_samples": len(outputs[0]),
            "outputs": [artifact.statistics(name, values) for name, values in zip(names, outputs, strict=True)],
        }

    def _provenance(self, result: ConversionResult) -> dict[str, Any]:
        options = self._options
        facts: dict[str, Any] = {
            "source": options.source.name,
            "source_sha256": result.source_sha256,
            "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "quantize": options.quantize,
            "route": result.route,
            "preprocessing": result.preprocessing,
            "layout": result.layout,
            "calibration_samples": result.calibration.samples if result.calibration else 0,
            "tools": _versions(self._kind),
        }
        if options.calibration == RANDOM and options.quantize in CALIBRATED:
            facts["warning"] = "calibrated with random inputs: its ranges are guesses"
        if not result.verdict.passed:
            facts["warning"] = f"written with --force: {'; '.join(result.verdict.failures)}"
        return facts


def _seen(plan: Plan, clipped: float) -> Calibration | None:
    seen = plan.calibration
    return Calibration(plan.where, seen.count, (seen.low, seen.high), clipped) if seen else None


def _decided_by_tensor(opened: ModelSpec) -> dict[str, Any]:
    """What of an input the tensor's type decides, and not the description."""
    return {"raw": opened.input.raw} if hasattr(opened.input, "raw") else {}


def _accuracy(result: ConversionResult) -> dict[str, Any]:
    verdict = result.verdict
    facts: dict[str, Any] = {
        "samples": verdict.samples,
        "compared_with": result.compared_with,
        "sqnr_db": verdict.sqnr_db,
    }
    if verdict.agreement is not None:
        facts["agreement"] = round(verdict.agreement, 4)
    if verdict.accuracy is not None:
        facts |= {"metric": "accuracy", "float": verdict.accuracy.before, result.quantize: verdict.accuracy.after}
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
