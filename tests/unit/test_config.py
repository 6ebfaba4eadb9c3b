"""The configuration: every example loads, and every mistake names its place."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime import config as configuration
from edge_runtime.errors import ConfigError
from edge_runtime.validation import effective as check

EXAMPLES = sorted((Path(__file__).parents[2] / "device_configs").glob("*.toml"))


def load(text: str, tmp_path: Path, flags: Any = None, environment: Any = None) -> configuration.Config:
    file = tmp_path / "edge.toml"
    file.write_text(text)
    return configuration.load(file, flags or {}, environment or {})


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_valid(file: Path) -> None:
    config = configuration.load(file, {}, {})
    assert check(config, where=str(file))["source"]


def test_the_full_example_is_valid_with_every_line_in_use(tmp_path: Path) -> None:
    lines = (EXAMPLES[0].parent / "example.toml").read_text().splitlines()
    used = [
        line[2:] if line.startswith("# ") and " = " in line and not line.startswith("# Check") else line
        for line in lines
    ]
    (tmp_path / "password").write_text("x")
    config = load("\n".join(used), tmp_path)
    assert config.device_id == "porch"
    assert config.model.labels == "labels.txt"
    assert len(config.source) == 3


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    text = 'device_id = "file"\n[broker]\nurl = "mqtt://file"\nusername = "file"\n[model]\npath = "file.tflite"\n'
    environment = {"EDGE_INFER_BROKER": "mqtt://environment", "EDGE_INFER_MODEL": "environment.tflite"}
    config = load(text, tmp_path, {"model": {"path": "flag.tflite"}}, environment)
    assert config.device_id == "file"
    assert config.broker == {"url": "mqtt://environment", "username": "file"}
    assert config.model.path == "flag.tflite"


def test_environment_reaches_every_section(tmp_path: Path) -> None:
    environment = {
        "EDGE_INFER_MODEL_TOP_K": "3",
        "EDGE_INFER_STATS_INTERVAL_S": "2.5",
        "EDGE_INFER_HOMEASSISTANT_ENABLED": "true",
    }
    config = load("", tmp_path, environment=environment)
    assert (config.model.top_k, config.stats.interval_s, config.homeassistant.enabled) == (3, 2.5, True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[model]\npaht = 1", r"edge\.toml: model: unknown key `paht` \(did you mean `path`\?\)"),
        ("[model]\ntop_k = 'x'", r"edge\.toml: model\.top_k: expected `int"),
        ("[modle]", "unknown key `modle`"),
        ("device_id = 'a b'", "device id 'a b'"),
        ("x = ", "not valid TOML"),
        ("[commands]\nallow = ['format']", r"commands\.allow"),
    ],
)
def test_a_mistake_names_file_key_and_what_is_expected(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        load(text, tmp_path)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"type": "telescope"}, "unknown source 'telescope'"),
        ({"type": "images", "paths": ["a"], "colour": 1}, "unknown key `colour`"),
        ({"type": "images", "paths": ["a"], "rotate": 45}, "rotate"),
        ({"type": "images", "paths": ["a"], "name": "a/b"}, "source name 'a/b'"),
        ({}, "type"),
    ],
)
def test_a_wrong_source_is_refused(source: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        check(configuration.load(None, {"source": [source]}, {}), where="flags")


def test_two_sources_of_one_name_are_refused_and_others_are_numbered() -> None:
    pictures = {"type": "images", "paths": ["a"]}
    shown = check(configuration.load(None, {"source": [pictures, pictures]}, {}), where="flags")
    assert [source["name"] for source in shown["source"]] == ["images0", "images1"]
    with pytest.raises(ConfigError, match="used twice"):
        check(configuration.load(None, {"source": [pictures | {"name": "x"}] * 2}, {}), where="flags")


def test_what_is_shown_holds_no_secret(tmp_path: Path) -> None:
    text = (
        '[broker]\nurl = "mqtt://me:hunter1@host"\npassword = "hunter2"\n'
        '[[source]]\ntype = "video_stream"\nurl = "rtsp://me:hunter3@camera/1"\n'
        '[[source]]\ntype = "mqtt"\ntopic = "a"\npassword = "hunter4"\n'
    )
    assert "hunter" not in str(check(load(text, tmp_path), where="x"))


@given(st.binary(max_size=200))
def test_no_file_content_raises_anything_but_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.mktemp("config") / "edge.toml"
    file.write_bytes(content)
    with contextlib.suppress(ConfigError):
        configuration.load(file, {}, {})
