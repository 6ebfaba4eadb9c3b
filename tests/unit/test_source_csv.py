from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import BadFrameError, InputMismatchError, UsageError
from edge_runtime.protocols import WantedInput
from edge_runtime.sources._windows import Windower, rows_per_window
from edge_runtime.sources.csv_file import CsvSource
from edge_runtime.types import Frame, ImageInput, WindowInput


def flat(values: int, rate_hz: float | None = None) -> WindowInput:
    return WindowInput(length=values, channels=1, sample_rate_hz=rate_hz)


def table(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "log.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def windows(path: Path, wants: WantedInput, **settings: object) -> list[Frame | str]:
    """Read everything; a broken window is its error's text."""
    source = CsvSource(CsvSource.Config(path=str(path), **settings), stream="csv0", wants=wants)
    found: list[Frame | str] = []
    try:
        source.open()
        while True:
            try:
                frame = source.read(1.0)
            except BadFrameError as error:
                found.append(str(error))
                continue
            if frame is None:
                return found
            found.append(frame)
    finally:
        source.close()


def arrays(found: list[Frame | str]) -> list[list[list[float]]]:
    return [np.asarray(frame.data).tolist() for frame in found if isinstance(frame, Frame)]


def test_rows_become_windows_that_do_not_overlap(tmp_path: Path) -> None:
    path = table(tmp_path, "1,2\n3,4\n5,6\n7,8\n9,10\n")
    found = windows(path, flat(4))
    assert arrays(found) == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    frame = found[1]
    assert isinstance(frame, Frame)
    assert (frame.format, frame.sequence, np.asarray(frame.data).dtype) == ("window", 1, np.float32)
    assert (frame.origin.path, frame.origin.start_s) == (str(path), None)


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_stride_moves_the_window(tmp_path: Path, stride: int) -> None:
    path = table(tmp_path, "".join(f"{n}\n" for n in range(12)))
    starts = [rows[0][0] for rows in arrays(windows(path, flat(3), stride=stride))]
    assert starts == list(range(0, 10, stride))


@pytest.mark.parametrize(
    "text",
    [
        "x,y\n1.5,2\n-3,4e0\n",
        "\ufeffx,y\r\n1.5,2\r\n\r\n-3,4\r\n",
        "# x; y\n1,5;2\n-3;4,0\n",
        "x\ty\n1.5\t2\n-3\t4",
        '"x","y"\n"1.5","2"\n"-3","4"\n',
    ],
    ids=["commas", "byte order mark and blank line", "semicolons, decimal comma", "tabs", "quotes"],
)
def test_header_and_delimiter_are_found_out(tmp_path: Path, text: str) -> None:
    assert arrays(windows(table(tmp_path, text), flat(4))) == [[[1.5, 2], [-3, 4]]]


def test_columns_are_chosen_by_name_or_number(tmp_path: Path) -> None:
    path = table(tmp_path, "when,a,b\n2026-01-01,1,2\n2026-01-02,3,4\n")
    assert arrays(windows(path, flat(2), columns=("b", 1))) == [[[2, 1]], [[4, 3]]]
    with pytest.raises(UsageError, match=r"column 'when' holds '2026-01-01', not numbers"):
        windows(path, flat(2))
    with pytest.raises(UsageError, match=r"no column 'z'; there are: when, a, b"):
        windows(path, flat(2), columns=("z",))


def test_a_timestamp_column_says_when(tmp_path: Path) -> None:
    path = table(tmp_path, "t,a\n0.5,1\n0.6,2\n0.7,3\n0.8,4\n")
    found = windows(path, flat(2), timestamp="t")
    assert arrays(found) == [[[1], [2]], [[3], [4]]]
    assert [(f.origin.start_s, f.origin.end_s) for f in found if isinstance(f, Frame)] == [(0.5, 0.6), (0.7, 0.8)]


def test_the_models_sample_rate_says_when(tmp_path: Path) -> None:
    found = windows(table(tmp_path, "1\n2\n3\n4\n"), flat(2, rate_hz=10.0), stride=1)
    assert [(f.origin.start_s, f.origin.end_s) for f in found if isinstance(f, Frame)] == [
        (0.0, 0.2),
        (0.1, pytest.approx(0.3)),
        (0.2, 0.4),
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("3,oops", "line 4, column 'b': 'oops' is not a number"),
        ("3,", "line 4, column 'b': '' is not a number"),
        ("nan,4", "line 4, column 'a': 'nan' is not a number"),
        ("3,4,5", "line 4: 3 columns, expected 2"),
        ("3", "line 4: 1 columns, expected 2"),
    ],
)
def test_a_bad_row_breaks_only_the_windows_it_is_in(tmp_path: Path, row: str, words: str) -> None:
    path = table(tmp_path, f"a,b\n0,0\n1,2\n{row}\n5,6\n7,8\n")
    found = windows(path, flat(4), stride=1)
    assert [entry if isinstance(entry, str) else entry.sequence for entry in found] == [
        0,
        f"{path} {words}",
        f"{path} {words}",
        3,
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"a,b\n", "0 rows of numbers, and one window takes 2"),
        (b"1,2\n", "1 rows of numbers, and one window takes 2"),
        (b"\x89PNG\r\n\x00\x00\x00", "not a text file"),
    ],
)
def test_no_table_is_wrong_usage(tmp_path: Path, content: bytes, words: str) -> None:
    path = table(tmp_path, content)
    with pytest.raises(UsageError, match=words) as caught:
        windows(path, flat(4))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        windows(tmp_path / "gone.csv", flat(4))
    with pytest.raises(UsageError, match="no such file"):
        windows(tmp_path, flat(4))


