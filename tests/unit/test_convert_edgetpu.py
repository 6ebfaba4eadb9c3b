"""Google's compiler around the conversion, with a stand-in; the real one is not on any package index."""

import os
import sys
import time
from pathlib import Path

import pytest
from analysis_models import ModelBuilder

from converters.edgetpu import Compiled, compile_network, predict, read_rows
from edge_runtime.errors import EdgeRuntimeError, ModelError
from edge_runtime.model_file import EDGETPU_OPERATOR, ModelFile, parse_model

STAND_IN = Path(__file__).with_name("stand_in_edgetpu_compiler.py")


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "bin/edgetpu_compiler"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def network() -> ModelFile:
    model = ModelBuilder()
    fed = model.tensor([1, 8, 8, 4])
    sines = model.op("SIN", [model.conv(fed, 8)], [1, 8, 8, 8])
    return model.build([fed], [model.conv(sines, 8)]).model


def build(network: ModelFile, program: str, folder: Path, **how: float) -> Compiled | None:
    return compile_network(network.data, program=program, folder=folder, **how)


def test_what_falls_to_the_processor_is_named_with_its_share(network: ModelFile) -> None:
    found = predict(network, quantized=True)
    assert (found.operators, found.mapped) == (3, 1)
    assert found.left[0].reason == "SIN is not supported"
    assert found.processor_macs == pytest.approx(2 / 3)
    assert "operator 1" in found.sentence()


def test_the_compiled_model_and_its_table_are_read(
    network: ModelFile, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_STOPS_AT", "SIN")
    found = build(network, program, tmp_path)
    assert found is not None
    assert found.version == "16.0.384591198"
    assert (found.cached_bytes, found.streamed_bytes) == (5632, 0)
    assert [(row.operator, row.count, row.status) for row in found.rows] == [
        ("CONV_2D", 1, "Mapped to Edge TPU"),
        ("SIN", 1, "More than one subgraph is not supported"),
        ("CONV_2D", 1, "More than one subgraph is not supported"),
    ]
    assert parse_model(found.content, "m").operators[0].code.custom == EDGETPU_OPERATOR


def test_a_model_it_maps_nothing_of_is_none(
    network: ModelFile, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_MODE", "nothing")
    assert build(network, program, tmp_path) is None


def test_its_complaint_is_passed_on(
    network: ModelFile, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_MODE", "fail")
    with pytest.raises(ModelError, match=r"\(status 1\): Didn't find op for builtin opcode 'EXP' version '2'"):
        build(network, program, tmp_path)


def test_one_that_hangs_is_ended_with_all_it_started(
    network: ModelFile, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_MODE", "hang")
    with pytest.raises(EdgeRuntimeError, match="still busy after 3 s"):
        build(network, program, tmp_path, deadline_s=3)
    deadline_s = time.monotonic() + 10
    while sessions_with(str(tmp_path)) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not sessions_with(str(tmp_path))


def sessions_with(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text in command and int(entry.parent.name) != os.getpid():
            found.append(command)
    return found


def test_one_that_cannot_be_started_is_a_sentence(network: ModelFile, tmp_path: Path) -> None:
    (tmp_path / "edgetpu_compiler").write_bytes(b"\x7fELF for another machine")
    (tmp_path / "edgetpu_compiler").chmod(0o755)
    with pytest.raises(EdgeRuntimeError, match="cannot be started"):
        build(network, str(tmp_path / "edgetpu_compiler"), tmp_path)


def test_a_log_without_a_table_has_no_rows() -> None:
    assert read_rows("Internal compiler error. Aborting!") == ()
