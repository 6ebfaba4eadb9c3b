"""Time and memory of converting MobileNetV2 to int8 with 100 calibration pictures: ours, plain TensorFlow, onnx2tf.

    .venv-convert/bin/python scripts/benchmarks/conversion.py PICTURES [--rounds 3] [--through COMMAND...]

PICTURES is a folder of pictures (125 are used). Ours also runs the source and the artifact on 25 other pictures and
compares them; the others convert only. Contenders run one after the other in each round, each in a new process. Memory
is the largest sum over the process and its children, looked at 20 times a second. Seconds of processor time are beside
the wall clock: they depend less on what else the machine does.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, CALIBRATED, COMPARED = 224, 100, 25
FLAGS = {
    "ours, Keras": ["--no-rescue"],
    "ours, Keras, min/max only": ["--no-rescue", "--ranges", "minmax"],
    "ours, Keras, whole rescue ladder": [],
    "ours, ONNX": ["--no-rescue"],
    "ours, ONNX, min/max only": ["--no-rescue", "--ranges", "minmax"],
}
"""Ours tries four ways to quantise and keeps the best; with min/max only it tries two, and the others one. The random
layers of this network lose more than the gate lets pass: the ladder is climbed to its end unless that is left out."""
CONTENDERS = (*FLAGS, "TensorFlow", "onnx2tf")
PAUSE_S = 0.05


def prepare(pictures: Path, folder: Path) -> None:
    """Write the network as .keras and .onnx, the pictures, and the calibration array."""
    scripts = Path(__file__).parents[1]
    subprocess.run(
        [sys.executable, scripts / "keras_networks.py", folder, pictures, "mobilenet_v2"],
        check=True,
        capture_output=True,
    )
    subprocess.run([sys.executable, Path(__file__).with_name("keras_to_onnx.py"), folder / "mobilenet_v2.keras",
                    folder / "mobilenet_v2.onnx"], check=True, capture_output=True)  # fmt: skip
    paths = sorted(pictures.rglob("*.jpg"))
    chosen = [paths[index] for index in np.linspace(0, len(paths) - 1, CALIBRATED + COMPARED).astype(int)]
    (folder / "pictures").mkdir()
    arrays = []
    for number, path in enumerate(chosen):
        picture = Image.open(path).convert("RGB").resize((SIDE, SIDE))
        picture.save(folder / f"pictures/{number:03}.png")
        arrays.append(np.asarray(picture, np.float32) / 127.5 - 1.0)
    np.save(folder / "calibration.npy", np.stack(arrays[:CALIBRATED]))


def tensorflow_route(folder: Path) -> None:
    """What the documentation of TFLite says."""
    import keras
    import tensorflow as tf

    samples = np.load(folder / "calibration.npy")
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.models.load_model(folder / "mobilenet_v2.keras"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (folder / "tensorflow.tflite").write_bytes(converter.convert())


def onnx2tf_route(folder: Path) -> None:
    import onnx2tf

    shutil.copy(folder / "mobilenet_v2.onnx", folder / "theirs.onnx")
    flat = [[[[0.0, 0.0, 0.0]]]], [[[[1.0, 1.0, 1.0]]]]
    onnx2tf.convert(
        input_onnx_file_path=str(folder / "theirs.onnx"),
        output_folder_path=str(folder / "theirs"),
        output_integer_quantized_tflite=True,
        custom_input_op_name_np_data_path=[["input", str(folder / "calibration.npy"), *flat]],
        non_verbose=True,
    )


def command(name: str, folder: Path) -> list[str]:
    if name in {"TensorFlow", "onnx2tf"}:
        return [sys.executable, __file__, "--one", name, str(folder)]
    model = folder / ("mobilenet_v2.keras" if "Keras" in name else "mobilenet_v2.onnx")
    return [
        sys.executable, "-m", "converters.cli", str(model), "-o", str(folder / "ours.tflite"), "--preset", "tf",
        "--force", "--calibration", str(folder / "pictures"), "--samples", str(CALIBRATED), "--json",
        "--task", "classify", *FLAGS[name],
    ]  # fmt: skip


def family(pid: int) -> list[int]:
    found = [pid]
    for process in found:
        for listing in Path(f"/proc/{process}/task").glob("*/children"):
            try:
                found += [int(child) for child in listing.read_text().split()]
            except OSError:
                continue
    return found


def resident_mb(pid: int) -> float:
    pages = 0
    for process in family(pid):
        try:
            pages += int(Path(f"/proc/{process}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
    return pages * resource.getpagesize() / 2**20


def measure(name: str, folder: Path, through: list[str]) -> dict[str, float]:
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    started_s, peak_mb = time.monotonic(), 0.0
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as log:
        process = subprocess.Popen([*through, *command(name, folder)], stdout=said, stderr=log, env=environment)
        while process.poll() is None:
            peak_mb = max(peak_mb, resident_mb(process.pid))
            time.sleep(PAUSE_S)
        seconds = time.monotonic() - started_s
        said.seek(0)
        log.seek(0)
        if process.returncode:
            lines = log.read().decode(errors="replace").strip().splitlines()
            print(f"{name} failed: {lines[-1] if lines else process.returncode}", file=sys.stderr)
            return {}
        answer = said.read()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    row = {"seconds": seconds, "cpu_s": cpu_s, "peak_mb": peak_mb}
    if name.startswith("ours"):
        for step in json.loads(answer)["steps"]:
            row[step["name"]] = step["seconds"]
        row["sqnr_db"] = min(output["sqnr_db"] for output in json.loads(answer)["verdict"]["outputs"])
    return row


def spread(values: list[float], digits: int = 1) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--through", nargs="*", default=[], help="a command to run each contender with: taskset -c 0,1")
    parser.add_argument("--only", nargs="*", default=CONTENDERS, choices=CONTENDERS)
    parser.add_argument("--folder", type=Path, help="where the prepared network is kept for another run")
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        (tensorflow_route if args.one == "TensorFlow" else onnx2tf_route)(args.pictures)
        return
    folder = args.folder or Path(tempfile.mkdtemp(prefix="conversion-"))
    if not (folder / "calibration.npy").exists():
        folder.mkdir(exist_ok=True)
        prepare(args.pictures, folder)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in args.only}
    for _ in range(args.rounds):
        for name in args.only:
            rows[name].append(measure(name, folder, args.through))
            print(name, rows[name][-1], file=sys.stderr, flush=True)
    packages = ("tensorflow-cpu", "keras", "onnx2tf", "ai-edge-quantizer", "ai-edge-litert")
    print(", ".join(f"{package} {version(package)}" for package in packages), f"Python {sys.version.split()[0]}")
    print("| | wall clock, s | processor time, s | largest memory, MB |\n| --- | --- | --- | --- |")
    for name, tries in rows.items():
        runs = [run for run in tries if run]
        if not runs:
            print(f"| {name} | fails | | |")
            continue
        columns = [
            spread([run[key] for run in runs], digits) for key, digits in (("seconds", 1), ("cpu_s", 1), ("peak_mb", 0))
        ]
        print(f"| {name} | {' | '.join(columns)} |")


if __name__ == "__main__":
    main()
