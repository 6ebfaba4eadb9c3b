import errno
import json
import os

import pytest
from predictions import classified, handed

from edge_runtime.errors import UsageError
from edge_runtime.sinks import jsonl
from edge_runtime.sinks.jsonl import JsonlSink


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def batch(*seqs):
    return [handed(classified((1, 0.5)), seq=seq) for seq in seqs]


def test_every_prediction_is_a_line_at_once_published_or_not(tmp_path):
    path = tmp_path / "out.jsonl"
    sink = JsonlSink(str(path), device="porch")
    sink.open()
    sink.write(batch(1, None, 2))
    assert [line["seq"] for line in lines(path)] == [1, None, 2]
    sink.close()
    assert sink.written == 3


def test_a_file_is_appended_to(tmp_path):
    path = tmp_path / "out.jsonl"
    for seq in (1, 2):
        sink = JsonlSink(str(path), device="porch")
        sink.open()
        sink.write(batch(seq))
        sink.close()
        sink.close()
    assert [line["seq"] for line in lines(path)] == [1, 2]


def test_a_line_that_a_power_cut_left_open_is_not_joined(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text('{"seq": 1}\n{"se')
    sink = JsonlSink(str(path), device="porch")
    sink.open()
    sink.write(batch(2))
    sink.write(batch(3))
    sink.close()
    first, torn, second, third = path.read_text().splitlines()
    assert torn == '{"se'
    assert [json.loads(line)["seq"] for line in (first, second, third)] == [1, 2, 3]


def test_a_dash_is_standard_output(capfd):
    sink = JsonlSink("-", device="porch")
    sink.open()
    sink.write(batch(5))
    sink.close()
    assert json.loads(capfd.readouterr().out)["seq"] == 5


@pytest.mark.parametrize("name", ["", "missing/out.jsonl"])
def test_a_file_that_cannot_be_made_is_a_usage_error(tmp_path, name):
    with pytest.raises(UsageError, match="--jsonl"):
        JsonlSink(str(tmp_path / name), device="porch").open()


class Disk:
    """`os.write` onto a disk that has room for so many bytes."""

    def __init__(self, room):
        self.room = room

    def write(self, fd, data):
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = bytes(data)[: self.room]
        self.room -= len(part)
        return REAL_WRITE(fd, part)


REAL_WRITE = os.write


def test_a_full_disk_loses_lines_says_so_once_and_goes_on(tmp_path, monkeypatch, caplog):
    path = tmp_path / "out.jsonl"
    sink = JsonlSink(str(path), device="porch")
    sink.open()
    sink.write(batch(1))
    size = path.stat().st_size
    disk = Disk(room=size + 10)  # one more line, and a part of the next
    monkeypatch.setattr(jsonl.os, "write", disk.write)
    sink.write(batch(2, 3, 4))
    sink.write(batch(5))
    assert (sink.written, sink.failed) == (2, 3)
    disk.room = 10_000
    sink.write(batch(6))
    sink.write(batch(7))
    sink.close()
    whole = [json.loads(line)["seq"] for line in path.read_text().splitlines() if line.endswith("}")]
    assert whole == [1, 2, 6, 7]
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1
    assert "No space left" in caplog.text


def test_a_full_disk_is_a_real_device_too(caplog):
    sink = JsonlSink("/dev/full", device="porch")
    sink.open()
    sink.write(batch(1))
    sink.close()
    assert sink.failed == 1
    assert "No space left on device" in caplog.text


def test_a_reader_that_leaves_is_told_once():
    reading, writing = os.pipe()
    gone = []
    sink = JsonlSink(f"/dev/fd/{writing}", device="porch", on_reader_gone=lambda: gone.append(True))
    sink.open()
    os.close(reading)
    sink.write(batch(1))
    sink.write(batch(2, 3))
    sink.close()
    os.close(writing)
    assert gone == [True]
    assert sink.failed == 3
