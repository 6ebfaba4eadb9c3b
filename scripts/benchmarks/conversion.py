"""Time and memory of converting MobileNetV2 to int8 with 100 calibration pictures: ours, plain TensorFlow, onnx2tf.

    .venv-convert/bin/python scripts/benchmarks/conversion.py PICTURES [--rounds 3] [--through COMMAND...]

PICTURES is a folder of pictures (125 are used). Ours also runs the source and the artifact on 25 other pictures and
compares them; the others convert only. Contenders run one after the other in each round, each in a new process. Memory
is the largest sum over the process and its children, looked at 20 times a second: all that is resident, and what of it
is no file's (the rest, of TensorFlow 360 MB, are parts of its libraries that the system can drop and read again).
Seconds of processor time are beside the wall clock: they depend less on what else the machine does. At the end the
answers of each artifact on the 25 pictures are compared with onnxruntime's of the float network.

onnx2tf's own int8 with a scale for each channel, its default, ends with an error (tensors of one axis are given
channels along their fourth). It is measured with a scale for each tensor, where its int8 file is written before an
int16 one fails, and with --others, a Python whose environment has tf_keras, through its TensorFlow backend.
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
ONNX2TF = {
    "onnx2tf, a scale per tensor": {"quant_type": "per-tensor"},
    "onnx2tf, TensorFlow backend": {"tflite_backend": "tf_converter"},
}
CONTENDERS = (*FLAGS, "TensorFlow", *ONNX2TF)
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


def onnx2tf_route(name: str, folder: Path) -> None:
    """What its documentation says; it writes six files of one call, int8 among them."""
    import onnx2tf

    shutil.copy(folder / "mobilenet_v2.onnx", folder / "theirs.onnx")
    shutil.rmtree(folder / "theirs", ignore_errors=True)
    flat = [[[[0.0, 0.0, 0.0]]]], [[[[1.0, 1.0, 1.0]]]]
    made = folder / "theirs/theirs_full_integer_quant.tflite"
    try:
        onnx2tf.convert(
            input_onnx_file_path=str(folder / "theirs.onnx"),
            output_folder_path=str(folder / "theirs"),
            output_integer_quantized_tflite=True,
            custom_input_op_name_np_data_path=[["input", str(folder / "calibration.npy"), *flat]],
            non_verbose=True,
            **ONNX2TF[name],
        )
    except RuntimeError:
        if not made.exists():
            raise
    shutil.move(made, folder / "theirs.tflite")


def answers_db(artifact: Path, folder: Path) -> float:
    """Return how far an int8 artifact is from the float network on the pictures that calibrated nothing."""
    from ai_edge_litert.interpreter import Interpreter
    from onnxruntime import InferenceSession

    source = InferenceSession(folder / "mobilenet_v2.onnx", providers=["CPUExecutionProvider"])
    interpreter = Interpreter(model_path=str(artifact))
    interpreter.allocate_tensors()
    entry, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    wanted, got = [], []
    for path in sorted((folder / "pictures").glob("*.png"))[CALIBRATED:]:
        values = np.asarray(Image.open(path), np.float32)[None] / 127.5 - 1.0
        wanted.append(source.run(None, {"input": values.transpose(0, 3, 1, 2)})[0])
        steps = np.rint(values / entry["quantization"][0]) + entry["quantization"][1]
        interpreter.set_tensor(entry["index"], np.clip(steps, -128, 127).astype(np.int8))
        interpreter.invoke()
        scale, zero = output["quantization"]
        got.append((interpreter.get_tensor(output["index"]).astype(np.float32) - zero) * scale)
    noise = np.stack(wanted) - np.stack(got)
    return float(10.0 * np.log10(np.sum(np.square(wanted)) / np.sum(np.square(noise))))


def command(name: str, folder: Path, others: str) -> list[str]:
    if name not in FLAGS:
        return [others if "backend" in name else sys.executable, __file__, "--one", name, str(folder)]
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


def resident_mb(pid: int) -> tuple[float, float]:
    """Return what a process and its children hold: all of it, and what of it is no file's."""
    pages, of_files = 0, 0
    for process in family(pid):
        try:
            fields = [int(field) for field in Path(f"/proc/{process}/statm").read_text().split()]
        except OSError:
            continue
        pages, of_files = pages + fields[1], of_files + fields[2]
    page_mb = resource.getpagesize() / 2**20
    return pages * page_mb, (pages - of_files) * page_mb


def measure(name: str, folder: Path, *, through: list[str], others: str) -> dict[str, float]:
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "KERAS_BACKEND": "tensorflow"}
    words = command(name, folder, others)
    environment["PATH"] = f"{Path(words[0]).parent}:{environment['PATH']}"
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    started_s, peak_mb, private_mb = time.monotonic(), 0.0, 0.0
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as log:
        process = subprocess.Popen([*through, *words], stdout=said, stderr=log, env=environment)
        while process.poll() is None:
            now_mb, own_mb = resident_mb(process.pid)
            peak_mb, private_mb = max(peak_mb, now_mb), max(private_mb, own_mb)
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
    row = {"seconds": seconds, "cpu_s": cpu_s, "peak_mb": peak_mb, "private_mb": private_mb}
    if name.startswith("ours"):
        for step in json.loads(answer)["steps"]:
            row[step["name"]] = step["seconds"]
    artifact = "ours" if name in FLAGS else "theirs" if name in ONNX2TF else "tensorflow"
    return row | {"db": answers_db(folder / f"{artifact}.tflite", folder)}


def spread(values: list[float], digits: int = 1) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--through", nargs="*", default=[], help="a command to run each contender with: taskset -c 0,1")
    parser.add_argument("--others", help="a Python with TensorFlow, onnx2tf and tf_keras")
    parser.add_argument("--only", nargs="*", default=CONTENDERS, choices=CONTENDERS)
    parser.add_argument("--folder", type=Path, help="where the prepared network is kept for another run")
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        if args.one == "TensorFlow":
            tensorflow_route(args.pictures)
        else:
            onnx2tf_route(args.one, args.pictures)
        return
    folder = args.folder or Path(tempfile.mkdtemp(prefix="conversion-"))
    if not (folder / "calibration.npy").exists():
        folder.mkdir(exist_ok=True)
        prepare(args.pictures, folder)
    names = [name for name in args.only if args.others or "backend" not in name]
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(args.rounds):
        for name in names:
            rows[name].append(measure(name, folder, through=args.through, others=args.others))
            print(name, rows[name][-1], file=sys.stderr, flush=True)
    show(rows)


def show(rows: dict[str, list[dict[str, float]]]) -> None:
    packages = ("tensorflow-cpu", "keras", "onnx2tf", "ai-edge-quantizer", "ai-edge-litert")
    print(", ".join(f"{package} {version(package)}" for package in packages), f"Python {sys.version.split()[0]}")
    print("| | wall clock, s | processor time, s | largest memory, MB | of it no file's, MB | dB |")
    print("| --- | --- | --- | --- | --- | --- |")
    columns = (("seconds", 1), ("cpu_s", 1), ("peak_mb", 0), ("private_mb", 0))
    for name, tries in rows.items():
        runs = [run for run in tries if run]
        if not runs:
            print(f"| {name} | fails | | | | |")
            continue
        cells = [spread([run[key] for run in runs], digits) for key, digits in columns]
        print(f"| {name} | {' | '.join(cells)} | {statistics.median(run['db'] for run in runs):.1f} |")


if __name__ == "__main__":
    main()
