"""What the benchmarks share: a broker, children to measure, an environment for the others, medians, the machine."""

import contextlib
import json
import os
import platform
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import camera_frames

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
REFERENCE = Path(os.environ.get("EDGE_REFERENCE", REPOSITORY.parent / "shared" / "reference"))
OTHERS = ("mediapipe", "opencv-python-headless", "ai-edge-litert", "pillow")
CORES = 2
DEADLINE_S = 600.0
QUIET = 0.05
"""A measurement counts as undisturbed when others had less than this share of the cores."""
TICKS = os.sysconf("SC_CLK_TCK")
Measure = Callable[[], dict[str, Any]]


def use_two_cores() -> None:
    """Keep this process and all its children, the broker too, to two cores of a larger machine."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def reference_model(name: str) -> Path:
    path = REFERENCE / "models" / "classify" / name
    if not path.is_file():
        raise SystemExit(f"{path} is not there: say where the reference set is with EDGE_REFERENCE, or give --model")
    return path


@contextlib.contextmanager
def workshop(frames: int) -> Iterator[tuple[Path, list[int]]]:
    """Give a temporary folder with ``frames/`` and ``plugins/`` in it, and the sizes of the frames in bytes."""
    # As pip does when it installs; a checkout in which files were edited would compile them at every start.
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(REPOSITORY / "edge_runtime")], check=True)
    with tempfile.TemporaryDirectory(prefix="edge-benchmark-") as name:
        folder = Path(name)
        sizes = camera_frames.write(folder / "frames", frames, pictures=camera_frames.photos(REFERENCE))
        _install_plugins(folder / "plugins")
        yield folder, sizes


def _install_plugins(folder: Path) -> None:
    """Lay out what ``pip install`` of a package with the replay sources would leave behind."""
    about = folder / "edge_benchmark_replay-1.dist-info"
    about.mkdir(parents=True)
    shutil.copy(HERE / "replay_source.py", folder / "edge_benchmark_replay.py")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: edge-benchmark-replay\nVersion: 1\n")
    (about / "entry_points.txt").write_text(
        "[edge_runtime.sources]\n"
        "replay = edge_benchmark_replay:ReplaySource\n"
        "replay_camera = edge_benchmark_replay:ReplayCamera\n"
    )


@contextlib.contextmanager
def mosquitto(folder: Path) -> Iterator[int]:
    """Run a broker of our own on a free port of the loopback interface."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise SystemExit("mosquitto is not installed: sudo apt install mosquitto")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type error\n")
    process = subprocess.Popen([program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise SystemExit("mosquitto does not answer")


def daemon_config(folder: Path, *, model: Path, port: int, source: Mapping[str, Any], name: str = "daemon") -> Path:
    """Write a configuration for the real daemon with a replay source, publishing all; return its path."""
    lines = [
        'device_id = "benchmark"',
        f'[model]\npath = "{model}"',
        "[engine]\nthreads = 1",
        f'[broker]\nurl = "mqtt://127.0.0.1:{port}"',
        '[publish]\npolicy = "all"',
        f'[[source]]\nfolder = "{folder / "frames"}"\nresult = "{folder / "result.json"}"',
        *(f"{key} = {json.dumps(value)}" for key, value in source.items()),
    ]
    path = folder / f"{name}.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def run_daemon(folder: Path, config: Path) -> dict[str, Any]:
    """Run `edge-infer --config` to its end; return what the replay source measured."""
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    finish(start_daemon(folder, config))
    return dict(json.loads(result.read_text()))


def start_daemon(folder: Path, config: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(folder / "plugins"), "XDG_STATE_HOME": str(folder / "state")}
    return subprocess.Popen([edge_infer(), "--quiet", "--config", str(config)], env=environment)


def edge_infer() -> str:
    """Return the command beside the Python that runs this."""
    return str(Path(sys.executable).parent / "edge-infer")


def finish(process: subprocess.Popen[bytes]) -> bytes:
    output, _ = process.communicate(timeout=DEADLINE_S)
    if process.returncode != 0:
        raise SystemExit(f"{process.args!r} ended with {process.returncode}")
    return output or b""


def undisturbed(measure: Measure, *, tries: int) -> dict[str, Any]:
    """Run ``measure`` until others leave the machine alone meanwhile, at most ``tries`` times; keep the quietest.

    Adds ``foreign``: which share of the cores went to processes that are not ours (the broker counts as ours).
    """
    best: dict[str, Any] | None = None
    for _ in range(tries):
        wall_s, busy_s, ours_s = time.perf_counter(), _busy_s(), _ours_s()
        measured = measure()
        spent_s = (time.perf_counter() - wall_s) * len(os.sched_getaffinity(0))
        measured["foreign"] = max(0.0, (_busy_s() - busy_s) - (_ours_s() - ours_s)) / spent_s
        if best is None or measured["foreign"] < best["foreign"]:
            best = measured
        if best["foreign"] < QUIET:
            break
    assert best is not None
    return best


def chosen(found: Mapping[str, Measure], words: Sequence[str], *, always: str) -> dict[str, Measure]:
    """Return the contenders whose name has one of ``words`` (all without words), and ``always``."""
    return {n: measure for n, measure in found.items() if n == always or not words or any(w in n for w in words)}


def in_turns(
    found: Mapping[str, Measure], *, rounds: int, tries: int, warm: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """Run every contender once a round, ``warm`` rounds of which are thrown away; return what each round gave."""
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in found}
    for number in range(warm + rounds):
        for name, measure in found.items():
            result = undisturbed(measure, tries=tries)
            if number >= warm:
                measured[name].append(result)
    return measured


def _busy_s() -> float:
    """Return how long all cores together have been busy, time stolen by the hypervisor included (proc(5), stat)."""
    fields = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / TICKS


def _ours_s() -> float:
    """Return the CPU time of this process and of its children (and theirs): the ended ones and those that run."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for child in children:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(value) for value in fields[11:15]) / TICKS
    return total


def start_contender(python: str, name: str, *options: str) -> subprocess.Popen[bytes]:
    command = [python, str(HERE / "contender.py"), name, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def others_python() -> str | None:
    """Return a Python that has MediaPipe and OpenCV, from an environment made once; None where that fails."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "edge-infer" / "benchmarks" / "others"
    python = folder / "bin" / "python"
    check = [str(python), "-c", "import cv2, mediapipe, ai_edge_litert"]
    if not python.exists() or subprocess.run(check, capture_output=True, check=False).returncode != 0:
        print(f"making an environment for MediaPipe and OpenCV in {folder} ...", file=sys.stderr)
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=False)
        install = [str(python), "-m", "pip", "install", "--quiet", *OTHERS]
        if made.returncode or subprocess.run(install, check=False).returncode:
            print("MediaPipe and OpenCV cannot be installed here: they are left out", file=sys.stderr)
            return None
    return str(python) if subprocess.run(check, capture_output=True, check=False).returncode == 0 else None


def installed(python: str | None, names: Sequence[str]) -> dict[str, str]:
    """Return the versions of distributions in the environment of ``python``."""
    if python is None:
        return {}
    code = f"from importlib.metadata import version\nfor n in {list(names)!r}: print(n, version(n))"
    listed = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False).stdout
    return {f"{line.split()[0]} (others)": line.split()[1] for line in listed.splitlines()}


def about(python: str | None = None) -> dict[str, Any]:
    """Return the machine, the versions and the date, for the head of a table."""
    versions = {}
    for name in ("edge-infer", "ai-edge-litert", "numpy", "pillow", "simplejpeg", "paho-mqtt", "msgspec"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cpu": _cpu_name(),
        "cores_used": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}, Python {platform.python_version()}",
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "versions": versions | installed(python, OTHERS[:2]),
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the quartiles (for fewer than four values the least and the most)."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    if len(ordered) >= 4:
        low, _, high = statistics.quantiles(ordered, n=4, method="inclusive")
    return {"median": statistics.median(ordered), "low": low, "high": high}


def show(value: Mapping[str, float], digits: int = 2) -> str:
    """Return ``median [low-high]``."""
    return f"{value['median']:.{digits}f} [{value['low']:.{digits}f}-{value['high']:.{digits}f}]"


def print_about(facts: Mapping[str, Any]) -> None:
    print(f"{facts['date']}, {facts['cpu']}, {facts['cores_used']} cores, {facts['system']}")
    print("load average at the start: " + " ".join(str(value) for value in facts["load_average"]))
    print(", ".join(f"{name} {number}" for name, number in facts["versions"].items()))
