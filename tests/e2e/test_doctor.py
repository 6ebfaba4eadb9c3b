"""``edge-infer doctor`` on this very machine."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from real_broker import eventually

pytestmark = pytest.mark.e2e

NAMES = [
    "system", "interpreter", "numpy", "jpeg", "model", "pi-camera", "edge-tpu", "broker", "clock", "power",
    "temperature", "memory", "disk", "state", "run", "video", "dashboard",
]  # fmt: skip


def by_name(ended: Any) -> dict[str, dict[str, Any]]:
    document = json.loads(ended.out)
    assert document["schema"] == 1
    assert document["ok"] == (ended.status == 0)
    return {check["name"]: check for check in document["checks"]}


def config(folder: Path, text: str) -> Path:
    path = folder / "edge.toml"
    path.write_text(text)
    return path


@pytest.mark.runtime
def test_every_part_has_a_check_of_a_known_form(edge_infer: Any, mosquitto: Any) -> None:
    checks = by_name(edge_infer("doctor", "--json", "--broker", mosquitto.url))
    assert [name for name in checks if not name.startswith("camera")] == NAMES
    for check in checks.values():
        assert set(check) == {"name", "status", "message", "do"}
        assert check["status"] in {"ok", "warn", "fail", "none"}
        assert "\n" not in check["message"]
    for name in ("interpreter", "jpeg", "broker", "state"):
        assert checks[name]["status"] == "ok", checks[name]


def test_nothing_is_left_behind(edge_infer: Any, tmp_path: Path) -> None:
    edge_infer("doctor", "--broker", "none")
    assert not (tmp_path / "state").exists()


def test_a_device_that_lacks_nothing_it_needs_ends_with_0_and_is_readable(
    edge_infer: Any, mosquitto: Any, tmp_path: Path
) -> None:
    file = config(tmp_path, f'[broker]\nurl = "{mosquitto.url}"\n[[source]]\ntype = "images"\npaths = ["."]\n')
    ended = edge_infer("doctor", "--config", file)
    assert ended.status == 0, ended.out
    lines = ended.out.splitlines()
    assert lines[0].startswith("ok    system        ")
    assert "\x1b" not in ended.out
    assert any(line.strip().startswith("→ ") for line in lines)


def test_the_broker_of_the_configuration_is_asked_and_its_absence_fails(
    edge_infer: Any, mosquitto: Any, tmp_path: Path
) -> None:
    file = config(tmp_path, f'[broker]\nurl = "{mosquitto.url}"\n')
    assert by_name(edge_infer("doctor", "--json", "--config", file))["broker"]["status"] == "ok"
    mosquitto.stop()
    ended = edge_infer("doctor", "--json", "--config", file)
    assert ended.status == 1
    assert by_name(ended)["broker"]["status"] == "fail"


def test_a_camera_that_is_configured_and_missing_fails(edge_infer: Any, tmp_path: Path) -> None:
    if list(Path("/dev").glob("video*")):
        pytest.skip("this machine has cameras")
    file = config(tmp_path, '[broker]\nurl = "none"\n[[source]]\ntype = "camera"\n')
    assert by_name(edge_infer("doctor", "--json", "--config", file))["camera"]["status"] == "fail"


@pytest.mark.runtime
def test_an_edge_tpu_model_is_tried_on_the_device(reference: Path, fake_edgetpu: Path, edge_infer: Any) -> None:
    model = reference / "models/edgetpu/mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    words = ("doctor", "--json", "--broker", "none", "--model", model)
    works = by_name(edge_infer(*words, LD_LIBRARY_PATH=str(fake_edgetpu.parent)))["edge-tpu"]
    assert works["status"] == "ok"
    assert "runs the model" in works["message"]
    crashes = edge_infer(*words, LD_LIBRARY_PATH=str(fake_edgetpu.parent), FAKE_EDGETPU="segfault")
    assert crashes.status == 1
    assert "SIGSEGV" in by_name(crashes)["edge-tpu"]["message"]


def test_a_running_daemon_is_seen(edge_infer: Any, mosquitto: Any, subscriber: Any, tmp_path: Path) -> None:
    listener = subscriber("edge-infer/porch/status")
    process = edge_infer.start(
        "--sensor", "mqtt:somewhere", "--model", "none", "--broker", mosquitto.url, "--device-id", "porch"
    )
    listener.wait(1)
    state = by_name(edge_infer("doctor", "--json", "--broker", mosquitto.url, "--device-id", "porch"))["state"]
    assert f"edge-infer runs as process {process.pid}" in state["message"]
    assert listener.on("edge-infer/porch/status") == [b"online"]


def test_a_wrong_configuration_is_status_2(edge_infer: Any, tmp_path: Path) -> None:
    ended = edge_infer("doctor", "--config", config(tmp_path, "nonsense = 1\n"))
    assert ended.status == 2
    assert "unknown key" in ended.err


def test_the_daemon_that_runs_is_explained_by_what_it_wrote(edge_infer: Any) -> None:
    path = config(edge_infer.folder, '[[source]]\ntype = "demo"\nname = "door"\nfps = 10.0\n')
    digits = Path(__file__).parents[2] / "edge_runtime/demo/digits.tflite"
    running = edge_infer.start("--config", path, "--model", digits, "--broker", "none", "--device-id", "porch")
    written = edge_infer.folder / "state/edge-infer/porch/health.json"

    def says(key: str) -> Any:
        return written.exists() and json.loads(written.read_text())[key]

    eventually(lambda: (says("streams") or {}).get("door") == "online", what="the state of the stream", timeout_s=40)
    path.write_text("[[source]]\ntype = ")
    eventually(lambda: says("config_error"), what="the refused configuration", timeout_s=40)
    checks = by_name(edge_infer("doctor", "--json", "--broker", "none", "--device-id", "porch"))
    assert checks["run"]["status"] == "ok"
    assert f"process {running.pid}" in checks["run"]["message"]
    assert checks["run-config"]["status"] == "fail"
    assert "not valid TOML" in checks["run-config"]["message"]
    assert checks["run-engine"]["status"] == "ok"
    assert edge_infer.finish(running, with_signal=signal.SIGTERM).status == 0
