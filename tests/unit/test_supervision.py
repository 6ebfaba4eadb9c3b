"""What counts as progress, and what the service manager is told."""

import socket
import threading
from pathlib import Path

import pytest

from edge_runtime.stopping import Stop
from edge_runtime.supervision import health
from edge_runtime.supervision.health import HealthFile
from edge_runtime.supervision.memory import MemoryWatch, default_limit_mb
from edge_runtime.supervision.notify import Notifier
from edge_runtime.supervision.wall_clock import ClockWatch
from edge_runtime.supervision.watchdog import PHASE_S, WAITING_S, Watchdog
from edge_runtime.supervision.watched_file import SETTLED_S, WatchedFile
from edge_runtime.workers import RunCounters, StreamCounters

SECOND = 1_000_000_000


class Told:
    """A notifier that keeps what it was told."""

    def __init__(self, watchdog_s: float | None = 10.0) -> None:
        self.watchdog_s = watchdog_s
        self.calls: list[str] = []
        self.statuses: list[str] = []

    def count(self, name: str) -> int:
        return self.calls.count(name)

    def alive(self) -> None:
        self.calls.append("alive")

    def ready(self, status: str) -> None:
        self.calls.append("ready")
        self.statuses.append(status)

    def status(self, status: str) -> None:
        self.statuses.append(status)

    def extend(self, seconds: float) -> None:
        self.calls.append("extend")