def test_endless_cells_and_lines_stay_bounded(tmp_path: Path) -> None:
    path = table(tmp_path, '1\n2\n"' + "3" * 300_000 + "\n4\n5\n" + "6" * 2_000_000 + "\n7\n8\n")
    found = windows(path, flat(2))
    assert arrays(found)[0] == [[1], [2]]
    assert found[1] == f"{path} line 3: 0 columns, expected 1"


def test_what_does_not_fit_the_model_names_both_numbers(tmp_path: Path) -> None:
    path = table(tmp_path, "1,2,3\n4,5,6\n")
    with pytest.raises(InputMismatchError, match=r"takes 640 values, which rows of 3 do not divide"):
        windows(path, flat(640))
    with pytest.raises(InputMismatchError, match=r"9 values and the model takes 6: use window = 2"):
        windows(path, flat(6), window=3)
    with pytest.raises(InputMismatchError, match=r"takes 2 channels and each row has 3"):
        windows(path, WindowInput(length=3, channels=2))
    with pytest.raises(InputMismatchError, match="pictures"):
        windows(path, ImageInput(size=(8, 8)))


def test_several_channels_take_rows_of_them_or_all_in_one() -> None:
    wants = WindowInput(length=49, channels=10)
    assert rows_per_window(wants, channels=10, window=None) == 49
    assert rows_per_window(wants, channels=490, window=None) == 1
    assert rows_per_window(wants, channels=1, window=None) == 490
    assert rows_per_window(None, channels=3, window=7) == 7


@given(count=st.integers(0, 60), length=st.integers(1, 8), stride=st.integers(1, 12))
def test_windows_are_the_slices_they_should_be(count: int, length: int, stride: int) -> None:
    windower: Windower[int] = Windower(length=length, stride=stride)
    found = [window for n in range(count) if (window := windower.push(n)) is not None]
    assert found == [tuple(range(s, s + length)) for s in range(0, count - length + 1, stride)]


def test_the_reference_sensor_recording_gives_its_196_windows(reference: Path, tmp_path: Path) -> None:
    frames = np.fromfile(next((reference / "sensor").glob("*.bin")), np.float32).reshape(200, 128)
    path = tmp_path / "ad01.csv"
    np.savetxt(path, frames, delimiter=",", fmt="%.9g")
    found = arrays(windows(path, flat(640), stride=1))
    assert len(found) == 196
    np.testing.assert_allclose(found[17], frames[17:22], rtol=1e-6)
