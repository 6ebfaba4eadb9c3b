"""``edge-convert``: a thin layer over ``converters.convert``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from converters import checking, estimate, summary
from converters.conversion import convert
from converters.options import PRESETS, SCHEMES, InputShape, Options
from converters.progress import open_display
from converters.rescue.ranges import RANGE_METHODS
from converters.result import ConversionResult, GateError
from edge_runtime.errors import EdgeRuntimeError, UsageError
from edge_runtime.types import TASKS

INTERRUPTED: Final = 130
_EXAMPLE: Final = """example:
  edge-convert model.keras -o model.tflite --calibration photos/ --preset tf --labels labels.txt --eval labelled/
  edge-convert --check photo.jpg model.tflite --source model.keras
  edge-convert architecture.keras --estimate --device pi-4b-64 --fps 15
"""


Shape = tuple[int, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``edge-convert`` and return its exit status."""
    parser = _parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as end:
        return int(end.code or 0)
    try:
        if args.estimate:
            return _estimate(args)
        estimate.refuse_without(args)
        return _check(args) if args.check else _convert(args)
    except GateError as refusal:
        _show(args, refusal.result)
        return _fail(refusal)
    except EdgeRuntimeError as error:
        return _fail(error)
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-convert",
        description="Turn a trained model into one self-describing .tflite, and prove that it kept its accuracy.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "model",
        metavar="MODEL",
        help=".keras, .h5, SavedModel folder, .onnx or float .tflite; with --check the artifact",
    )
    add("-o", "--output", type=Path, metavar="OUT.tflite", help="default: MODEL's name with .tflite, in this folder")
    add("--quantize", choices=SCHEMES, default="int8", help="default: int8, integers in and out")
    add("--edgetpu", action="store_true", help="check it for an Edge TPU, and compile it with edgetpu_compiler")
    add("--force", action="store_true", help="write the model although it fails its gate, and mark it")
    add("--json", action="store_true", help="print the result as one JSON document")
    add("--report", type=Path, metavar="OUT.html", help="write one page about the conversion, to look at or to send")
    add("-q", "--quiet", action="store_true", help="no progress on standard error")
    add(
        "--check",
        metavar="PHOTO",
        type=Path,
        action="append",
        help="show the float and the converted answer side by side; again for more pictures, or a folder",
    )
    add("--source", type=Path, metavar="MODEL", help="with --check: the float model it was made from")
    _add_samples(parser)
    _add_preprocessing(parser)
    _add_identity(parser)
    estimate.add_arguments(parser)
    return parser


