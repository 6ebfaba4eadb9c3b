"""Metadata goes into a model and the network stays as it was."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import Op, T, build_model, write_model

from converters.embed import append_files, embed_metadata
from converters.tflite_metadata import LABEL_FILE, Described, Range, metadata_buffer
from edge_runtime.engines.litert import LiteRtEngine
from edge_runtime.errors import ModelError
from edge_runtime.model_file import parse_model
from edge_runtime.model_metadata import BUFFER_NAME, read_metadata
from edge_runtime.types import ImageInput, WindowInput

LOGISTIC = 14
NETWORK = build_model([T((1, 8))], [T((1, 8))], ops=[Op(LOGISTIC, [0], [1])], metadata={"kept": b"as it was"})


def run(content: bytes, path: Path) -> np.ndarray:
    path.write_bytes(content)
    engine = LiteRtEngine(str(path))
    return engine.invoke([np.linspace(-2, 2, 8, dtype=np.float32).reshape(1, 8)])[0]


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=40), st.binary(max_size=300), min_size=1, max_size=4))
def test_buffers_are_read_back_as_they_were_given(buffers: dict[str, bytes]) -> None:
    read = parse_model(embed_metadata(NETWORK, buffers), "x").metadata
    assert read == {"kept": b"as it was"} | buffers


def test_the_network_computes_the_same_and_none_of_its_bytes_changed(tmp_path: Path) -> None:
    content = append_files(embed_metadata(NETWORK, {"a": b"1" * 77}), {LABEL_FILE: b"x\ny\n"})
    assert NETWORK in content
    assert np.array_equal(run(content, tmp_path / "new.tflite"), run(NETWORK, tmp_path / "old.tflite"))


def test_a_buffer_of_the_same_name_is_replaced_and_packed_files_stay() -> None:
    packed = append_files(embed_metadata(NETWORK, {"name": b"first"}), {LABEL_FILE: b"x\n"})
    again = parse_model(embed_metadata(packed, {"name": b"second"}), "x")
    assert again.metadata == {"kept": b"as it was", "name": b"second"}
    assert again.associated_files == {LABEL_FILE: b"x\n"}


def test_the_same_input_gives_the_same_file() -> None:
    assert append_files(NETWORK, {"f": b"x"}) == append_files(NETWORK, {"f": b"x"})


def test_buffers_begin_at_multiples_of_16() -> None:
    content = embed_metadata(NETWORK, {"one": b"A" * 5, "two": b"B" * 40})
    assert content.index(b"AAAAA") % 16 == 0
    assert content.index(b"B" * 40) % 16 == 0


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ModelError):
        embed_metadata(b"\x10\0\0\0TFL3 but nothing behind", {"a": b"b"})


def described(fed: ImageInput | WindowInput) -> Described:
    return Described("cats", "3", ["pixels"], ["scores"], fed, Range(0.0, 255.0), has_labels=True)


def test_metadata_says_how_a_picture_is_fed(tmp_path: Path) -> None:
    fed = ImageInput((32, 24), mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
    content = embed_metadata(NETWORK, {BUFFER_NAME: metadata_buffer(described(fed))})
    metadata = read_metadata(parse_model(content, "x"))
    assert metadata is not None
    entry, output = metadata.inputs[0], metadata.outputs[0]
    assert (metadata.name, metadata.version) == ("cats", "3")
    assert (entry.name, entry.content, entry.color) == ("pixels", "image", "RGB")
    assert (entry.mean, entry.std) == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert (output.name, output.label_file()) == ("scores", LABEL_FILE)


def test_metadata_says_the_sample_rate_of_sound() -> None:
    fed = WindowInput(15600, 1, sample_rate_hz=16000.0)
    metadata = read_metadata(parse_model(embed_metadata(NETWORK, {BUFFER_NAME: metadata_buffer(described(fed))}), "x"))
    assert metadata is not None
    assert (metadata.inputs[0].sample_rate_hz, metadata.inputs[0].channels) == (16000, 1)


def test_metadata_is_what_the_public_schema_reads(tmp_path: Path) -> None:
    from ai_edge_litert import schema_py_generated as schema

    path = write_model(tmp_path / "m.tflite", [T((1, 8))], [T((1, 8))], ops=[Op(LOGISTIC, [0], [1])])
    model = schema.ModelT.InitFromPackedBuf(embed_metadata(path.read_bytes(), {"n": b"v"}), 0)
    entry = model.metadata[-1]
    assert entry.name == b"n"
    assert bytes(model.buffers[entry.buffer].data) == b"v"
