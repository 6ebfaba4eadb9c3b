"""The daemon through its command: what reaches a real broker, and how each mistake ends."""

import io
import json
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edge_runtime
from edge_runtime.sources.demo import DATA

pytestmark = pytest.mark.e2e

DIGITS = DATA / "digits.tflite"
DEMO = '[[source]]\ntype = "demo"\nname = "camera0"\n'


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three drawings of digits, upright."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    digits = np.load(DATA / "digits.npz")
    images = digits[digits.files[0]]
    for number in range(3):
        picture = Image.fromarray(255 - (images[number].reshape(8, 8) * 15.9).astype(np.uint8))
        picture.resize((160, 120)).convert("RGB").save(folder / f"{number}.png")
    return folder


def values(messages: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(payload) for payload in messages]


def test_pictures_reach_the_broker_in_order_with_everything_around_them(
    edge_infer: Any, mosquitto: Any, subscriber: Callable[..., Any], pictures: Path
) -> None:
    listener = subscriber("edge-infer/porch/#")
    ended = edge_infer(
        "--images", pictures, "--model", DIGITS, "--broker", mosquitto.url, "--device-id", "porch",
        "--jsonl", "lines.jsonl",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    predictions = values([m.payload for m in listener.wait(3, topic="edge-infer/porch/images0/prediction")])
    assert [p["seq"] for p in predictions] == [1, 2, 3]
    assert [Path(p["path"]).name for p in predictions] == ["0.png", "1.png", "2.png"]
    lines = [json.loads(line) for line in (edge_infer.folder / "lines.jsonl").read_text().splitlines()]
    assert lines == predictions
    for prediction in predictions:
        parts = prediction["latency_ms"]
        total = parts.pop("total")
        assert total == pytest.approx(sum(parts.values()), abs=0.0005)
        assert list(parts) == ["queue", "prepare", "wait", "invoke", "postprocess"]
        assert prediction["schema"] == prediction["seq_start"] == 1
    listener.wait_for(lambda ms: [m for m in ms if m.topic == "edge-infer/porch/status"][-1].payload == b"offline")
    info = values(listener.on("edge-infer/porch/info"))[-1]
    assert info["model"]["name"] == predictions[0]["model"]["name"]
    assert info["delegate"] == "cpu"
    assert values(listener.on("edge-infer/porch/stats"))[-1]["counters"]["captured"] == 3
    assert values(listener.on("edge-infer/porch/model"))[-1]["state"] == "active"


def test_numbers_go_on_where_the_last_run_stopped(edge_infer: Any, pictures: Path) -> None:
    runs = [
        edge_infer("--images", pictures, "--model", DIGITS, "--broker", "none", "--jsonl", "-", "-q") for _ in range(2)
    ]
    first, second = ([(line["seq"], line["seq_start"]) for line in run.lines] for run in runs)
    assert first == [(1, 1), (2, 1), (3, 1)]
    assert second == [(4, 4), (5, 4), (6, 4)]


def test_predictions_wait_for_a_broker_that_comes_late(
    edge_infer: Any, make_mosquitto: Callable[..., Any], subscriber: Callable[..., Any], pictures: Path
) -> None:
    broker = make_mosquitto()
    words = ("--images", pictures, "--model", DIGITS, "--broker", broker.url, "--device-id", "late")
    ended = edge_infer(*words)
    assert ended.status == 0
    assert "stay in the outbox" in ended.err
    broker.start()
    listener = subscriber("edge-infer/late/images0/prediction", port=broker.port)
    assert edge_infer(*words).status == 0
    predictions = values([m.payload for m in listener.wait(6)])
    assert [p["seq"] for p in predictions] == [1, 2, 3, 4, 5, 6]


def test_the_live_demo_source_answers_commands_and_stops_in_good_order(
    edge_infer: Any, mosquitto: Any, subscriber: Callable[..., Any]
) -> None:
    (edge_infer.folder / "edge.toml").write_text(f'{DEMO}[commands]\nallow = ["ping", "snapshot", "stop"]\n')
    listener = subscriber("edge-infer/porch/#")
    running = edge_infer.start(
        "--config", "edge.toml", "--model", DIGITS, "--broker", mosquitto.url, "--device-id", "porch",
        "--publish", "all",
    )  # fmt: skip
    listener.wait(3, topic="edge-infer/porch/camera0/prediction")
    say = listener._client.publish
    say("edge-infer/porch/command/ping", json.dumps({"id": "1"}), qos=1)
    (answer,) = values([m.payload for m in listener.wait(1, topic="edge-infer/porch/command/ping/result")])
    assert (answer["id"], answer["ok"]) == ("1", True)
    say("edge-infer/porch/command/snapshot", json.dumps({"id": "2", "stream": "camera0"}), qos=1)
    (picture,) = listener.wait(1, topic="edge-infer/porch/camera0/snapshot")
    assert picture.payload[:2] == b"\xff\xd8"
    say("edge-infer/porch/command/stop", json.dumps({"id": "3"}), qos=1)
    ended = edge_infer.finish(running)
    assert ended.status == 0, ended.err
    listener.wait_for(lambda ms: [m for m in ms if m.topic == "edge-infer/porch/status"][-1].payload == b"offline")


def test_a_command_that_the_broker_kept_from_before_is_not_carried_out(
    edge_infer: Any, mosquitto: Any, subscriber: Callable[..., Any]
) -> None:
    (edge_infer.folder / "edge.toml").write_text(f'{DEMO}[commands]\nallow = ["stop"]\n')
    listener = subscriber("edge-infer/porch/#")
    listener._client.publish("edge-infer/porch/command/stop", b"{}", qos=1, retain=True)
    listener.wait(1, topic="edge-infer/porch/command/stop")
    ended = edge_infer(
        "--config", "edge.toml", "--model", DIGITS, "--broker", mosquitto.url, "--device-id", "porch", "--frames", "15"
    )  # fmt: skip
    assert ended.status == 0
    assert not listener.on("edge-infer/porch/command/stop/result")


def test_a_preview_without_a_model_gives_snapshots(
    edge_infer: Any, mosquitto: Any, subscriber: Callable[..., Any]
) -> None:
    allowed = '[commands]\nallow = ["snapshot"]\n'
    (edge_infer.folder / "edge.toml").write_text(f"{DEMO}mask = [[0, 0, 640, 240]]\n{allowed}")
    listener = subscriber("edge-infer/porch/#")
    running = edge_infer.start(
        "--config", "edge.toml", "--model", "none", "--broker", mosquitto.url, "--device-id", "porch"
    )  # fmt: skip
    listener.wait_for(lambda ms: any(b'"online"' in m.payload for m in ms if m.topic.endswith("camera0/status")))
    listener._client.publish("edge-infer/porch/command/snapshot", b"{}", qos=1)
    (picture,) = listener.wait(1, topic="edge-infer/porch/camera0/snapshot")
    with Image.open(io.BytesIO(picture.payload)) as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels.shape == (480, 640)
    assert pixels[40:200, 200:].max() < 32 < pixels[280:].mean()
    ended = edge_infer.finish(running, with_signal=signal.SIGTERM)
    assert ended.status == 0, ended.err
    assert not listener.on("edge-infer/porch/camera0/prediction")


def test_home_assistant_is_told_and_untold(edge_infer: Any, mosquitto: Any, subscriber: Callable[..., Any]) -> None:
    (edge_infer.folder / "edge.toml").write_text(DEMO)
    listener = subscriber("homeassistant/#")
    words = ("--config", "edge.toml", "--model", DIGITS, "--broker", mosquitto.url, "--device-id", "porch")
    assert edge_infer(*words, "--frames", "5", "--homeassistant").status == 0
    topic = "homeassistant/device/edge_infer_porch/config"
    document = json.loads(listener.wait(1, topic=topic)[0].payload)
    assert document["cmps"]
    assert document["o"]["name"]
    assert edge_infer(*words, "--frames", "15").status == 0
    listener.wait_for(lambda ms: [m for m in ms if m.topic == topic][-1].payload == b"")


def test_statistics_have_every_key_of_the_contract(
    edge_infer: Any, mosquitto: Any, subscriber: Callable[..., Any]
) -> None:
    (edge_infer.folder / "edge.toml").write_text(f"{DEMO}[stats]\ninterval_s = 0.5\n")
    listener = subscriber("edge-infer/porch/stats")
    running = edge_infer.start(
        "--config", "edge.toml", "--model", DIGITS, "--broker", mosquitto.url, "--device-id", "porch"
    )  # fmt: skip
    stats = json.loads(listener.wait(4)[-1].payload)
    edge_infer.finish(running, with_signal=signal.SIGTERM)
    assert set(stats) >= {
        "uptime_s", "fps", "latency_ms", "cpu_percent", "memory_mb", "temperature_c", "throttled", "disk_free_mb",
        "network", "outbox", "broker", "engine", "drift",
    }  # fmt: skip
    assert stats["broker"]["connected"] is True
    assert stats["fps"]["inference"] > 1
    assert stats["memory_mb"]["rss"] > 10
    assert set(stats["latency_ms"]) == {"queue", "prepare", "wait", "invoke", "postprocess", "total"}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_the_run_cleanly(number: signal.Signals, status: int, edge_infer: Any) -> None:
    (edge_infer.folder / "edge.toml").write_text(DEMO)
    running = edge_infer.start("--config", "edge.toml", "--model", DIGITS, "--broker", "none", "--jsonl", "live.jsonl")
    live = edge_infer.folder / "live.jsonl"
    deadline_s = time.monotonic() + 20
    while not (live.exists() and live.read_text()) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    ended = edge_infer.finish(running, with_signal=number)
    assert ended.status == status, ended.err
    assert json.loads(live.read_text().splitlines()[0])["result"]


def test_a_second_daemon_of_the_same_device_is_refused(edge_infer: Any, pictures: Path) -> None:
    (edge_infer.folder / "edge.toml").write_text(DEMO)
    words = ("--config", "edge.toml", "--model", DIGITS, "--broker", "none", "--device-id", "one")
    edge_infer.start(*words, "--jsonl", "first.jsonl")
    deadline_s = time.monotonic() + 20
    while not (edge_infer.folder / "first.jsonl").exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    second = edge_infer(*words)
    assert second.status == 2
    assert "error:" in second.err


def test_frames_limit_stops_after_that_many(edge_infer: Any) -> None:
    (edge_infer.folder / "edge.toml").write_text(DEMO)
    ended = edge_infer(
        "--config", "edge.toml", "--model", DIGITS, "--broker", "none", "--frames", "5", "--jsonl", "-", "-q"
    )
    assert (ended.status, len(ended.lines)) == (0, 5)


def test_change_policy_publishes_less_than_everything(edge_infer: Any) -> None:
    (edge_infer.folder / "edge.toml").write_text(DEMO)
    ended = edge_infer(
        "--config", "edge.toml", "--model", DIGITS, "--broker", "none", "--frames", "40", "--jsonl", "-", "-q"
    )
    published = [line["seq"] for line in ended.lines if line["seq"] is not None]
    assert len(ended.lines) == 40
    assert 1 <= len(published) < 40
    assert published == list(range(1, len(published) + 1))


def test_a_picture_that_is_broken_is_skipped_and_the_status_says_so(edge_infer: Any, pictures: Path) -> None:
    (pictures / "1.png").write_bytes((pictures / "1.png").read_bytes()[:60])
    (pictures / "notes.png").write_text("no picture")
    ended = edge_infer("--images", pictures, "--model", DIGITS, "--broker", "none", "--jsonl", "-")
    assert ended.status == 1
    assert [Path(line["path"]).name for line in ended.lines] == ["0.png", "2.png"]
    assert "1.png" in ended.err


def test_batch_gives_the_same_predictions_as_run(edge_infer: Any, pictures: Path) -> None:
    run = edge_infer("--images", pictures, "--model", DIGITS, "--broker", "none", "--jsonl", "-", "-q")
    batch = edge_infer("batch", "--images", pictures, "--model", DIGITS, "-q")
    assert batch.status == 0
    for one, other in zip(run.lines, batch.lines, strict=True):
        assert [one[key] for key in ("path", "stream", "task", "model", "result")] == [
            other[key] for key in ("path", "stream", "task", "model", "result")
        ]
    table = edge_infer("batch", "--images", pictures, "--model", DIGITS, "-q", "-o", "scores.csv")
    assert table.status == 0
    rows = (edge_infer.folder / "scores.csv").read_text().splitlines()
    assert rows[0].startswith("stream,path,")
    assert len(rows) == 1 + sum(len(line["result"]) for line in run.lines)


def test_the_python_api_gives_the_same_result_as_the_command(edge_infer: Any, pictures: Path) -> None:
    run = edge_infer("--images", pictures, "--model", DIGITS, "--broker", "none", "--jsonl", "-", "-q")
    with edge_runtime.load(DIGITS) as model:
        for line in run.lines:
            assert list(model(line["path"]).result) == line["result"]
        by_array, by_image = model([np.asarray(Image.open(pictures / "0.png")), Image.open(pictures / "0.png")])
        assert list(by_array.result) == list(by_image.result)
        with pytest.raises(edge_runtime.EdgeRuntimeError, match="no such file"):
            model("nothing.png")


def test_rotation_and_masks_reach_the_model(edge_infer: Any, pictures: Path) -> None:
    words = ("--images", pictures / "0.png", "--model", DIGITS, "--broker", "none", "--jsonl", "-", "-q")
    plain, hidden = edge_infer(*words), edge_infer(*words, "--mask", "0,0,160,120")
    assert plain.lines[0]["result"][0]["label"] != hidden.lines[0]["result"][0]["label"]


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["--images", "nope.jpg", "--model", "DIGITS"], 2, "nope.jpg"),
        (["--images", "pictures", "--model", "nope.tflite"], 2, "no such model file"),
        (["--images", "pictures", "--model", "unheard_of"], 2, "unheard_of"),
        (["--images", "pictures"], 2, "edge-infer models pull mobilenet_v2"),
        ([], 2, "--camera"),
        (["--images", "pictures", "--model", "DIGITS", "--task", "guess"], 2, "task"),
        (["--images", "pictures", "--model", "DIGITS", "--labels", "two.txt"], 2, "two.txt"),
        (["--images", "pictures", "--model", "DIGITS", "--labels", "missing.txt"], 2, "missing.txt"),
        (["--images", "pictures", "--model", "DIGITS", "--publish", "often"], 2, "often"),
        (["--images", "pictures", "--model", "DIGITS", "--crop", "1,2"], 2, "--crop"),
        (["--images", "pictures", "--model", "DIGITS", "--threads", "many"], 2, "threads"),
        (["--images", "pictures", "--model", "DIGITS", "--broker", "http://x"], 2, "mqtt"),
        (["--images", "pictures", "--model", "DIGITS", "--device-id", "a/b"], 2, "a/b"),
        (["--config", "wrong.toml"], 2, "wrong.toml"),
        (["--config", "missing.toml"], 2, "missing.toml"),
        (["--config", "unknown.toml"], 2, "did you mean"),
        (["--sensor", "csv:pictures/0.png", "--model", "DIGITS"], 2, "0.png"),
        (["--sensor", "tea:leaves", "--model", "DIGITS"], 2, "tea"),
        (["--video", "missing.mp4", "--model", "DIGITS"], 2, "missing.mp4"),
        (["--camera", "/dev/video99", "--model", "DIGITS"], 1, "/dev/video99"),
        (["--images", "pictures", "--model", "two.txt"], 3, "two.txt"),
        (["--wrong-flag"], 2, "--wrong-flag"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_mistakes_end_with_one_sentence_and_the_right_status(
    words: list[str], status: int, says: str, edge_infer: Any, pictures: Path
) -> None:
    (edge_infer.folder / "two.txt").write_text("one\ntwo\n")
    (edge_infer.folder / "wrong.toml").write_text("[model\n")
    (edge_infer.folder / "unknown.toml").write_text('[model]\npaht = "x"\n')
    words = [str(DIGITS) if word == "DIGITS" else word for word in words]
    ended = edge_infer(*words, *([] if "--broker" in words or words[:1] == ["frobnicate"] else ["--broker", "none"]))
    assert ended.status == status, ended
    assert says in ended.err
    assert not ended.out


def test_a_state_directory_that_cannot_be_written_is_one_sentence(
    edge_infer: Any, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    ended = edge_infer(
        "--images",
        pictures,
        "--model",
        DIGITS,
        "--broker",
        "none",
        EDGE_INFER_STATE_DIR=str(tmp_path / "file" / "below"),
    )
    assert ended.status == 1
    assert ended.err.count("error:") == 1


def test_a_dashboard_port_in_use_is_said(edge_infer: Any, mosquitto: Any) -> None:
    (edge_infer.folder / "edge.toml").write_text(DEMO)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = edge_infer(
            "--config", "edge.toml", "--model", DIGITS, "--broker", mosquitto.url, "--dashboard", f"127.0.0.1:{port}",
            "--frames", "30",
        )  # fmt: skip
    assert ended.status == 1
    assert f"port {port} is in use" in ended.err


def test_demo_brings_its_own_broker_and_page(edge_infer: Any) -> None:
    if shutil.which("mosquitto", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("mosquitto is not installed")
    ended = edge_infer("demo", "--frames", "20", "--jsonl", "demo.jsonl")
    lines = [json.loads(line) for line in (edge_infer.folder / "demo.jsonl").read_text().splitlines()]
    assert ended.status == 0, ended.err
    assert "embedded broker (mosquitto)" in ended.err
    assert len(lines) == 20
    assert {line["stream"] for line in lines} == {"demo0"}
