"""The command as a service: what it tells the service manager, how fast it ends, how it takes a new configuration."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from real_broker import eventually
from service_manager import ServiceManager

pytestmark = pytest.mark.e2e

DIGITS = Path(__file__).parents[2] / "edge_runtime/demo/digits.tflite"
DEMO = '[[source]]\ntype = "demo"\nname = "camera0"\nfps = 20.0\n'
STOPPED_S = 8.0
"""2 s are promised for SIGTERM. A busy machine is allowed for: what blocks here would block for much longer."""


@pytest.fixture(params=[False, True], ids=["path", "abstract"])
def either_manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServiceManager]:
    manager = ServiceManager(tmp_path, abstract=request.param)
    yield manager
    manager.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    manager = ServiceManager(tmp_path)
    yield manager
    manager.close()


def configure(edge_infer: Any, text: str = DEMO) -> Path:
    path: Path = edge_infer.folder / "edge.toml"
    path.write_text(text)
    return path


def stop_timed(edge_infer: Any, running: "subprocess.Popen[str]") -> Any:
    """Send SIGTERM; fail when the end takes longer than is promised, machine load allowed for."""
    asked_s = time.monotonic()
    ended = edge_infer.finish(running, with_signal=signal.SIGTERM)
    took_s = time.monotonic() - asked_s
    assert ended.status == 0, ended.err
    assert took_s < STOPPED_S, f"{took_s:.1f} s\n{ended.err}"
    return ended


def test_the_service_manager_hears_of_start_progress_and_end(edge_infer: Any, either_manager: ServiceManager) -> None:
    manager = either_manager
    configure(edge_infer)
    running = edge_infer.start(
        "--config", "edge.toml", "--model", DIGITS, "--broker", "none", "--jsonl", "live.jsonl",
        **manager.environment(watchdog_s=2.0),
    )  # fmt: skip
    manager.wait(lambda: manager.times("READY", "1"), what="READY=1")
    assert (edge_infer.folder / "live.jsonl").stat().st_size or manager.values("STATUS")
    ready_s = manager.times("READY")[0]
    manager.wait(lambda: [at for at in manager.times("WATCHDOG", "1") if at > ready_s + 1.5], what="WATCHDOG=1")
    stop_timed(edge_infer, running)
    manager.wait(lambda: manager.times("STOPPING", "1"), what="STOPPING=1")
    assert "predictions on cpu" in manager.values("STATUS")[0] + manager.values("STATUS")[1]


def test_an_invoke_that_never_returns_is_not_petted_for(
    edge_infer: Any, manager: ServiceManager, reference: Path, fake_edgetpu: Path
) -> None:
    # In this process, without isolation: the deadline that an engine's own process has is not there.
    model = reference / "models/edgetpu/mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    configure(edge_infer, DEMO + f'[engine]\ndelegate = "{fake_edgetpu}"\nisolate = false\n')
    running = edge_infer.start(
        "--config", "edge.toml", "--model", model, "--broker", "none", FAKE_EDGETPU="hang:5",
        **manager.environment(watchdog_s=2.0),
    )  # fmt: skip
    manager.wait(lambda: any("stuck" in status for status in manager.values("STATUS")), what="a stuck status")
    silent_s = time.monotonic()
    time.sleep(3.0)
    assert not [at for at in manager.times("WATCHDOG") if at > silent_s]
    ended = stop_timed(edge_infer, running)
    assert "left behind" in ended.err or "leaving it behind" in ended.err


def test_a_broker_that_is_away_and_cameras_that_are_offline_are_still_progress(
    edge_infer: Any, manager: ServiceManager
) -> None:
    """Both are retried by threads that come round: the service manager must not restart what would help nobody."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"mqtt://127.0.0.1:{silent.getsockname()[1]}"
        second = '[[source]]\ntype = "v4l2"\ndevice = "/dev/video-none"\nname = "gone"\n'
        configure(edge_infer, DEMO + second)
        running = edge_infer.start(
            "--config", "edge.toml", "--model", DIGITS, "--broker", url, **manager.environment(watchdog_s=2.0)
        )
        manager.wait(lambda: manager.times("READY", "1"), what="READY=1")
        time.sleep(2.5)
        pets = manager.times("WATCHDOG")
        assert pets[-1] > time.monotonic() - 2.0
        assert max(after - before for before, after in pairwise(pets)) < 2.0
        stop_timed(edge_infer, running)


