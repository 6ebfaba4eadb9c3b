"""The doctor's look at the broker, the state directory and the model."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.config import ModelSection
from edge_runtime.doctor import surroundings
from edge_runtime.store.models import ModelStore
from edge_runtime.store.state import StateDir
from edge_runtime.telemetry.resources import Resources

DIGITS = Path(__file__).parents[2] / "edge_runtime" / "demo" / "digits.tflite"


def broker(**section: Any) -> Any:
    return surroundings.broker(section, device="test")


@pytest.fixture
def silent() -> Iterator[str]:
    """Something that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"mqtt://127.0.0.1:{server.getsockname()[1]}"


def test_a_broker_that_answers_is_good_and_a_running_daemon_stays_connected(mosquitto: Any) -> None:
    found = broker(url=mosquitto.url)
    assert found.status == "ok", found
    assert "edge-infer-test-doctor" in mosquitto.log
    assert "as edge-infer-test (" not in mosquitto.log


def test_a_refused_login_is_told(make_mosquitto: Callable[..., Any], tmp_path: Path) -> None:
    closed = make_mosquitto(config="allow_anonymous false")
    closed.start()
    found = broker(url=closed.url)
    assert found.status == "fail"
    assert "refuses a client without user and password" in found.message


def test_a_broker_that_was_named_and_is_not_there_fails_and_the_usual_one_warns(unused_port: int) -> None:
    named = broker(url=f"mqtt://127.0.0.1:{unused_port}")
    assert named.status == "fail"
    assert "mosquitto" in str(named.do)
    endpoint = surroundings.BrokerConfig(url=f"mqtt://127.0.0.1:{unused_port}").endpoint()
    assert surroundings._away(endpoint, "no broker listens at x", configured=False).status == "warn"


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_what_accepts_and_never_answers_is_told(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "ANSWER_S", 0.3)
    found = broker(url=silent)
    assert found.status == "fail"
    assert "does not answer: is it an MQTT broker?" in found.message


def test_what_hangs_up_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            server.accept()[0].close()

        peer = threading.Thread(target=hang_up)
        peer.start()
        found = broker(url=f"mqtt://127.0.0.1:{server.getsockname()[1]}")
        peer.join()
    assert found.status == "fail"


@pytest.mark.parametrize("url", ["http://x", "mqtt://", "mqtt://host:99999"])
def test_a_wrong_address_fails_in_one_sentence(url: str) -> None:
    found = broker(url=url)
    assert found.status == "fail"
    assert "\n" not in found.message


def test_no_broker_and_an_embedded_one_need_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    assert broker(url="none").status == "none"
    monkeypatch.setattr(surroundings.shutil, "which", lambda *_, **__: "/usr/sbin/mosquitto")
    assert broker(url="embedded").status == "ok"
    monkeypatch.setattr(surroundings.shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(surroundings.importlib.util, "find_spec", lambda _: None)
    assert (broker(url="embedded").status, broker(url="embedded").do) == ("fail", "sudo apt install mosquitto")
    monkeypatch.setattr(surroundings.importlib.util, "find_spec", lambda _: "amqtt")
    assert broker(url="embedded").status == "warn"


def test_a_state_directory_is_looked_at_and_not_made(tmp_path: Path) -> None:
    found = surroundings.state(tmp_path / "edge-infer/porch")
    assert found.status == "ok"
    assert "can be made; edge-infer does not run" in found.message
    assert list(tmp_path.iterdir()) == []


def test_the_process_that_holds_it_is_named(tmp_path: Path) -> None:
    with StateDir(tmp_path / "porch", "porch"):
        found = surroundings.state(tmp_path / "porch")
    assert found.message.endswith(f"is in use: edge-infer runs as process {os.getpid()}")
    assert "edge-infer does not run" in surroundings.state(tmp_path / "porch").message


def test_locks_of_others_do_not_count(tmp_path: Path) -> None:
    lock = tmp_path / "state/lock"
    lock.parent.mkdir()
    lock.write_text("77\n")
    locks = tmp_path / "proc/locks"
    locks.parent.mkdir()
    locks.write_text(
        f"1: POSIX  ADVISORY  WRITE 9 fe:00:{lock.stat().st_ino} 0 EOF\n2: FLOCK  ADVISORY  WRITE 8 fe:00:1 0 EOF\n"
    )
    assert "does not run" in surroundings.state(lock.parent, root=tmp_path).message
    locks.write_text(f"2: FLOCK  ADVISORY  WRITE 8 fe:00:{lock.stat().st_ino} 0 EOF\n2: -> FLOCK\n")
    assert "runs as process 77" in surroundings.state(lock.parent, root=tmp_path).message


def test_a_state_directory_that_cannot_be_used_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    assert "is not a directory" in surroundings.state(tmp_path / "file/porch").message
    monkeypatch.setattr(surroundings.os, "access", lambda *_: False)
    found = surroundings.state(tmp_path)
    assert (found.status, found.do) == ("fail", f"sudo chown -R $USER {tmp_path}")


@pytest.mark.parametrize(("blocks", "status"), [(10**6, "ok"), (20_000, "warn"), (2_000, "fail")])
def test_a_full_disk_warns_and_then_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, status: str
) -> None:
    usage = type("Usage", (), {"f_bavail": blocks, "f_frsize": 4096})
    monkeypatch.setattr("edge_runtime.telemetry.resources.os.statvfs", lambda _: usage)
    assert surroundings.disk(Resources(disk=tmp_path), tmp_path).status == status


def look(path: str | None, folder: Path) -> Any:
    return surroundings.model(ModelSection(path=path), ModelStore(folder))


def test_a_model_file_is_read(tmp_path: Path) -> None:
    found, spec = look(str(DIGITS), tmp_path)
    assert found.status == "ok"
    assert spec is not None
    width, height = spec.input.size
    assert found.message == f"{spec.identity.name}: classify, {width}x{height} pictures, {len(spec.labels)} labels"


def test_models_that_are_missing_or_broken_fail(tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"no model")
    for path in ("/nowhere.tflite", str(tmp_path / "broken.tflite")):
        found, spec = look(path, tmp_path)
        assert found.status == "fail"
        assert spec is None


def test_a_model_that_is_not_here_yet_is_not_fetched(tmp_path: Path) -> None:
    assert look(None, tmp_path)[0].do == "edge-infer models pull mobilenet_v2"
    assert look("movenet", tmp_path)[0].do == "edge-infer models pull movenet"
    assert look("none", tmp_path)[0].status == "none"
    assert list(tmp_path.iterdir()) == []
