"""The model reader: right about sound files, one sentence about everything else."""

import os
import random
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import (
    FULLY_CONNECTED,
    SOFTMAX,
    Op,
    T,
    audio_content,
    build_model,
    image_content,
    label_files,
    metadata_buffer,
    normalization,
    schema,
    write_model,
    zip_of,
)

from edge_runtime.errors import ModelError, UsageError
from edge_runtime.model_file import ModelFile, parse_model, read_model
from edge_runtime.model_metadata import read_metadata

IN = T((1, 32, 32, 3), "uint8", scale=1 / 128, zero_point=128, name="image")
OUT = T((1, 4), "uint8", scale=1 / 256, name="scores")


def sample(**parts: object) -> bytes:
    text = metadata_buffer(
        name="Sample",
        version="v2",
        inputs=[{0: "image"} | image_content() | normalization([127.5], [127.5])],
        outputs=[{0: "scores"} | label_files("labels.txt")],
    )
    parts = {
        "ops": [Op(FULLY_CONNECTED, [0], [2]), Op(SOFTMAX, [2], [1])],
        "inner": [T((1, 4), "int8", scale=0.5, name="logits")],
        "metadata": {"TFLITE_METADATA": text, "note": b"hello"},
        "files": {"labels.txt": b"a\nb\nc\nd\n"},
        "constants": {2: b"\x01\x02\x03\x04"},
    } | parts
    return build_model([IN], [OUT], **parts)  # type: ignore[arg-type]


def walk(model: ModelFile) -> None:
    """Look at everything a model file offers."""
    read_metadata(model)
    for index in range(min(model.buffer_count, 100)):
        model.buffer(index)
    for operator in model.operators:
        assert operator.options_type >= 0
        _ = operator.options, len(operator.custom_options)
    for tensor in model.tensors:
        assert tensor.size_bytes >= 0
    _ = model.associated_files, model.edgetpu


def refusal(data: bytes) -> str | None:
    """Return what a model is refused with, None for a sound one; anything but a ModelError fails the test."""
    try:
        walk(parse_model(data, "m.tflite"))
    except ModelError as error:
        return str(error)
    return None


def test_a_sound_model_is_read() -> None:
    data = sample()
    model = parse_model(data, "m.tflite")
    assert model.size_bytes == len(data)
    assert model.description == "made for a test"
    image, scores = (model.tensors[i] for i in (*model.inputs, *model.outputs))
    assert (image.name, image.shape, image.type.name, image.size_bytes) == ("image", (1, 32, 32, 3), "uint8", 3072)
    assert image.scales == pytest.approx([1 / 128])
    assert image.zero_points.tolist() == [128]
    assert scores.type.dtype == np.uint8
    assert [operator.code.builtin for operator in model.operators] == [FULLY_CONNECTED, SOFTMAX]
    assert bytes(model.buffer(model.tensors[2].buffer)) == b"\x01\x02\x03\x04"
    assert model.metadata["note"] == b"hello"
    assert model.associated_files == {"labels.txt": b"a\nb\nc\nd\n"}
    assert not model.edgetpu


def test_metadata_is_read() -> None:
    metadata = read_metadata(parse_model(sample(), "m.tflite"))
    assert metadata is not None
    assert (metadata.name, metadata.version, metadata.subgraph) == ("Sample", "v2", "main")
    assert (metadata.inputs[0].content, metadata.inputs[0].color) == ("image", "RGB")
    assert (metadata.inputs[0].mean, metadata.inputs[0].std) == ((127.5,), (127.5,))
    assert metadata.outputs[0].label_file() == "labels.txt"


def test_audio_metadata_is_read() -> None:
    text = metadata_buffer(inputs=[audio_content(16000, 1)])
    metadata = read_metadata(parse_model(sample(metadata={"TFLITE_METADATA": text}), "m.tflite"))
    assert metadata is not None
    assert (metadata.inputs[0].sample_rate_hz, metadata.inputs[0].channels) == (16000, 1)