class Bench:
    """A watchdog over a run, and a clock; the workers come round when told to."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * SECOND
        self.bus_seen_ns = self.now_ns
        self.told = Told()
        self.counters = RunCounters(streams={"a": StreamCounters(), "b": StreamCounters()})
        self.watchdog = Watchdog(self.told, clock=lambda: self.now_ns)  # type: ignore[arg-type]

    def watch(self) -> None:
        self.watchdog.watch(self.counters, describe=lambda: "runs", bus_seen_ns=lambda: self.bus_seen_ns)

    def go(
        self, seconds: float, *, alive: str = "capture a,capture b,prepare 0,inference,bus", frames: int = 1
    ) -> None:
        """Let time pass, second by second; ``frames`` are offered and inferred in each while inference is alive."""
        for _ in range(int(seconds)):
            self.now_ns += SECOND
            for name in alive.split(","):
                if name == "bus":
                    self.bus_seen_ns = self.now_ns
                elif name:
                    self.counters.beats[name] = self.now_ns
            self.counters.streams["a"].offered += frames
            self.counters.inferred += frames
            self.watchdog.tick()


def test_a_run_is_ready_with_its_first_prediction_and_petted_while_all_come_round() -> None:
    bench = Bench()
    bench.watch()
    bench.go(3, frames=0)
    assert bench.told.count("ready") == 0
    bench.go(60)
    assert bench.told.count("ready") == 1
    assert bench.told.count("alive") == 63


def test_a_start_that_waits_for_its_cameras_is_done_after_a_while() -> None:
    bench = Bench()
    bench.watch()
    bench.go(WAITING_S + 2, frames=0)
    assert bench.told.count("ready") == 1


@pytest.mark.parametrize("stuck", ["prepare 0", "inference", "bus"])
def test_one_worker_that_does_not_come_back_ends_the_petting(stuck: str) -> None:
    bench = Bench()
    bench.watch()
    bench.go(10)
    alive = ",".join({"capture a", "prepare 0", "inference", "bus"} - {stuck})
    bench.go(7, alive=alive)
    pets = bench.told.count("alive")
    bench.go(30, alive=alive)
    assert bench.told.count("alive") == pets
    assert bench.told.statuses[-1].startswith("stuck: ")
    assert bench.watchdog.stuck == ("broker" if stuck == "bus" else stuck)


def test_one_stuck_camera_costs_nothing_and_all_of_them_do() -> None:
    bench = Bench()
    bench.watch()
    bench.go(2)
    bench.go(60, alive="capture a,prepare 0,inference,bus")
    assert bench.watchdog.stuck is None
    bench.go(10, alive="prepare 0,inference,bus", frames=0)
    assert bench.watchdog.stuck == "capture a, capture b"


def test_workers_that_come_round_while_nothing_comes_out_are_no_progress() -> None:
    bench = Bench()
    bench.watch()
    bench.go(5)
    for _ in range(10):
        bench.go(1, frames=0)
        bench.counters.streams["a"].offered += 30
    assert bench.watchdog.stuck == "frames come in and nothing comes out"
    bench.counters.engine_failures += 1  # a retry that fails is an answer
    bench.go(1)
    assert bench.watchdog.stuck is None


def test_a_worker_that_waits_out_a_back_off_is_not_stuck() -> None:
    bench = Bench()
    bench.watch()
    bench.go(2)
    for name in ("capture a", "capture b"):
        bench.counters.beats[name] = bench.now_ns + 30 * SECOND
    bench.go(34, alive="prepare 0,inference,bus", frames=0)
    assert bench.watchdog.stuck is None


def test_what_is_no_run_may_take_a_while_and_not_for_ever() -> None:
    bench = Bench()
    bench.watchdog.between_runs("loading")
    bench.now_ns += int((PHASE_S - 1) * SECOND)
    bench.watchdog.tick()
    assert bench.told.count("alive") == 1
    bench.now_ns += 2 * SECOND
    bench.watchdog.tick()
    assert bench.told.count("alive") == 1


def test_a_file_has_changed_once_it_has_been_the_same_for_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text("a = 1")
    watched = WatchedFile(path)
    assert not watched.has_changed(0.0)
    path.write_text("a = 1\nb")
    assert not watched.has_changed(1.0)
    path.write_text("a = 1\nb = 2")  # still being written
    assert not watched.has_changed(1.5)
    assert not watched.has_changed(1.5 + SETTLED_S / 2)
    assert watched.has_changed(1.6 + SETTLED_S)
    assert not watched.has_changed(9.0)
    path.unlink()
    assert not watched.has_changed(10.0)
    path.write_text("a = 1\nb = 3")  # an editor that deletes and writes anew
    assert not watched.has_changed(10.5)
    assert watched.has_changed(12.0)


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"NOTIFY_SOCKET": "/nowhere/notify"}])
def test_without_a_listener_nothing_is_raised(environment: dict[str, str]) -> None:
    notifier = Notifier(environment)
    notifier.ready("up")
    notifier.alive()


def test_the_watchdog_is_for_the_process_that_it_names(tmp_path: Path) -> None:
    address = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"}
    assert Notifier(address).watchdog_s == 30.0
    assert Notifier(address | {"WATCHDOG_PID": "1"}).watchdog_s is None
    assert Notifier({"WATCHDOG_USEC": "30000000"}).watchdog_s is None


def test_a_service_manager_that_reads_nothing_blocks_nobody(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        for _ in range(2000):
            notifier.alive()


def test_what_is_waited_for_shares_what_is_left_of_the_time() -> None:
    stop, never = Stop(), threading.Event()
    thread = threading.Thread(target=never.wait, daemon=True)
    thread.start()
    assert stop.patience_s(5.0) == 5.0
    stop.hurry(0.3)
    assert stop.is_set()
    assert stop.patience_s(5.0, keep_s=0.1) <= 0.2
    assert not stop.join(thread, 60.0, keep_s=0.1)
    assert not stop.join(thread, 60.0)
    assert stop.patience_s(5.0) == 0.0
    never.set()
    thread.join()
    assert stop.join(thread, 60.0)


class Memory:
    """A memory watch over a process that holds what is said."""

    def __init__(self) -> None:
        self.now_s, self.held_mb = 0.0, 80.0
        self.told: list[str] = []
        self.watch = MemoryWatch(
            on_exceeded=self.told.append, resident_mb=lambda: self.held_mb, clock=lambda: self.now_s
        )
        self.watch.limit_mb = 200.0

    def go(self, seconds: float, *, grows_mb_per_h: float = 0.0) -> None:
        for _ in range(int(seconds)):
            self.now_s += 1.0
            self.held_mb += grows_mb_per_h / 3600
            self.watch.tick()


def test_a_steady_process_has_no_slope_and_one_that_grows_has_its_own() -> None:
    memory = Memory()
    memory.go(200)
    assert memory.watch.slope_mb_per_h is None
    memory.go(1800)
    assert memory.watch.slope_mb_per_h == pytest.approx(0.0, abs=0.01)
    memory.go(3700, grows_mb_per_h=12.0)
    assert memory.watch.stats()["slope_per_h"] == pytest.approx(12.0, abs=0.1)
    assert not memory.told


def test_a_process_above_its_limit_is_told_of_once_and_a_moment_above_it_is_nothing() -> None:
    memory = Memory()
    memory.go(100)
    memory.held_mb = 300.0
    memory.go(8)
    memory.held_mb = 80.0
    memory.go(100)
    assert not memory.told
    memory.held_mb = 300.0
    memory.go(100)
    (sentence,) = memory.told
    assert "300 MiB" in sentence
    assert "200 MiB" in sentence


def test_a_control_group_lowers_the_limit(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/system.slice/edge-infer.service\n")
    group = tmp_path / "sys/fs/cgroup/system.slice/edge-infer.service"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    unlimited = default_limit_mb(tmp_path)
    (group / "memory.max").write_text(f"{400 * 1024 * 1024}\n")
    assert default_limit_mb(tmp_path) == min(unlimited, 280.0)


def test_a_clock_that_is_set_is_told_by_how_much_and_drift_is_not() -> None:
    wall, monotonic, right = [1_000.0], [50.0], [False]
    watch = ClockWatch(
        wall_ns=lambda: int(wall[0] * 1e9), monotonic_ns=lambda: int(monotonic[0] * 1e9), is_right=lambda: right[0]
    )
    for _ in range(100):  # slewed by 500 parts per million
        wall[0] += 1.0005
        monotonic[0] += 1.0
        watch.tick()
    assert watch.state() == {"synchronised": False, "steps": 0, "stepped_at": None, "step_s": None}
    wall[0] += 1.7e9
    right[0] = True
    watch.tick()
    watch.tick()
    state = watch.state()
    assert (state["synchronised"], state["steps"], state["step_s"]) == (True, 1, 1.7e9)
    wall[0] -= 3.0
    watch.tick()
    assert watch.state()["steps"] == 2
    assert watch.state()["step_s"] == -3.0


def test_the_health_file_is_written_when_it_says_something_new(tmp_path: Path) -> None:
    found = {"config_error": None}
    file = HealthFile(tmp_path, lambda: dict(found))
    file.tick()
    first = health.read(tmp_path)
    assert first is not None
    assert first["config_error"] is None
    file.tick()
    assert health.read(tmp_path) == first
    assert (tmp_path / health.FILE_NAME).stat().st_mode & 0o077 == 0
    (tmp_path / health.FILE_NAME).write_text("half a docu")
    assert health.read(tmp_path) is None