def _add_samples(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("samples").add_argument
    add("--calibration", metavar="PATH", help="folder of pictures, .npy, .npz, .csv, .wav, module:callable, or random")
    add("--samples", type=int, default=100, metavar="N", help="calibration samples at most (default: 100)")
    add("--ranges", choices=("auto", *RANGE_METHODS), default="auto", help="of activations; auto: the best of three")
    add(
        "--runtime",
        choices=("litert", "tflite-runtime"),
        default="litert",
        help="tflite-runtime: the result must pass its gate in tflite-runtime 2.14 too (see EDGE_TFLITE_PYTHON)",
    )
    add(
        "--rescue",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="when the gate refuses: find the layers that hurt and try what helps, cheapest first (default: on)",
    )
    add("--eval", metavar="PATH", help="labelled: folder per class, .npz with x and y, or module:callable of pairs")


def _add_preprocessing(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("how the device feeds the model").add_argument
    add("--preset", choices=tuple(PRESETS), help="mean and std at once; raw: pixels as they are")
    add("--mean", type=_numbers, metavar="M[,M,M]", help="in pixels of 0..255, or the sensor's unit")
    add("--std", type=_numbers, metavar="S[,S,S]")
    add("--color", choices=("RGB", "BGR", "GRAY"))
    add("--resize", choices=("stretch", "letterbox", "crop"))
    add("--layout", choices=("NHWC", "NCHW"))
    add("--window", type=_window, metavar="LENGTHxCHANNELS", help="the input is a window of samples, no picture")
    add("--sample-rate", type=float, metavar="HZ")
    add(
        "--input-shape",
        type=_shape,
        action="append",
        metavar="[NAME:]1,H,W,C",
        help="for a model whose shape is open, in its own layout; once per input where there are several",
    )


def _add_identity(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what the model is").add_argument
    add("--labels", type=Path, metavar="FILE", help="one class per line; packed into the model")
    add("--task", choices=TASKS)
    add("--name", help="default: MODEL's file name")
    add("--model-version", metavar="VERSION")


def options_of(args: argparse.Namespace) -> Options:
    """Return the options of parsed flags. Raises UsageError."""
    mean, std = args.mean, args.std
    if args.preset is not None:
        if mean is not None or std is not None:
            raise UsageError("--preset says mean and std; give one or the other")
        mean, std = PRESETS[args.preset]
    source = Path(args.model)
    return Options(
        source=source,
        output=args.output or Path(f"{source.stem}.tflite"),
        quantize=args.quantize,
        calibration=args.calibration,
        evaluation=args.eval,
        samples=args.samples,
        mean=mean,
        std=std,
        color=args.color,
        resize=args.resize,
        layout=args.layout,
        window=args.window,
        sample_rate_hz=args.sample_rate,
        labels=args.labels,
        task=args.task,
        name=args.name,
        version=args.model_version,
        input_shape=_input_shape(args.input_shape),
        edgetpu=args.edgetpu,
        ranges=args.ranges,
        rescue=args.rescue,
        runtime=args.runtime,
        force=args.force,
        report=args.report,
    )


def _convert(args: argparse.Namespace) -> int:
    options = options_of(args)
    with open_display(quiet=args.quiet or args.json) as progress:
        result = convert(options, progress=progress)
    _show(args, result)
    return 0


def _check(args: argparse.Namespace) -> int:
    with open_display(quiet=args.quiet or args.json) as progress:
        answers = checking.check_pictures(Path(args.model), args.check, source=args.source, progress=progress)
    if args.json:
        _print(msgspec.json.encode({"schema": 1, "pictures": [one.to_dict() for one in answers]}).decode())
    else:
        _print("\n".join(one.table() for one in answers))
    return 0


def _estimate(args: argparse.Namespace) -> int:
    with open_display(quiet=args.quiet or args.json) as progress:
        answer = estimate.answer(args, input_shape=_input_shape(args.input_shape), progress=progress)
    return answer.show(args)


def _show(args: argparse.Namespace, result: ConversionResult) -> None:
    _print(msgspec.json.encode(result.to_dict()).decode() if args.json else summary.text(result))


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _fail(error: EdgeRuntimeError) -> int:
    sys.stderr.write(f"edge-convert: error: {error}\n")
    return error.exit_status


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"numbers separated by commas, not {text!r}") from None


def _shape(text: str) -> tuple[str, Shape]:
    """Return the input's name, empty where none is given, and its shape."""
    name, _, sizes = text.rpartition(":")
    try:
        shape = tuple(int(part) for part in sizes.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"sizes separated by commas, 1,224,224,3 or NAME:1,8, not {text!r}")
    return name, shape


def _input_shape(
    given: list[tuple[str, tuple[int, ...]]] | None,
) -> InputShape:
    if not given:
        return None
    if len(given) == 1 and not given[0][0]:
        return given[0][1]
    if any(not name for name, _ in given):
        raise UsageError("--input-shape: with several of them each names its input, --input-shape NAME:1,8")
    return dict(given)


def _window(text: str) -> tuple[int, int]:
    length, _, channels = text.partition("x")
    if not (length.isdigit() and channels.isdigit() and int(length) and int(channels)):
        raise argparse.ArgumentTypeError(f"LENGTHxCHANNELS, 128x9, not {text!r}")
    return int(length), int(channels)


if __name__ == "__main__":
    sys.exit(main())