def test_english_labels_are_preferred() -> None:
    files = label_files(("de.txt", 2, "de"), ("en.txt", 2, "en"), ("about.txt", 1, ""))
    text = metadata_buffer(outputs=[files])
    metadata = read_metadata(parse_model(sample(metadata={"TFLITE_METADATA": text}), "m.tflite"))
    assert metadata is not None
    assert metadata.outputs[0].label_file() == "en.txt"


def test_an_edge_tpu_model_is_recognised() -> None:
    assert parse_model(build_model([IN], [OUT], ops=[Op("edgetpu-custom-op", [0], [1])]), "m").edgetpu


def test_agrees_with_the_schemas_own_reader(reference: Path) -> None:
    paths = sorted(reference.glob("models/**/*.tflite"))
    assert paths
    for path in paths:
        model, truth = read_model(path), schema.ModelT.InitFromPackedBuf(path.read_bytes())
        graph = truth.subgraphs[0]
        assert list(model.inputs) == list(graph.inputs)
        assert list(model.outputs) == list(graph.outputs)
        for mine, theirs in zip(model.tensors, graph.tensors, strict=True):
            assert mine.name == (theirs.name or b"").decode()
            assert list(mine.shape) == list(theirs.shape if theirs.shape is not None else [])
            quantization = theirs.quantization
            scale = quantization.scale if quantization is not None and quantization.scale is not None else []
            assert mine.scales.tolist() == list(scale)
            if truth.buffers:
                stored = truth.buffers[theirs.buffer].data
                assert bytes(model.buffer(mine.buffer)) == bytes(stored if stored is not None else b"")
        for node, theirs in zip(model.operators, graph.operators, strict=True):
            assert node.inputs == tuple(theirs.inputs)
            code = truth.operatorCodes[theirs.opcodeIndex]
            assert node.code.builtin == max(code.builtinCode, code.deprecatedBuiltinCode)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                assert model.associated_files == {name: archive.read(name) for name in archive.namelist()}
        walk(model)


