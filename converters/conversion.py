"""From a trained model to an artifact that has proved itself, step by step."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from converters import artifact, calibration, disk, edgetpu, handover, older_runtime, own_boxes, preprocessing
from converters.arrays import Array
from converters.box_labels import found_boxes
from converters.calibration import Plan
from converters.child import StepReport
from converters.comparison import arranged
from converters.edgetpu import EdgeTpu
from converters.gate import Verdict, judge, share_interval
from converters.handover import Handover
from converters.litert import LiteRt
from converters.older_runtime import OlderRuntime
from converters.options import CALIBRATED, Options
from converters.precision import Boxes, PrecisionDifference, compare_precision
from converters.progress import Progress, silent
from converters.provenance import source_sha256
from converters.quantization import Attempt, Quantization
from converters.readers import refuse_absent
from converters.result import Calibration, ConversionResult, GateError
from converters.sample_pool import Feeder
from converters.source_check import convert_source
from converters.source_kind import source_kind
from converters.stages import Judged, Source
from converters.tensor_model import feeder
from edge_runtime.errors import EdgeRuntimeError, ModelError
from edge_runtime.model_file import ModelFile, parse_model, read_model

_NAMED_AT_MOST: Final = 3
_TOLD_APART_BITS: Final = 0.2


def convert(options: Options, *, progress: Progress = silent) -> ConversionResult:
    """Convert, compare with the source, and write the artifact when it passes.

    ``progress`` is called with the name of each step as it starts, and with counts where it has any. Raises UsageError
    for wrong input, ModelError for a model that cannot be converted, GateError (with the numbers) for one that lost too
    much, EdgeRuntimeError for a disk that cannot be written. Nothing is left at ``output`` unless it is complete.
    """
    kind = source_kind(options.source)
    for where in (options.calibration, options.evaluation):
        if where is not None:
            refuse_absent(where)
    try:
        with tempfile.TemporaryDirectory(prefix=disk.WORK_PREFIX) as name, LiteRt(Path(name)) as litert:
            return _Conversion(options, kind=kind, folder=Path(name), litert=litert, progress=progress).run()
    except OSError as error:
        if not disk.is_full(error):
            raise
        raise EdgeRuntimeError(disk.full()) from error


class _Conversion:
    """One conversion on its way; everything in ``folder`` goes away at the end."""

    def __init__(self, options: Options, *, kind: str, folder: Path, litert: LiteRt, progress: Progress) -> None:
        self._options = options
        self._kind = kind
        self._folder = folder
        self._litert = litert
        self._progress = progress
        self._steps: list[StepReport] = []
        self._warnings: list[str] = []
        self._older_python = older_runtime.find_python() if options.runtime == "tflite-runtime" else None

    def run(self) -> ConversionResult:
        source = self._convert()
        judged = self._quantize(source)
        verdict = judged.verdict
        work = Handover(self._options, self._kind, source, self._folder, self._progress)
        network = judged.path.read_bytes()
        result = self._result(source, network, judged)
        if self._options.edgetpu:
            before = edgetpu.predict(read_model(source.path), quantized=False)
            after = edgetpu.predict(parse_model(network, "the artifact"), quantized=True)
            result = replace(result, edgetpu=EdgeTpu(before, after))
        if not verdict.passed and not self._options.force:
            refused = replace(result, output=None)
            handover.report(work, refused, judged)
            raise GateError(f"not written: {'; '.join(verdict.failures)}; --force writes it all the same", refused)
        result = handover.write(work, result, network)
        handover.report(work, result, judged)
        return result

    def _convert(self) -> Source:
        options = self._options
        self._progress(f"converting to float ({self._kind})")
        with convert_source(options, kind=self._kind, folder=self._folder) as model:
            artifact.refuse_bad_constants(model.file)
            spec, said = preprocessing.settle(options, model, folder=self._folder, progress=self._progress)
            self._progress("reading samples")
            plan = calibration.plan(options, feeder(spec), folder=self._folder)
            self._warnings += plan.warnings
            self._progress("running the source")
            arrangement = model.check(plan.compared, litert=self._litert)
            self._warnings += model.warnings
            self._steps.append(model.report)
            source = Source(
                path=model.path,
                spec=spec,
                preprocessing=said,
                plan=plan,
                names=[model.names[one.source] for one in arrangement],
                outputs=arranged(model.outputs, arrangement),
                layout=model.layout(arrangement),
                sqnr_db=model.sqnr_db,
            )
        return replace(source, spec=replace(spec, labels=source.plan.classes)) if _tells(source) else source

    def _quantize(self, source: Source) -> Judged:
        """Quantise and judge, one way after the other until one passes; the last one counts."""
        if self._options.quantize == "none":
            return self._judge(source, Attempt(source.path))
        judged: Judged | None = None
        with Quantization(
            self._options,
            source=source,
            folder=self._folder,
            litert=self._litert,
            progress=self._progress,
        ) as work:
            for attempt in work.attempts():
                if judged is None or attempt.path != judged.path:
                    judged = self._judge(source, attempt)
                if judged.verdict.passed:
                    break
            assert judged is not None
            judged = replace(judged, layer_errors=work.layer_errors(attempt), candidates=work.table(attempt))
            self._steps += work.reports
        return judged

    def _judge(self, source: Source, attempt: Attempt) -> Judged:
        outputs, clipped = self._measure(attempt.path, source.plan)
        judged = Judged(attempt.path, outputs, clipped, self._verdict(source, outputs), attempt.ranges)
        return self._judged_in_older_runtime(source, judged) if self._older_python is not None else judged

    def _verdict(self, source: Source, outputs: list[Array]) -> Verdict:
        targets = source.plan.compared.targets
        boxes = targets is not None and targets.dtype == object
        return judge(
            source.names,
            source.outputs,
            outputs,
            classifier=source.classifier,
            targets=None if boxes else targets,
            precision=self._precision(source, outputs) if boxes else None,
        )

    def _judged_in_older_runtime(self, source: Source, judged: Judged) -> Judged:
        """Run the artifact in tflite-runtime as well; what fails there fails."""
        self._progress("running the artifact in tflite-runtime")
        assert self._older_python is not None
        samples, count = source.plan.compared.path, len(source.names)
        try:
            runtime, outputs = older_runtime.run(self._older_python, judged.path, samples, self._folder, outputs=count)
        except ModelError as error:
            verdict = replace(judged.verdict, failures=(*judged.verdict.failures, str(error)))
            return replace(judged, verdict=verdict)
        older = OlderRuntime(runtime, self._verdict(source, outputs))
        failures = tuple(f"in {runtime}: {failure}" for failure in older.verdict.failures)
        verdict = replace(judged.verdict, failures=judged.verdict.failures + failures)
        return replace(judged, verdict=verdict, older_runtime=older)

    def _precision(self, source: Source, outputs: list[Array]) -> PrecisionDifference:
        """Return the mean average precision of both, with boxes as the device makes them of outputs."""
        pictures = source.plan.compared.targets
        assert pictures is not None
        fed = Feeder(source.spec)
        before, after = (found_boxes(source.spec, fed, list(pictures), one) for one in (source.outputs, outputs))
        return compare_precision(before, after, [Boxes(one.boxes, one.class_ids) for one in pictures])

    def _measure(self, path: Path, plan: Plan) -> tuple[list[Array], float]:
        """Return the artifact's outputs of the compared samples, and the share of input values that were clipped."""
        self._progress("running the artifact in LiteRT")
        ran = self._litert.run(path, plan.compared.path, stem="artifact")
        return ran.outputs, ran.clipped

    def _result(self, source: Source, network: bytes, judged: Judged) -> ConversionResult:
        options, verdict = self._options, judged.verdict
        in_float = self._warned(parse_model(network, "the artifact"), judged)
        return ConversionResult(
            output=options.output,
            sha256="",
            size_bytes=0,
            source=options.source,
            source_sha256=source_sha256(options.source),
            route=f"{self._kind} -> float .tflite -> {options.quantize}",
            quantize=options.quantize,
            preprocessing=source.preprocessing,
            layout=source.layout,
            compared_with=source.plan.compared_with,
            verdict=verdict,
            float_sqnr_db=source.sqnr_db,
            calibration=_seen(source.plan, judged.clipped),
            float_operators=in_float,
            steps=(*self._steps, self._litert.report),
            warnings=tuple(self._warnings),
            older_runtime=judged.older_runtime,
            ranges=judged.ranges,
            layer_errors=judged.layer_errors,
            candidates=judged.candidates,
        )

    def _warned(self, network: ModelFile, judged: Judged) -> int:
        """Add what to warn of; return how many operators compute in float."""
        verdict, in_float = judged.verdict, artifact.float_operators(network)
        if self._options.quantize in CALIBRATED and in_float:
            places = ", ".join(repr(name) for name in in_float[:_NAMED_AT_MOST])
            share = f"{len(in_float)} of {len(network.operators)} operators"
            self._warnings.append(f"{share} still compute in float, which is slower: {places}")
        self._warnings += verdict.doubts
        if verdict.class_entropy_bits is not None and verdict.class_entropy_bits < _TOLD_APART_BITS:
            self._warnings.append("the float model gives nearly always the same class: the agreement says little")
        chosen = next((one for one in judged.candidates if one.chosen), None)
        if chosen is not None and chosen.precision is not None and verdict.precision is None:
            self._warnings += own_boxes.doubt(chosen.precision)
        return len(in_float)


def _seen(plan: Plan, clipped: float) -> Calibration | None:
    seen = plan.calibration
    return Calibration(plan.where, seen.count, (seen.low, seen.high), clipped) if seen else None


def _tells(source: Source) -> bool:
    """Whether the names that the samples give the classes are the source's: it is right more often than by chance."""
    names, targets = source.plan.classes, source.plan.compared.targets
    if not names or targets is None or not source.classifier:
        return False
    scores = source.outputs[0].reshape(len(targets), -1)
    right = float((scores.argmax(axis=1) == targets).mean())
    return share_interval(right, len(targets))[0] > 1.0 / len(names)
