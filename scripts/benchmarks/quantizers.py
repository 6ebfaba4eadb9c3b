"""One quantiser for both routes? ai-edge-quantizer with our ranges against TensorFlow's converter, network by network.

    .venv-convert/bin/python scripts/benchmarks/quantizers.py MODEL SAMPLES.npy [--classifier] [--title TITLE]

MODEL is a .keras, .h5 or SavedModel, SAMPLES are float32 inputs as the network takes them. Half of them calibrate, at
most 80, and up to 200 others are compared with the float answers. LiteRT runs every quantised network. Prints rows
of a table; time is that of quantising alone, on the processor.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"}

import numpy as np

from converters.comparison import agreement, sqnr_db
from converters.steps import quantizer, tflite_model
from converters.steps.keras_model import Session as KerasSession

MOST_CALIBRATED, MOST_COMPARED = 80, 200
RECIPES = {
    "ai-edge-quantizer, minmax": {"ranges": "minmax"},
    "ai-edge-quantizer, mse, biases corrected": {"ranges": "mse", "bias_corrected": True},
    "ai-edge-quantizer, minmax, equalised": {"ranges": "minmax", "equalized": True},
}


def tensorflow_quantized(session: KerasSession, source: str, folder: Path, calibration: np.ndarray) -> bytes:
    """Quantise by TensorFlow's converter, integers in and out, from the same traced function."""
    import tensorflow as tf
    from tensorflow.lite.python import lite

    kept: list[bytes] = []
    target = lite.TFLiteFrozenGraphConverterV2
    convert = target.convert

    def quantizing(converter: tf.lite.TFLiteConverter) -> bytes:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample[None]] for sample in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        kept.append(convert(converter))
        return kept[0]

    target.convert = quantizing
    try:
        (folder / "theirs").mkdir()
        session.convert(source, str(folder / "theirs/unused.tflite"), None, unroll=True)
    finally:
        target.convert = convert
    return kept[0]


def timed(make: Callable[[], object]) -> float:
    started_s = time.process_time()
    make()
    return time.process_time() - started_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("samples", type=Path)
    parser.add_argument("--classifier", action="store_true")
    parser.add_argument("--title")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="quantizers-"))
    samples = np.random.default_rng(0).permutation(np.load(args.samples)).astype(np.float32)
    count = min(MOST_CALIBRATED, len(samples) // 2)
    np.save(folder / "calibration.npy", samples[:count])
    np.save(folder / "compared.npy", samples[count : count + MOST_COMPARED])
    keras, plain = KerasSession(), str(folder / "float.tflite")
    keras.convert(args.model, plain, None, unroll=True)
    axes = list(range(samples.ndim))
    wanted = np.load(keras.run(str(folder / "compared.npy"), str(folder), axes)["outputs"][0])
    work = quantizer.Session()
    work.quantize(plain, str(folder / "warm.tflite"), "dynamic", None)  # imports are not the quantiser's work
    target = folder / "quantized.tflite"

    def row(name: str, seconds: float) -> None:
        reply = tflite_model.Session().run(str(target), str(folder / "compared.npy"), str(folder), "got")
        got = np.load(reply["outputs"][0])
        same = f"{agreement(wanted, got):.1%}" if args.classifier else ""
        size_kb = target.stat().st_size / 1000
        title = args.title or Path(args.model).stem
        print(f"| {title} | {name} | {sqnr_db(wanted, got):.1f} | {same} | {size_kb:.0f} | {seconds:.1f} |", flush=True)

    theirs = lambda: tensorflow_quantized(KerasSession(), args.model, folder, samples[:count])  # noqa: E731
    seconds = timed(lambda: target.write_bytes(theirs()))
    row("TensorFlow", seconds)
    for name, recipe in RECIPES.items():
        session = quantizer.Session()
        quantize = lambda session=session, recipe=recipe: session.quantize(  # noqa: E731
            plain, str(target), "int8", str(folder / "calibration.npy"), recipe=recipe
        )
        seconds = timed(quantize)
        row(name, seconds)


if __name__ == "__main__":
    main()
