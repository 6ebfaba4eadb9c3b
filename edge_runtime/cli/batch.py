"""``edge-infer batch``: score many files, offline, with the same pipeline as the daemon."""

import argparse
import csv
import io
import logging
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from tqdm import tqdm

from edge_runtime import assemble
from edge_runtime import config as configuration
from edge_runtime.assemble import StreamPlan
from edge_runtime.cli import log_setup, source_flags
from edge_runtime.cli.run import add_model_arguments, engine_flags, given, model_flags
from edge_runtime.config import ModelSection
from edge_runtime.engines.litert import EngineConfig
from edge_runtime.errors import BadFrameError, UsageError
from edge_runtime.pipeline import Pipeline
from edge_runtime.protocols import Handed, Source
from edge_runtime.sinks.payloads import prediction_document, prediction_payload
from edge_runtime.store.state import state_path
from edge_runtime.types import Frame, Prediction, Prepared

DESCRIPTION = "Score files to JSON lines or CSV. The predictions are those of `edge-infer run`."
EXAMPLE = "  edge-infer batch --model mobilenet_v2 --images photos/ -o scores.csv"
log = logging.getLogger(__name__)
READ_TIMEOUT_S = 5.0
Writer = Callable[[Prediction], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model's, the sources' and the output's flags."""
    add_model_arguments(parser)
    source_flags.add_arguments(parser)
    parser.add_argument("-o", "--output", default="-", metavar="FILE", help="default: standard output")
    parser.add_argument("--format", choices=("jsonl", "csv"), help="default: as the output's name says, else jsonl")
    parser.add_argument("--device-id", metavar="ID", help="name of this device in the lines (default: the host name)")
    log_setup.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Score everything; status 1 when something was skipped. Raises EdgeRuntimeError."""
    log_setup.configure(args)
    config = configuration.load(None, given(device_id=args.device_id, model=model_flags(args)))
    plans = assemble.plan_streams(source_flags.sections(args), where="flags")
    if not plans or any(plan.plugin.live for plan in plans):
        raise UsageError("batch scores files: give --images PATH, --video FILE or --sensor csv:FILE|wav:FILE")
    device = configuration.device_id(config)
    with ExitStack() as stack:
        pipeline = _open(config.model, engine_flags(args), plans, device=device)
        stack.callback(pipeline.close)
        output = stack.enter_context(_open_output(args.output))
        write = (_csv_writer if _is_csv(args) else _jsonl_writer)(output, device=device)
        bad = sum(_score(plan, pipeline, write, quiet=args.quiet) for plan in plans)
    if bad:
        log.warning("%d skipped", bad)
    return 1 if bad else 0


def _open(model: ModelSection, engine: dict[str, Any], plans: list[StreamPlan], *, device: str) -> Pipeline:
    return assemble.open_pipeline(
        assemble.find_model(model.path, state_path(device)),
        model=model,
        engine=configuration.section(EngineConfig, engine, where="flags"),
        views={plan.name: plan.common.view for plan in plans},
        sensor=plans[0].is_sensor,
    )


def _score(plan: StreamPlan, pipeline: Pipeline, write: Writer, *, quiet: bool) -> int:
    """Score one source, preparing the next frame while the engine is busy; return how many frames were skipped."""
    source = plan.construct(pipeline.spec.input)
    frames = _Frames(source)
    progress = _progress(plan, quiet=quiet)
    with ThreadPoolExecutor(max_workers=1) as ahead:
        waiting = None
        for frame in frames:
            following = ahead.submit(pipeline.prepare, frame)
            if waiting is not None:
                frames.skipped += not _finish(waiting, pipeline, write, progress)
            waiting = following
        if waiting is not None:
            frames.skipped += not _finish(waiting, pipeline, write, progress)
    progress.close()
    return frames.skipped


def _finish(waiting: Future[Prepared], pipeline: Pipeline, write: Writer, progress: "tqdm[Any]") -> bool:
    progress.update()
    try:
        prepared = waiting.result()
    except BadFrameError as error:
        log.warning("skipped: %s", error)
        return False
    write(pipeline.infer(prepared))
    return True


class _Frames:
    """The frames of a file source, broken ones left out and counted."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.skipped = 0

    def __iter__(self) -> Iterator[Frame]:
        self._source.open()
        try:
            while True:
                try:
                    frame = self._source.read(READ_TIMEOUT_S)
                except BadFrameError as error:
                    log.warning("skipped: %s", error)
                    self.skipped += 1
                    continue
                if frame is None:
                    return
                yield frame
        finally:
            self._source.close()


def _progress(plan: StreamPlan, *, quiet: bool) -> "tqdm[Any]":
    return tqdm(desc=plan.name, unit=" frames", disable=quiet or not sys.stderr.isatty(), file=sys.stderr)


@contextmanager
def _open_output(path: str) -> Iterator[BinaryIO]:
    """Open a new file beside the final name, which it takes when all went well; ``-`` is standard output."""
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial = Path(f"{path}.part")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; give -o a file that can be written") from error
    finally:
        partial.unlink(missing_ok=True)


def _is_csv(args: argparse.Namespace) -> bool:
    return str(args.format or Path(args.output).suffix.lstrip(".")).lower() == "csv"


def _jsonl_writer(output: BinaryIO, *, device: str) -> Writer:
    def write(prediction: Prediction) -> None:
        output.write(prediction_payload(Handed(prediction, None, 1), device) + b"\n")

    return write


def _csv_writer(output: BinaryIO, *, device: str) -> Writer:
    """Write one line per row of a result; the columns are those of the first one."""
    text = io.TextIOWrapper(output, encoding="utf-8", newline="", write_through=True)
    columns: list[str] = []

    def write(prediction: Prediction) -> None:
        document = prediction_document(Handed(prediction, None, 1), device)
        shared = {key: document.get(key) for key in ("stream", "path", "position_s", "captured_at", "task")}
        for rank, row in enumerate(document["result"], 1):
            record = shared | {"rank": rank} | _flat(row)
            if not columns:
                columns.extend(record)
                csv.writer(text).writerow(columns)
            csv.writer(text).writerow([record.get(column) for column in columns])

    return write


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Spread a box over four columns and everything nested into JSON."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if key == "box":
            flat |= dict(zip(("x1", "y1", "x2", "y2"), value, strict=True))
        else:
            flat[key] = msgspec.json.encode(value).decode() if isinstance(value, list) else value
    return flat
