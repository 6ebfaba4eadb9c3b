"""What every plugin in the registry must keep; a new one is under test as soon as it is registered."""

import inspect
from collections.abc import Callable
from typing import Any, get_args

import msgspec
import pytest

from edge_runtime import registry
from edge_runtime.errors import ConfigError, EdgeRuntimeError
from edge_runtime.types import Task

SOURCES = sorted(registry.BUILT_IN["sources"])
OPENABLE = ["csv", "demo", "images", "video", "wav"]
MINIMAL = {
    "csv": {"path": "x"},
    "images": {"paths": ("x",)},
    "mqtt": {"topic": "x"},
    "video": {"url": "x"},
    "video_stream": {"url": "rtsp://x/"},
    "wav": {"path": "x"},
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_has_typed_settings_that_refuse_unknown_keys(name: str) -> None:
    config = registry.plugin("sources", name).Config
    assert issubclass(config, msgspec.Struct)
    assert config.__struct_config__.frozen
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**MINIMAL.get(name, {}), "no_such_key": 1}, config)


@pytest.mark.parametrize("name", SOURCES)
def test_constructing_a_source_touches_nothing_and_closing_it_unopened_is_harmless(name: str) -> None:
    plugin = registry.plugin("sources", name)
    source = plugin(msgspec.convert(MINIMAL.get(name, {}), plugin.Config), stream="x0", wants=None)
    assert isinstance(source.live, bool)
    assert source.stall_after_s is None or source.stall_after_s > 0
    assert source.describe()["type"]
    source.close()
    source.close()


@pytest.mark.parametrize("name", OPENABLE)
def test_frames_are_numbered_stamped_and_named(name: str, openable: Callable[[str], Any]) -> None:
    settings, wants = openable(name)
    plugin = registry.plugin("sources", name)
    source = plugin(msgspec.convert(settings, plugin.Config), stream="x0", wants=wants)
    source.open()
    try:
        frames = []
        while len(frames) < 3 and (frame := source.read(5.0)) is not None:
            frames.append(frame)
    finally:
        source.close()
    assert len(frames) >= 2
    assert {frame.stream for frame in frames} == {"x0"}
    assert [frame.sequence for frame in frames] == sorted({frame.sequence for frame in frames})
    assert all(frame.captured_ns <= frame.arrived_ns for frame in frames)
    assert [frame.arrived_ns for frame in frames] == sorted(frame.arrived_ns for frame in frames)


@pytest.mark.parametrize("name", [name for name in OPENABLE if name != "demo"])
def test_a_file_source_ends_with_none_and_can_be_opened_again(name: str, openable: Callable[[str], Any]) -> None:
    settings, wants = openable(name)
    plugin = registry.plugin("sources", name)
    source = plugin(msgspec.convert(settings, plugin.Config), stream="x0", wants=wants)
    counts = []
    for _ in range(2):
        source.open()
        frames = 0
        while source.read(5.0) is not None:
            frames += 1
        source.close()
        counts.append(frames)
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("name", ["csv", "images", "video", "wav"])
def test_a_missing_file_is_the_users_mistake(name: str) -> None:
    plugin = registry.plugin("sources", name)
    source = plugin(msgspec.convert(MINIMAL[name], plugin.Config), stream="x0", wants=None)
    with pytest.raises(EdgeRuntimeError) as raised:
        source.open()
    source.close()
    assert raised.value.exit_status == 2
    assert "\n" not in str(raised.value)


def test_every_task_has_a_postprocessor() -> None:
    assert set(registry.BUILT_IN["postprocess"]) == set(get_args(Task))


@pytest.mark.parametrize("kind", sorted(registry.BUILT_IN))
def test_every_registered_name_can_be_imported_and_is_documented(kind: str) -> None:
    for name in registry.BUILT_IN[kind]:
        plugin = registry.plugin(kind, name)
        assert inspect.isclass(plugin)
        assert inspect.getdoc(plugin)


@pytest.mark.parametrize("kind", sorted(registry.BUILT_IN))
def test_an_unknown_name_is_answered_with_the_known_ones(kind: str) -> None:
    with pytest.raises(ConfigError, match=min(registry.BUILT_IN[kind])):
        registry.plugin(kind, "telescope")
