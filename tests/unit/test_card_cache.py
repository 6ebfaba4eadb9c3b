"""A power cut of the system test ``boot``: QEMU's log of writes carried out on the disk that it was made over."""

import importlib.util
import random
import struct
import sys
from pathlib import Path

import pytest

PAGE = 4096
SOURCE = Path(__file__).parents[2] / "scripts/system_tests/card_cache.py"


@pytest.fixture(scope="module")
def card_cache():
    spec = importlib.util.spec_from_file_location("card_cache", SOURCE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["card_cache"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(b"o" * 64 * PAGE)
    (tmp_path / "disk.overlay").touch()
    return path


def log(disk, *requests, cut_off=0):
    """Write a log as QEMU does (Documentation/admin-guide/device-mapper/log-writes of Linux): head, then requests."""
    sector = 512
    data = struct.pack("<QQQL", 0x6A736677736872, 1, 0, sector).ljust(sector, b"\0")
    for page, content, flags in requests:
        data += struct.pack("<QQQQ", page * 8, len(content) // sector, flags, 0).ljust(sector, b"\0") + content
    disk.with_suffix(".writes").write_bytes(data[: len(data) - cut_off])


def pages(disk):
    data = disk.read_bytes()
    return "".join(chr(data[at]) for at in range(0, len(data), PAGE))


def test_what_was_flushed_stays_and_of_the_rest_some_pages_do(card_cache, disk):
    log(disk, (0, b"a" * 4 * PAGE, 0), (0, b"", 1), (8, b"b" * 40 * PAGE, 0))
    kept = card_cache.cut(disk, random.Random(1))
    assert pages(disk)[:8] == "aaaaoooo"
    rest = pages(disk)[8:48]
    assert set(rest) == {"b", "o"}
    assert (kept.flushed, kept.kept_pages, kept.lost_pages) == (1, rest.count("b"), rest.count("o"))
    assert pages(disk)[48:] == "o" * 16
    assert not disk.with_suffix(".writes").exists()


def test_a_request_that_asked_to_be_on_the_disk_is(card_cache, disk):
    log(disk, (3, b"c" * 30 * PAGE, 2))
    card_cache.cut(disk, random.Random(1))
    assert pages(disk)[3:33] == "c" * 30


def test_a_later_write_wins_and_one_that_the_cut_broke_off_never_was(card_cache, disk):
    log(disk, (0, b"a" * PAGE, 0), (0, b"b" * PAGE, 0), (0, b"", 1), (1, b"c" * PAGE, 2), cut_off=10)
    card_cache.cut(disk, random.Random(1))
    assert pages(disk)[:2] == "bo"


def test_what_is_no_log_is_not_carried_out(card_cache, disk):
    disk.with_suffix(".writes").write_bytes(b"x" * 4096)
    with pytest.raises(ValueError, match="no log of writes"):
        card_cache.cut(disk, random.Random(1))
