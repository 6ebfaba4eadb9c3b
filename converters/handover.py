"""The end of a conversion: the artifact is described, read back and written, and the page about it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from converters import artifact, edgetpu
from converters.arrays import read_array
from converters.options import Options
from converters.progress import Progress
from converters.provenance import accuracy_facts, provenance_facts
from converters.result import ConversionResult
from converters.stages import Judged, Source
from converters.tensor_model import input_statistics, reads_back
from edge_runtime.errors import ModelError


@dataclass(frozen=True, slots=True)
class Handover:
    """What writing needs to know of a conversion."""

    options: Options
    kind: str
    source: Source
    folder: Path
    """For what goes away at the end."""
    progress: Progress


def report(work: Handover, result: ConversionResult, judged: Judged) -> None:
    """Write the page about the conversion where one is wanted."""
    options, source = work.options, work.source
    if options.report is None:
        return
    from converters.report.evidence import Evidence, measure_speed
    from converters.report.page import page

    work.progress("writing the report")
    compared = source.plan.compared
    evidence = Evidence(
        spec=source.spec,
        samples=read_array(compared.path),
        names=source.names,
        source=source.outputs,
        artifact=judged.outputs,
        targets=compared.targets,
        speed=measure_speed(source.path, judged.path, folder=work.folder),
    )
    artifact.write_whole(options.report, page(result, evidence).encode())


def write(work: Handover, result: ConversionResult, network: bytes) -> ConversionResult:
    """Write the artifact with all the device needs in it, once it reads back; return the result with its facts.

    Raises ModelError, EdgeRuntimeError for a disk that cannot be written.
    """
    options, source = work.options, work.source
    work.progress("writing")
    manifest = artifact.build_manifest(
        source.spec,
        reference=_reference(source),
        provenance=provenance_facts(options, result, kind=work.kind),
        accuracy=accuracy_facts(result),
    )
    seen = source.plan.calibration

    def described(model: bytes) -> bytes:
        return artifact.describe(model, source.spec, manifest, output_names=source.names, seen=seen)

    content = described(network)
    trial = work.folder / "artifact.tflite"
    trial.write_bytes(content)
    if not reads_back(trial, source.spec, manifest):
        raise ModelError("the artifact does not read back as it was described; this is a fault of edge-convert")
    result = _compile(work, result, network, described)
    artifact.write_whole(options.output, content)
    return replace(result, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def _compile(
    work: Handover, result: ConversionResult, network: bytes, described: Callable[[bytes], bytes]
) -> ConversionResult:
    """Compile for an Edge TPU where that was asked for and the compiler is here; it drops the metadata."""
    program = edgetpu.compiler()
    if result.edgetpu is None or not result.edgetpu.after.mapped:
        return result
    if program is None:
        missing = f"{edgetpu.COMPILER} is not on PATH (x86-64 Linux only): not compiled, only checked"
        return replace(result, warnings=(*result.warnings, missing))
    work.progress(f"compiling for the Edge TPU ({edgetpu.COMPILER})")
    compiled = edgetpu.compile_network(network, program=program, folder=work.folder)
    if compiled is None:
        nothing = f"{edgetpu.COMPILER} mapped no operator: there is no model for the Edge TPU"
        return replace(result, warnings=(*result.warnings, nothing))
    artifact.write_whole(work.options.edgetpu_output, described(compiled.content))
    found = replace(
        result.edgetpu,
        output=work.options.edgetpu_output,
        compiler=compiled.version,
        rows=compiled.rows,
        cached_bytes=compiled.cached_bytes,
        streamed_bytes=compiled.streamed_bytes,
    )
    return replace(result, edgetpu=found)


def _reference(source: Source) -> dict[str, Any]:
    """Return the statistics by which a device can tell later that its inputs or answers have drifted."""
    spec, seen = source.spec, source.plan.calibration
    samples = read_array(seen.path) if seen else None
    outputs = zip(source.names, source.outputs, strict=True)
    return {
        "samples": seen.count if seen else 0,
        "inputs": [] if samples is None else input_statistics(spec, samples),
        "compared_samples": len(source.outputs[0]),
        "outputs": [artifact.statistics(name, values) for name, values in outputs],
    }
