"""``edge-infer bench``: what a model costs on this machine."""

import argparse
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_runtime import assemble
from edge_runtime import config as configuration
from edge_runtime.cli import log_setup
from edge_runtime.engines.litert import EngineConfig
from edge_runtime.errors import UsageError
from edge_runtime.store.state import state_path
from edge_runtime.types import Frame, FrameFormat, ImageInput, WindowInput

if TYPE_CHECKING:
    from edge_runtime.pipeline import Pipeline

DESCRIPTION = """Measure a model: bare invoke, each stage, the pipeline without and with threads, and memory.

Picture models get made-up camera frames (JPEG, about 160 kB at 1280x720) unless --images names files; sensor models
get windows of noise. Nothing is published."""
EXAMPLE = "  edge-infer bench mobilenet_v2 --threads 1 --json\n  edge-infer bench --calibrate -o this-board.toml"
LAYERS_SECONDS: Final = 20.0
CALIBRATE_SECONDS: Final = 60.0
DIFFERENT: Final = 8
"""Made-up frames that are replayed in turn."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the frames and how long to measure."""
    parser.add_argument("model", metavar="MODEL", nargs="?", help="a .tflite, or a name of the store or the catalogue")
    frames = parser.add_mutually_exclusive_group()
    frames.add_argument("--images", nargs="+", metavar="PATH", help="pictures and folders of them")
    frames.add_argument("--size", type=_size, default=(1280, 720), metavar="WxH", help="of made-up frames (1280x720)")
    parser.add_argument("--labels", metavar="FILE", help="one label per line")
    parser.add_argument("--task", metavar="TASK", help="as for run")
    parser.add_argument("--threads", metavar="N", help="interpreter threads, or auto (default: all cores but one)")
    parser.add_argument("--delegate", metavar="NAME", help="auto, cpu, edgetpu or a delegate library")
    parser.add_argument("--runs", type=_above_zero(int), default=3, metavar="N", help="turns of each measurement (3)")
    parser.add_argument(
        "--seconds", type=_above_zero(float), metavar="S", help="of each turn (1); all of --calibrate (60)"
    )
    parser.add_argument("--layers", action="store_true", help="measure every layer by itself instead, for 20 s")
    parser.add_argument(
        "--device", metavar="NAME|FILE.toml|this", help="with --layers: what to predict for (this, once calibrated)"
    )
    parser.add_argument("--html", metavar="FILE", help="with --layers: also a page with bars")
    parser.add_argument("--calibrate", action="store_true", help="measure this device instead, in 60 s: its profile")
    parser.add_argument("-o", "--output", metavar="FILE.toml", help="with --calibrate: where to (the state directory)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    log_setup.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print. Raises EdgeRuntimeError."""
    log_setup.configure(args)
    if args.calibrate:
        return _calibrate(args)
    if args.output:
        raise UsageError("-o is for --calibrate")
    if not args.model:
        raise UsageError("which model? give a .tflite or a name; or --calibrate to measure this device")
    if args.layers:
        return _layers(args)
    if args.device or args.html:
        raise UsageError("--device and --html are for --layers; without it see: edge-infer inspect --device")
    from edge_runtime.bench import Bench

    model = {"path": args.model, "labels": args.labels, "task": args.task}
    engine = {"threads": args.threads, "delegate": args.delegate}
    flags = {"model": _given(model)}
    config = configuration.load(None, flags)
    state = state_path(configuration.device_id(config))
    path = assemble.find_model(args.model, state)
    pipeline = assemble.open_pipeline(
        path,
        model=config.model,
        engine=configuration.section(EngineConfig, _given(engine), where="flags"),
    )
    try:
        bench = Bench(pipeline, _frames(args, pipeline))
        bench.run(turns=args.runs, seconds=args.seconds or 1.0)
        document = bench.document()
    finally:
        pipeline.close()
    document["expected"] = _expected(document, path, state)
    sys.stdout.write(json.dumps(document) + "\n" if args.json else table(document))
    return 0


def _expected(document: dict[str, Any], path: Path, state: Path) -> dict[str, Any] | None:
    """Return what this machine's profile says of the model; None where it has none or a delegate runs the model."""
    if document["delegate"] != "cpu" or not document["threads"]:
        return None
    from edge_runtime.cli.bench_expected import expected

    return expected(path, threads=int(document["threads"]), state=state)


def _calibrate(args: argparse.Namespace) -> int:
    from edge_runtime.cli import bench_calibrate

    if args.model or args.layers or args.device or args.images or args.delegate or args.html:
        raise UsageError(
            "--calibrate measures the device, without a model; of the others only --threads, -o and --json"
        )
    state = state_path(configuration.device_id(configuration.load(None, {})))
    seconds = args.seconds or CALIBRATE_SECONDS
    return bench_calibrate.run(state, output=args.output, seconds=seconds, threads=args.threads, as_json=args.json)


def _layers(args: argparse.Namespace) -> int:
    from edge_runtime.cli import bench_layers

    state = state_path(configuration.device_id(configuration.load(None, {})))
    wanted = bench_layers.Wanted(
        threads=args.threads,
        seconds=args.seconds or LAYERS_SECONDS,
        device=args.device,
        state=state,
        html=args.html,
        as_json=args.json,
    )
    return bench_layers.run(assemble.find_model(args.model, state), wanted)


def table(document: dict[str, Any]) -> str:
    """Return the document as lines for a person."""
    model, machine, memory = document["model"], document["machine"], document["memory_mb"]
    threads = document["threads"]
    on = f"{model['name']} ({model['task']}) on {document['delegate']}, {document['runtime']}"
    where = f"{machine['cpu'] or 'unknown processor'}, {machine['cores']} cores, {machine['system']}"
    frames = document["frames"]
    lines = [
        f"{on}, threads: {threads}" if threads else on,
        f"{where}, Python {machine['python']}, load {machine['load_average']}",
        f"frames: {frames['different']} different, {frames['format']}, {frames['bytes'] / 1000:.0f} kB",
        "",
        f"{'ms':24}{'p50':>9}{'p95':>9}{'p99':>9}{'CPU/frame':>11}{'frames/s':>10}{'x CPU':>8}{'x frames':>10}",
    ]
    lines.append(_way("bare invoke", document["bare"]))
    for stage, values in document["stages"].items():
        lines.append(f"{'  ' + stage:24}" + "".join(f"{value:9.2f}" for value in values.values()))
    lines.append(_way("pipeline, one thread", document["serial"]))
    lines.append(_way("pipeline, threaded", document["threaded"]))
    lines += ["", f"memory: {memory['rss']} MiB resident, {memory['peak']} at its peak"]
    if document.get("expected"):
        from edge_runtime.cli.bench_expected import line

        lines.append(line(document["expected"]))
    return "\n".join(lines) + "\n"


def _way(name: str, values: dict[str, Any]) -> str:
    if not values["frames"]:
        return f"{name:24}  nothing measured: give more --seconds"
    return (
        f"{name:24}{values['p50_ms']:9.2f}{values['p95_ms']:9.2f}{values['p99_ms']:9.2f}"
        f"{values['cpu_ms']:11.2f}{values['frames_per_s']:10.1f}"
        f"{values['cpu_ratio']:8.2f}{values['throughput_ratio']:10.2f}"
    )


def _frames(args: argparse.Namespace, pipeline: "Pipeline") -> Sequence[Frame]:
    wants = pipeline.spec.input
    if args.images:
        return _pictures(args.images, wants)
    if isinstance(wants, WindowInput):
        return _windows(wants)
    return [_frame(_camera_jpeg(args.size, seed), "jpeg") for seed in range(DIFFERENT)]


def _pictures(paths: list[str], wants: ImageInput | WindowInput) -> list[Frame]:
    from edge_runtime.sources.images import ImagesSource

    source = ImagesSource(ImagesSource.Config(paths=tuple(paths)), stream="bench0", wants=wants)
    source.open()
    frames = []
    while (frame := source.read(0.0)) is not None:
        frames.append(frame)
    source.close()
    return frames


def _windows(wants: WindowInput) -> list[Frame]:
    """Return noise within one standard deviation of the mean, as windows have it that a model was trained on."""
    import numpy as np

    random = np.random.default_rng(0)
    shape = (wants.length, wants.channels)
    mean, std = np.asarray(wants.mean), np.asarray(wants.std)
    noise = [(mean + std * random.uniform(-1, 1, shape)).astype(np.float32) for _ in range(DIFFERENT)]
    return [_frame(window, "window") for window in noise]


def _camera_jpeg(size: tuple[int, int], seed: int) -> bytes:
    """Return shapes and grain as JPEG: about 160 kB at 1280x720, as a camera's frames of a room are."""
    import numpy as np
    from PIL import Image, ImageFilter

    random = np.random.default_rng(seed)
    width, height = size
    coarse = random.integers(0, 256, (max(1, height // 16), max(1, width // 16), 3), np.uint8)
    shapes = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    grain = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).filter(ImageFilter.GaussianBlur(1))
    stream = io.BytesIO()
    Image.blend(shapes, grain, 0.05).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _frame(data: Any, kind: FrameFormat) -> Frame:
    return Frame(data, kind, "bench0", 0, 0, 0)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    try:
        size = (int(width), int(height))
    except ValueError:
        size = (0, 0)
    if not all(16 <= side <= 8000 for side in size):
        raise argparse.ArgumentTypeError(f"{text}: give WIDTHxHEIGHT, 16 to 8000 each, such as 1280x720")
    return size


def _above_zero(kind: type[int] | type[float]) -> Any:
    def parse(text: str) -> int | float:
        number = kind(text)
        if not number > 0:
            raise argparse.ArgumentTypeError(f"{text}: give a number above 0")
        return number

    parse.__name__ = kind.__name__
    return parse