@pytest.mark.parametrize("how", ["hung-invoke", "blocked-sink", "silent-broker", "silent-tls", "stopped-video"])
def test_sigterm_is_obeyed_at_once(how: str, edge_infer: Any, reference: Path, fake_edgetpu: Path) -> None:
    words: list[str | Path] = ["--config", "edge.toml", "--device-id", "porch"]
    environment = {}
    model: Path = DIGITS
    folder: Path = edge_infer.folder
    broker, seen = "none", True
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        text = DEMO
        if how == "hung-invoke":
            model = reference / "models/edgetpu/mobilenet_v1_0.25_128_quant_edgetpu.tflite"
            text += f'[engine]\ndelegate = "{fake_edgetpu}"\ninvoke_timeout_s = 60.0\n'
            environment["FAKE_EDGETPU"] = "hang:5"
        elif how == "blocked-sink":
            os.mkfifo(folder / "full")
            reader = os.open(folder / "full", os.O_RDWR | os.O_NONBLOCK)  # full, and never read from
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(reader, bytes(4096))
            words += ["--jsonl", "full"]
        elif how == "silent-broker":
            broker = f"mqtt://127.0.0.1:{port}"
        elif how == "silent-tls":
            broker = f"mqtts://127.0.0.1:{port}"
        else:
            pytest.importorskip("av")
            text = f'[[source]]\ntype = "video_stream"\nurl = "http://127.0.0.1:{port}/video.mjpg"\n'
            seen = False
        configure(edge_infer, text)
        running = edge_infer.start(*words, "--model", model, "--broker", broker, "-v", **environment)
        state = folder / "state/edge-infer/porch"
        eventually((state / "sequence.json").exists, what="a run", timeout_s=60.0)
        time.sleep(1.5 if seen else 3.0)
        ended = stop_timed(edge_infer, running)
        if how == "blocked-sink":
            os.close(reader)
        document = json.loads((state / "sequence.json").read_text())
        assert not any(stream["open"] for stream in document["streams"].values()), ended.err


def test_a_new_configuration_is_taken_without_the_broker_noticing(
    edge_infer: Any, mosquitto: Any, subscriber: Callable[..., Any], manager: ServiceManager
) -> None:
    path = configure(edge_infer, DEMO + '[publish]\npolicy = "all"\n')
    listener = subscriber("edge-infer/porch/#")
    running = edge_infer.start(
        "--config", "edge.toml", "--model", DIGITS, "--broker", mosquitto.url, "--device-id", "porch",
        **manager.environment(),
    )  # fmt: skip
    listener.wait(5, topic="edge-infer/porch/camera0/prediction")
    path.write_text('[publish]\npolicy = "all"\n\n' + DEMO.replace("camera0", "yard"))
    listener.wait(5, topic="edge-infer/porch/yard/prediction", timeout_s=60.0)
    manager.wait(lambda: len(manager.times("READY")) >= 2, what="READY=1 again")
    assert manager.values("MONOTONIC_USEC")[0].isdecimal()
    assert manager.times("RELOADING")[0] < manager.times("READY")[1]
    # The old stream is taken back, the new one goes on at 1, and nobody was told that the device is offline.
    listener.wait_for(lambda ms: any(m.topic.endswith("camera0/status") and not m.payload for m in ms))
    assert json.loads(listener.on("edge-infer/porch/yard/prediction")[0])["seq"] == 1
    assert listener.on("edge-infer/porch/status") == [b"online"]
    info = json.loads(listener.on("edge-infer/porch/info")[-1])
    assert list(info["sources"]) == ["yard"]
    assert info["config_error"] is None
    ended = stop_timed(edge_infer, running)
    assert "source[0].name changed" in ended.err


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("[publish]\npolicy = ", "not valid TOML"),
        (DEMO + "[publish]\npolicy = 'sometimes'\n", "sometimes"),
        (DEMO + "[model]\npath = 'missing.tflite'\n", "missing.tflite: no such model file"),
        (DEMO + "[model]\npath = 'broken.tflite'\n", "broken.tflite"),
        (DEMO + "[broker]\npassword = 'the-new-secret'\ncafile = 'x'\n", "unknown key"),
        ('[[source]]\ntype = "images"\npaths = ["gone"]\n', "gone: no such file"),
    ],
)
def test_a_bad_configuration_is_refused_and_the_good_one_stays(
    bad: str, words: str, edge_infer: Any, mosquitto: Any, subscriber: Callable[..., Any]
) -> None:
    good = DEMO + '[publish]\npolicy = "all"\n'
    (edge_infer.folder / "broken.tflite").write_bytes(b"TFL3" * 100)
    path = configure(edge_infer, good + f"[model]\npath = '{DIGITS}'\n")
    listener = subscriber("edge-infer/porch/#")
    running = edge_infer.start("--config", "edge.toml", "--broker", mosquitto.url, "--device-id", "porch")
    listener.wait(3, topic="edge-infer/porch/camera0/prediction")
    path.write_text(bad)
    running.send_signal(signal.SIGHUP)

    def last_error() -> Any:
        messages = listener.on("edge-infer/porch/info")
        return messages and json.loads(messages[-1])["config_error"]

    assert words in eventually(last_error, what="the error in info", timeout_s=60.0)
    count = len(listener.on("edge-infer/porch/camera0/prediction"))
    listener.wait(count + 3, topic="edge-infer/porch/camera0/prediction", timeout_s=60.0)
    assert running.poll() is None
    path.write_text(good + f"[model]\npath = '{DIGITS}'\n")
    eventually(lambda: last_error() is None, what="the error being taken back", timeout_s=60.0)
    seqs = [json.loads(m)["seq"] for m in listener.on("edge-infer/porch/camera0/prediction")]
    assert seqs == list(range(1, len(seqs) + 1))
    ended = stop_timed(edge_infer, running)
    assert "the-new-secret" not in ended.err


