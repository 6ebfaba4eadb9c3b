import io
import logging
import re
import shutil

import numpy as np
import pytest
from predictions import NS, anomaly, classified, detected, handed, prediction, regressed

from edge_runtime.sinks.answer import answer, fit
from edge_runtime.sinks.terminal import TerminalSink
from edge_runtime.types import Classifications, Origin, Poses, RawTensors, Segmentation, Transform


class Screen(io.StringIO):
    """A terminal that knows the two sequences the sink uses."""

    encoding = "utf-8"

    def __init__(self, *, tty=True):
        super().__init__()
        self.tty = tty

    def isatty(self):
        return self.tty

    def lines(self):
        rows = [""]
        for part in re.split(r"(\x1b\[\d+A\x1b\[J|\n)", self.getvalue()):
            if part == "\n":
                rows.append("")
            elif part.startswith("\x1b"):
                up = int(part[2 : part.index("A")])
                del rows[len(rows) - 1 - up :]
                rows.append("")
            else:
                rows[-1] += part
        return rows[:-1]


class Clock:
    def __init__(self):
        self.now_ns = 5 * NS

    def __call__(self):
        return self.now_ns


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


def shown(sink, *predictions):
    sink.write([handed(p) for p in predictions])


def test_a_terminal_shows_one_line_per_stream_written_over(clock):
    screen = Screen()
    sink = TerminalSink(out=screen, monotonic_ns=clock)
    sink.open()
    shown(sink, classified((1, 0.5)), classified((2, 0.789), (1, 0.1), stream="camera1"))
    clock.now_ns += NS
    shown(sink, classified((3, 0.9)))
    sink.close()
    assert [line.split("  ")[:2] for line in screen.lines()] == [
        ["camera0", "person 90 %"],
        ["camera1", "dog 79 %, cat 10 %"],
    ]


def test_it_shows_rate_and_latency(clock):
    screen = Screen()
    sink = TerminalSink(out=screen, monotonic_ns=clock)
    sink.open()
    shown(sink, *[classified((1, 0.5), captured_s=100 + i / 25) for i in range(50)])
    assert screen.lines() == ["camera0  cat 50 %  25.0/s  6.6 ms"]


def test_it_is_not_redrawn_faster_than_anyone_reads(clock):
    screen = Screen()
    sink = TerminalSink(out=screen, monotonic_ns=clock)
    sink.open()
    for _ in range(100):
        clock.now_ns += NS // 100
        shown(sink, classified((1, 0.5)))
    assert screen.getvalue().count("camera0") == 5


def test_a_long_line_never_wraps(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen()
    sink = TerminalSink(out=screen, monotonic_ns=clock)
    sink.open()
    shown(sink, detected((1, 0.9), (2, 0.9), (3, 0.9)))
    (line,) = screen.lines()
    assert len(line) < shutil.get_terminal_size().columns == 20
    assert line.endswith("…")


def test_a_log_line_is_not_written_into_a_status_line(clock):
    screen = Screen()
    logger = logging.getLogger("edge_runtime")
    handler = logging.StreamHandler(screen)
    logger.addHandler(handler)
    try:
        sink = TerminalSink(out=screen, monotonic_ns=clock)
        sink.open()
        shown(sink, classified((1, 0.5)))
        logger.warning("the broker is away")
        assert screen.lines() == ["the broker is away"]
        shown(sink, classified((1, 0.5)))
        assert screen.lines() == ["the broker is away", "camera0  cat 50 %    6.6 ms"]
        sink.close()
        logger.warning("bye")
        assert screen.lines()[-1] == "bye"
    finally:
        logger.removeHandler(handler)


def test_every_picture_has_a_line_that_stays(clock):
    for tty in (True, False):
        screen = Screen(tty=tty)
        sink = TerminalSink(out=screen, monotonic_ns=clock)
        sink.open()
        shown(sink, *[classified((i % 4, 0.5), origin=Origin(path=f"{i}.jpg")) for i in range(6)])
        sink.close()
        assert screen.lines() == [
            f"{i}.jpg  {label} 50 %" for i, label in enumerate(["background", "cat", "dog", "person"] * 2) if i < 6
        ]


def test_elsewhere_there_are_few_plain_lines(clock):
    screen = Screen(tty=False)
    sink = TerminalSink(out=screen, monotonic_ns=clock)
    sink.open()
    for i in range(40 * 30):  # 40 seconds at 30 a second; the answer flickers in the first two
        clock.now_ns += NS // 30
        shown(sink, classified((1 + (i % 2 if i < 60 else 0), 0.5)))
    assert 2 <= len(screen.lines()) <= 4
    assert "\x1b" not in screen.getvalue()
    before = len(screen.lines())
    clock.now_ns += 60 * NS
    shown(sink, classified((1, 0.5)))
    assert len(screen.lines()) == before + 1


def test_standard_output_is_left_to_the_lines_of_json(capsys):
    sink = TerminalSink(stdout_taken=True)
    sink.open()
    shown(sink, classified((1, 0.5)))
    sink.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert "cat 50 %" in err


def test_a_terminal_that_is_gone_stops_nothing(clock):
    screen = Screen()
    sink = TerminalSink(out=screen, monotonic_ns=clock)
    sink.open()
    screen.close()
    shown(sink, classified((1, 0.5)))
    sink.close()


def test_a_terminal_without_unicode_gets_question_marks(clock):
    raw = io.BytesIO()
    sink = TerminalSink(out=io.TextIOWrapper(raw, encoding="ascii"), monotonic_ns=clock)
    sink.open()
    shown(sink, regressed(21.5))
    assert b"value0 21.5 ?C" in raw.getvalue()


def test_labels_cannot_move_the_cursor():
    evil = Classifications(np.array([0]), np.array([0.5], np.float32), ("\x1b[2Jcat\r\n",))
    assert answer(evil) == "?[2Jcat?? 50 %"


def test_every_result_has_an_answer():
    mask = np.zeros((10, 10), np.uint8)
    segments = Segmentation(
        mask, np.array([0, 15]), np.array([75, 25]), ("sky", None), Transform((1, 1), (1, 1), (1, 1))
    )
    pose = Poses(np.zeros((1, 17, 3), np.float32), np.array([0.75], np.float32), (8, 8))
    assert answer(classified().result) == "nothing above the threshold"
    assert answer(classified((99, 0.5)).result) == "class 99 50 %"
    assert answer(detected((3, 0.9), (2, 0.8), (3, 0.7)).result) == "2 person 90 %, 1 dog 80 %"
    assert answer(detected().result) == "nothing found"
    assert answer(segments) == "sky 75 %, class 15 25 %"
    assert answer(pose) == "person 75 %"
    assert answer(regressed(21.456, 2, 3, 4).result) == "value0 21.46 °C, value1 2 °C, value2 3 °C and 1 more"
    assert answer(anomaly(2.0).result) == "ANOMALY, score 2 of 1"
    assert answer(anomaly(0.5).result) == "normal, score 0.5 of 1"
    assert answer(anomaly(0.5, None).result) == "score 0.5"
    assert answer(RawTensors(("out",), (np.zeros((1, 3)),))) == "out [1, 3]"
    assert prediction(segments, "segment").task == "segment"


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("cat", 3, "cat"),
        ("cats", 3, "ca…"),
        ("猫猫", 4, "猫猫"),
        ("猫猫猫", 4, "猫…"),
        ("e\u0301" * 3, 3, "e\u0301" * 3),
    ],
)
def test_text_is_cut_by_the_columns_it_takes(text, columns, expected):
    assert fit(text, columns) == expected
