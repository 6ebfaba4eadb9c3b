"""Measured against predicted invokes: what is published, kept and said, with injected predictions and clock."""

import json
import logging
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import device_configs
import edge_runtime
from edge_runtime.analysis.boards import board_profile, this_profile
from edge_runtime.analysis.expected import Expectation
from edge_runtime.analysis.profile import load_profile
from edge_runtime.errors import UsageError
from edge_runtime.speed import SETTLED, Asked, SpeedWatch
from edge_runtime.store.speeds import FILE_NAME, MOST_SPEEDS, Speed, find_speed, keep_speed, read_speeds, setup_name

EXPECTED = Expectation(profile="pi-4b-64", predicted_ms=10.0, low_ms=8.0, high_ms=14.0, plain_ms=200.0)
SETUP = setup_name(runtime="ai-edge-litert 2.3.0", threads=3, delegate="cpu")


class Run:
    """A watch with a clock that moves ten seconds for each message."""

    def __init__(self, state: Path, expected: Expectation | None = EXPECTED, *, delegate: str = "cpu") -> None:
        self.now_ns = 0
        self.asked = 0
        self.engine: Any = SimpleNamespace(
            delegate=delegate,
            delegate_reason="asked for",
            restart_reason=None,
            runtime="ai-edge-litert 2.3.0",
            threads=3,
        )
        spec: Any = SimpleNamespace(path="model.tflite", identity=SimpleNamespace(sha256="ab" * 32))
        self._answer = expected
        self.watch = SpeedWatch(spec, self.engine, state=state, ask=self._ask, monotonic_ns=lambda: self.now_ns)

    def _ask(self) -> Any:
        self.asked += 1
        return SimpleNamespace(answer=lambda: self._answer, close=lambda: None)

    def messages(self, p50: float | None, count: int = 1, **stats: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(count):
            self.now_ns += 10_000_000_000
            busy = {"cpu_percent": {"system": 40.0, "process": 30.0}, "throttled": None}
            found = self.watch.update({"latency_ms": {"invoke": {"p50": p50}}, **busy, **stats})
        return found


def test_measured_and_predicted_are_published_with_their_ratio(tmp_path: Path) -> None:
    found = Run(tmp_path).messages(12.0, 4)
    assert (found["profile"], found["predicted_ms"], found["measured_ms"], found["ratio"]) == (
        "pi-4b-64",
        10.0,
        12.0,
        1.2,
    )
    assert found["slow"] is None


def test_without_a_prediction_or_a_measurement_nothing_is_invented(tmp_path: Path) -> None:
    assert set(Run(tmp_path).messages(None).values()) == {None}
    found = Run(tmp_path, Expectation()).messages(12.0, 5)
    assert (found["measured_ms"], found["predicted_ms"], found["ratio"], found["slow"]) == (12.0, None, None, None)
    assert not (tmp_path / FILE_NAME).exists()


def test_the_prediction_is_asked_for_once_and_not_by_a_short_run(tmp_path: Path) -> None:
    short = Run(tmp_path)
    short.messages(12.0)
    assert short.asked == 0
    short.messages(12.0, 9)
    assert short.asked == 1


def test_a_delegate_is_not_compared_with_the_processor(tmp_path: Path) -> None:
    run = Run(tmp_path, delegate="edgetpu")
    assert run.messages(3.0, 9)["predicted_ms"] is None
    assert run.asked == 0


def test_the_usual_ratio_is_kept_for_the_next_run_and_rarely_written(tmp_path: Path) -> None:
    first = Run(tmp_path)
    first.messages(12.0, 9)
    kept = find_speed(tmp_path, sha256="ab" * 32, setup=SETUP)
    assert kept is not None
    assert kept.ratio == pytest.approx(1.2)
    written = (tmp_path / FILE_NAME).stat().st_mtime_ns
    first.messages(13.0, 40)
    assert (tmp_path / FILE_NAME).stat().st_mtime_ns == written, "8 % more is no news"
    second = Run(tmp_path)
    assert second.messages(12.0, 3)["usual_ratio"] == 1.2
    second.messages(9.0, 400)
    again = find_speed(tmp_path, sha256="ab" * 32, setup=SETUP)
    assert again is not None
    assert again.measured_ms < 10.0


@pytest.mark.parametrize(
    ("cause", "stats", "p50"),
    [
        ("throttling", {"throttled": {"now": ["under_voltage"], "since_boot": []}}, 30.0),
        ("xnnpack", {}, 180.0),
        ("load", {"cpu_percent": {"system": 99.0, "process": 120.0}}, 30.0),
        ("unknown", {}, 30.0),
    ],
)
def test_a_slow_device_is_warned_of_once_with_its_likely_cause(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, cause: str, stats: dict[str, Any], p50: float
) -> None:
    run = Run(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert run.messages(p50, 2 + SETTLED, **stats)["slow"] == cause
        run.messages(p50, 20, **stats)
    (warning,) = caplog.records
    assert "14.0 at most were expected" in warning.getMessage()


def test_one_slow_interval_is_not_worth_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(tmp_path)
    for _ in range(10):
        run.messages(12.0, SETTLED)
        assert run.messages(50.0, SETTLED - 1)["slow"] is None
    assert not caplog.records


def test_slower_than_usual_is_noticed_within_the_profiles_interval(tmp_path: Path) -> None:
    keep_speed(tmp_path, _speed("ab" * 32, measured_ms=9.0))
    assert Run(tmp_path).messages(12.5, 3 + SETTLED)["slow"] == "unknown"


def test_a_throttled_time_is_not_kept_as_the_usual_one(tmp_path: Path) -> None:
    Run(tmp_path).messages(30.0, 2 + SETTLED, throttled={"now": ["throttled"], "since_boot": []})
    Run(tmp_path).messages(30.0, 20, cpu_percent={"system": 99.0, "process": 90.0})
    kept = find_speed(tmp_path, sha256="ab" * 32, setup=SETUP)
    assert kept is None


def test_an_engine_that_fell_back_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(tmp_path, delegate="edgetpu")
    run.messages(3.0, 5)
    run.engine.delegate, run.engine.restart_reason = "cpu", "the device was lost"
    assert run.messages(90.0, SETTLED)["slow"] == "delegate"
    assert "the device was lost" in caplog.text


def wait_for(asked: Asked) -> Expectation:
    deadline_s = time.monotonic() + 60
    while (answer := asked.answer()) is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    return answer


def test_the_prediction_comes_from_a_child(tmp_path: Path) -> None:
    pi_5 = (Path(device_configs.__file__).parent / "profiles/pi-5.toml").read_text("utf-8")
    (tmp_path / "profile.toml").write_text(pi_5)
    (model,) = (Path(edge_runtime.__file__).parent / "demo").glob("*.tflite")
    run = Run(tmp_path)
    run.watch._spec = SimpleNamespace(path=str(model))  # type: ignore[assignment]
    found = wait_for(Asked(run.watch._command()))
    assert found.profile == "this"
    assert found.predicted_ms is not None
    assert found.high_ms is not None
    assert 0 < found.predicted_ms < found.high_ms


def test_a_child_that_fails_leaves_no_prediction(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert wait_for(Asked([sys.executable, "-c", "import sys; sys.exit('no such model')"])) == Expectation()
    assert "no such model" in caplog.text
    assert wait_for(Asked([sys.executable, "-c", "print('{')"])) == Expectation()


def _speed(sha256: str, *, measured_ms: float = 12.0) -> Speed:
    return Speed(
        sha256=sha256,
        setup=SETUP,
        profile="pi-4b-64",
        predicted_ms=10.0,
        measured_ms=measured_ms,
        at="2026-11-25T12:00:00.000Z",
    )


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"speeds": [{"sha256": 1}]}', b"\xff\xfe"])
def test_a_damaged_file_is_left_out_and_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert read_speeds(tmp_path) == []
    keep_speed(tmp_path, _speed("cd" * 32))
    assert [one.sha256 for one in read_speeds(tmp_path)] == ["cd" * 32]


def test_the_file_keeps_a_bounded_number_of_models(tmp_path: Path) -> None:
    for number in range(MOST_SPEEDS + 3):
        keep_speed(tmp_path, _speed(str(number)))
    names = [one.sha256 for one in read_speeds(tmp_path)]
    assert (names[0], names[-1], len(names)) == ("3", str(MOST_SPEEDS + 2), MOST_SPEEDS)
    assert json.loads((tmp_path / FILE_NAME).read_text())["schema"] == 1


@pytest.mark.parametrize(
    ("model", "wide", "expected"),
    [
        ("Raspberry Pi Zero 2 W Rev 1.0\0", True, "pi-zero-2-w"),
        ("Raspberry Pi 3 Model B Plus Rev 1.3\0", True, "pi-3b-plus"),
        ("Raspberry Pi 4 Model B Rev 1.4\0", True, "pi-4b-64"),
        ("Raspberry Pi 4 Model B Rev 1.4\0", False, "pi-4b-32"),
        ("Raspberry Pi 5 Model B Rev 1.0\0", True, "pi-5"),
        ("Freescale i.MX8MQ Phanbell\0", True, "coral-dev-board"),
        ("Some other board\0", True, None),
    ],
)
def test_a_board_is_known_by_its_device_tree(tmp_path: Path, model: str, wide: bool, expected: str | None) -> None:
    place = tmp_path / "proc/device-tree/model"
    place.parent.mkdir(parents=True)
    place.write_text(model)
    assert board_profile(tmp_path, machine=lambda: "aarch64", wide=wide) == expected
    assert expected is None or load_profile(expected).title


def test_a_pc_has_the_x86_profile_and_an_unknown_machine_none(tmp_path: Path) -> None:
    assert board_profile(tmp_path, machine=lambda: "x86_64") == "x86-64"
    assert board_profile(tmp_path, machine=lambda: "riscv64") is None


def test_a_damaged_profile_of_its_own_is_an_error_and_not_another_board(tmp_path: Path) -> None:
    (tmp_path / "profile.toml").write_text("title = ")
    with pytest.raises(UsageError, match=r"profile\.toml is not TOML"):
        this_profile(tmp_path)