def test_buffers_after_the_flatbuffer_are_read() -> None:
    plain = bytearray(build_model([IN], [OUT], constants={1: b"\x00" * 4}))
    # Rewrite the model through its own schema: the last buffer gets an offset and a size instead of data.
    truth = schema.ModelT.InitFromPackedBuf(bytes(plain))
    outside = truth.buffers[-1]
    outside.data, outside.offset, outside.size = None, 4096, 6
    builder = schema.flatbuffers.Builder(1024)
    builder.Finish(truth.Pack(builder), b"TFL3")
    data = bytes(builder.Output()).ljust(4096, b"\0") + b"beyond"
    assert bytes(parse_model(data, "m").buffer(1)) == b"beyond"
    with pytest.raises(ModelError, match="outside"):
        parse_model(data[:-1], "m").buffer(1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>Not found", "a web page"),
        (b"  <html><body>", "a web page"),
        (b"PK\x03\x04rest of a zip", "a zip archive"),
        (b"\x08\x07\x12\x07pytorch:", "an ONNX model"),
        (b"\x89HDF\r\n\x1a\n and more", "a Keras model"),
        (b"\x08\x01\x12\x85\x01 saved", "SavedModel"),
        (b"\xff\xd8\xff\xe0 JFIF", "a JPEG picture"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"person\nbicycle\n", "a text file"),
        (bytes(range(1, 200)), "no .tflite file"),
    ],
)
def test_what_is_no_model_is_called_by_its_name(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=words) as caught:
        read_model(path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 3


def test_what_cannot_be_opened_is_a_wrong_use(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tflite")
    for name, words in {"absent.tflite": "no such", ".": "folder", "pipe.tflite": "no regular file"}.items():
        with pytest.raises(UsageError, match=words):
            read_model(tmp_path / name)


def test_a_saved_model_folder_says_how_to_convert_it(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(ModelError, match="edge-convert"):
        read_model(tmp_path)


def test_every_truncation_is_refused_or_sound() -> None:
    data = build_model([IN], [OUT], ops=[Op(SOFTMAX, [0], [1])], metadata={"note": b"hello"})
    refusals = [text for size in range(len(data)) if (text := refusal(data[:size]))]
    assert len(refusals) > len(data) // 2
    assert not any("\n" in text for text in refusals)


def test_thousands_of_mutations_end_in_a_model_error_or_a_sound_model() -> None:
    source = random.Random(20261122)
    seeds = [sample(), sample(files={})]
    refusals = []
    tracemalloc.start()
    try:
        for _ in range(4000):
            data = bytearray(source.choice(seeds))
            for _ in range(source.choice((1, 1, 2, 4, 16))):
                place = source.randrange(8 if source.random() < 0.9 else 0, len(data) - 4)
                if source.random() < 0.5:
                    data[place] = source.randrange(256)
                else:
                    value = source.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(data), source.getrandbits(32)))
                    struct.pack_into("<I", data, place, value)
            refusals.append(refusal(bytes(data)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len([text for text in refusals if text]) > 500
    assert not any("\n" in text for text in refusals if text)
    assert peak < 20_000_000


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_behind_the_identifier_are_refused_cleanly(tail: bytes) -> None:
    for head in (b"\x10\0\0\0TFL3", b"\x08\0\0\0TFL3"):
        assert "\n" not in (refusal(head + tail) or "")


def test_one_long_name_used_by_every_tensor_does_not_fill_the_memory() -> None:
    count, length = 50_000, 1_000_000
    name = struct.pack("<I", length) + b"x" * length
    # root table with subgraphs (field 2); a subgraph whose tensors (field 0) are all one table with that name (field 3)
    root = struct.pack("<II4x", 20, 0x334C4654)  # offset of the root table, identifier
    data = bytearray(root + struct.pack("<HHHHH", 10, 8, 0, 0, 4) + b"\0\0")  # vtable at 12
    data = data.ljust(20 + 4, b"\0")
    position = 24
    data += struct.pack("<iI", position - 12, 4) + struct.pack("<I", 1)  # table at 24, vector at 32
    graph_vtable = len(data) + 4
    data += struct.pack("<I", 8 + 4) + struct.pack("<HHH", 6, 8, 4) + b"\0\0"
    graph = len(data)
    data += struct.pack("<iI", graph - graph_vtable, 4)
    vector = len(data)
    tensor_vtable = vector + 4 + 4 * count
    tensor = tensor_vtable + 12
    data += struct.pack("<I", count)
    data += b"".join(struct.pack("<I", tensor - (vector + 4 + 4 * i)) for i in range(count))
    data += struct.pack("<HHHHHH", 12, 8, 0, 0, 0, 4) + struct.pack("<iI", tensor - tensor_vtable, 4) + name
    struct.pack_into("<I", data, 0, position)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match="claim more than the whole"):
            parse_model(bytes(data), "m.tflite")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64_000_000


def test_a_zip_bomb_is_refused() -> None:
    bomb = zip_of({"labels.txt": b"\0" * 40_000_000})
    assert len(bomb) < 100_000
    with pytest.raises(ModelError, match="more than 32 MB"):
        _ = parse_model(sample(files=None) + bomb, "m.tflite").associated_files


def test_a_zip_that_lies_about_its_sizes_is_refused() -> None:
    packed = bytearray(zip_of({"labels.txt": b"a" * 100_000}))
    entry = packed.index(b"PK\x01\x02")
    struct.pack_into("<L", packed, entry + 24, 10)
    with pytest.raises(ModelError, match="size"):
        _ = parse_model(sample(files=None) + bytes(packed), "m.tflite").associated_files


def test_damaged_metadata_is_a_model_error() -> None:
    with pytest.raises(ModelError, match="M001"):
        read_metadata(parse_model(sample(metadata={"TFLITE_METADATA": b"nonsense"}), "m.tflite"))


def test_a_stored_archive_and_a_written_file_read_the_same(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.bin", [IN], [OUT], files={"labels.txt": b"x\n"})
    stored = path.read_bytes() + zip_of({"other.txt": b"stored"}, compression=zipfile.ZIP_STORED)
    assert read_model(path).associated_files == {"labels.txt": b"x\n"}
    assert parse_model(stored, "m").associated_files == {"other.txt": b"stored"}
