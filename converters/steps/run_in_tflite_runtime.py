"""Run a model in tflite-runtime: a script for an environment that has it and numpy, and nothing else.

python run_in_tflite_runtime.py MODEL SAMPLES.npy FOLDER writes FOLDER/older0.npy and so on, float32, one per output.
"""

import math
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tflite_runtime.interpreter import Interpreter

Array = NDArray[Any]


def main(model: str, samples: str, folder: str) -> None:
    """Run each sample, which is all inputs flattened one after the other; print the runtime's version."""
    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    entries, results = interpreter.get_input_details(), interpreter.get_output_details()
    rows: list[list[Array]] = [[] for _ in results]
    for sample in np.load(samples, mmap_mode="r", allow_pickle=False):
        flat, start = np.asarray(sample).reshape(-1), 0
        for entry in entries:
            size = math.prod(int(side) for side in entry["shape"])
            interpreter.set_tensor(entry["index"], as_input(flat[start : start + size], entry))
            start += size
        interpreter.invoke()
        for kept, result in zip(rows, results, strict=True):
            kept.append(as_numbers(interpreter.get_tensor(result["index"]), result))
    for number, kept in enumerate(rows):
        joined = np.concatenate(kept) if kept[0].ndim and len(kept[0]) == 1 else np.stack(kept)
        np.save(Path(folder) / f"older{number}.npy", joined)
    sys.stdout.write(f"tflite-runtime {version('tflite-runtime')}\n")


def as_input(values: Array, entry: dict[str, Any]) -> Array:
    """Return a sample in the input's shape and type."""
    scale, zero_point = entry["quantization"]
    if scale:
        limits = np.iinfo(entry["dtype"])
        values = np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max)
    return np.asarray(values.reshape(entry["shape"]), entry["dtype"])


def as_numbers(values: Array, result: dict[str, Any]) -> Array:
    """Return an output's values, dequantised."""
    scale, zero_point = result["quantization"]
    numbers = values.astype(np.float32)
    return np.asarray((numbers - zero_point) * np.float32(scale) if scale else numbers, np.float32)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (RuntimeError, ValueError) as error:
        sys.exit(" ".join(str(error).split())[:300])
