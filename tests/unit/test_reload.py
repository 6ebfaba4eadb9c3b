"""Reading the configuration again: when, what is refused, and that no change is lost."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from real_broker import eventually

from edge_runtime.assemble import plan_streams
from edge_runtime.config import Origin
from edge_runtime.errors import ConfigError
from edge_runtime.reload import Current, Plan, Reload
from edge_runtime.stopping import Stop
from edge_runtime.supervision import watched_file
from edge_runtime.supervision.notify import Notifier

DEMO = 'device_id = "porch"\n[model]\npath = "none"\n[[source]]\ntype = "demo"\nname = "door"\n'


class Bench:
    """A run that goes on, without threads of its own, and what reloads its configuration."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text(DEMO)
        self.origin = Origin(path, {})
        self.reload = Reload(self.origin, device="porch", state=path.parent, notifier=Notifier({}))
        self.refused: list[str | None] = []
        self.stop = Stop()
        self.attach()

    def attach(self) -> None:
        config = self.origin.load()
        streams = plan_streams(config.source, where="test")
        self.stop = Stop()
        self.reload.attach(Current(Plan(config), streams, None, self.stop, self.refused.append))

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def tick_until(self, condition: Callable[[], Any], *, what: str) -> None:
        def ticked() -> Any:
            self.reload.tick()
            time.sleep(0.01)
            return condition()

        eventually(ticked, what=what)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(watched_file, "SETTLED_S", 0.05)
    return Bench(tmp_path / "edge.toml")


def test_a_changed_file_ends_the_run_and_gives_the_next_one_its_plan(bench: Bench) -> None:
    bench.write(DEMO + "[publish]\npolicy = 'all'\n")
    bench.tick_until(bench.stop.is_set, what="the end of the run")
    plan = bench.reload.take()
    assert plan is not None
    assert plan.config.publish.policy == "all"
    assert plan.streams is not None, "the same sources need not be looked for again"
    assert bench.reload.take() is None


def test_a_comment_changes_nothing_and_a_signal_reads_all_the_same(bench: Bench) -> None:
    bench.write(DEMO + "# a comment\n")
    bench.tick_until(lambda: bench.refused == [None], what="the reading")
    assert not bench.stop.is_set()
    bench.reload.request()
    bench.tick_until(bench.stop.is_set, what="the end of the run")


def test_what_changes_while_one_run_gives_way_to_another_is_read_for_that(bench: Bench) -> None:
    bench.reload.detach()
    bench.write(DEMO + "[publish]\npolicy = 'all'\n")
    for _ in range(30):  # noticed meanwhile
        bench.reload.tick()
        time.sleep(0.01)
    bench.path.write_text(DEMO)
    config = Origin(bench.path, {}).load()
    bench.write(DEMO + "[publish]\npolicy = 'all'\n")
    streams = plan_streams(config.source, where="test")
    bench.reload.attach(Current(Plan(config), streams, None, bench.stop, bench.refused.append))
    bench.tick_until(bench.stop.is_set, what="the end of the run")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (DEMO.replace("porch", "yard"), "device_id cannot change"),
        (DEMO + "[broker]\npassword = { file = '/nowhere/secret' }\nusername = 'me'\n", "/nowhere/secret"),
        (DEMO + "[broker]\nurl = 'mqtts://x'\nca_file = '/nowhere/ca'\n", "/nowhere/ca"),
        ("device_id = 'porch'\n", "name a source"),
        (DEMO + "mask_file = 'gone.png'\n", "gone.png: no such file"),
        (DEMO.replace('"none"', '"gone.tflite"'), "gone.tflite: no such model file"),
    ],
)
def test_what_a_run_would_stumble_over_is_refused_before(bench: Bench, text: str, words: str) -> None:
    bench.write(text)
    with pytest.raises(ConfigError, match=words):
        bench.reload.now()
    assert not bench.stop.is_set()
    assert bench.reload.take() is None
    assert words in str(bench.refused[-1])


def test_a_restart_begins_everything_anew(bench: Bench) -> None:
    bench.reload.now()
    plan = bench.reload.take()
    assert plan is not None
    assert plan.anew
    assert bench.stop.hurried