def test_a_configuration_that_only_fails_when_it_runs_gives_way_to_the_one_before(
    edge_infer: Any, mosquitto: Any, subscriber: Callable[..., Any]
) -> None:
    path = configure(edge_infer, DEMO + '[publish]\npolicy = "all"\n')
    listener = subscriber("edge-infer/porch/#")
    running = edge_infer.start(
        "--config", "edge.toml", "--model", DIGITS, "--broker", mosquitto.url, "--device-id", "porch"
    )
    listener.wait(3, topic="edge-infer/porch/camera0/prediction")
    path.write_text('[[source]]\ntype = "v4l2"\ndevice = "/dev/video-none"\nname = "gone"\n')
    info = "edge-infer/porch/info"
    listener.wait_for(lambda ms: any(m.topic == info and b"video-none" in m.payload for m in ms), timeout_s=60.0)
    count = len(listener.on("edge-infer/porch/camera0/prediction"))
    listener.wait(count + 3, topic="edge-infer/porch/camera0/prediction", timeout_s=60.0)
    stop_timed(edge_infer, running)


TOO_MUCH_ONCE = """
import os, sys
from edge_runtime.supervision import anew, memory
if anew.VARIABLE not in os.environ:
    anew.SOONEST_S, memory.INTERVAL_S = 0.0, 0.3
    memory._resident_mb = lambda: 5000.0
from edge_runtime.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_process_that_holds_too_much_memory_commits_everything_and_starts_anew(
    edge_infer: Any, mosquitto: Any, subscriber: Callable[..., Any]
) -> None:
    configure(edge_infer, DEMO + '[publish]\npolicy = "all"\n[limits]\nmemory_mb = 4000.0\n')
    listener = subscriber("edge-infer/porch/#")
    words = ["--config", "edge.toml", "--model", str(DIGITS), "--broker", mosquitto.url, "--device-id", "porch"]
    with subprocess.Popen(
        [sys.executable, "-c", TOO_MUCH_ONCE, *words],
        cwd=edge_infer.folder, env=edge_infer.environment, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        edge_infer.running.append(running)

        def restarted() -> Any:
            found = [json.loads(payload) for payload in listener.on("edge-infer/porch/info")]
            return [info for info in found if info["last_restart"]][1:]  # told before it happens, and after

        (info, *_) = eventually(restarted, what="a second start", timeout_s=60.0)
        assert "holds 5000 MiB, its limit is 4000 MiB" in info["last_restart"]["reason"]
        count = len(listener.on("edge-infer/porch/camera0/prediction"))
        listener.wait(count + 5, topic="edge-infer/porch/camera0/prediction", timeout_s=60.0)
        ended = stop_timed(edge_infer, running)
    assert "everything is committed and started anew" in ended.err
    seqs = [json.loads(m)["seq"] for m in listener.on("edge-infer/porch/camera0/prediction")]
    assert sorted(set(seqs)) == list(range(1, max(seqs) + 1))
