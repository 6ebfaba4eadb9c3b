import os
from pathlib import Path

import pytest

from edge_runtime.errors import BadFrameError, InputMismatchError, UsageError
from edge_runtime.sources.images import ImagesSource
from edge_runtime.types import Frame, WindowInput


def source(*paths: Path | str, **settings: int) -> ImagesSource:
    config = ImagesSource.Config(paths=tuple(str(path) for path in paths), **settings)
    return ImagesSource(config, stream="images0", wants=None)


def read_all(opened: ImagesSource) -> tuple[list[Frame], list[str]]:
    frames, errors = [], []
    while True:
        try:
            frame = opened.read(1.0)
        except BadFrameError as error:
            errors.append(str(error))
            continue
        if frame is None:
            return frames, errors
        frames.append(frame)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for name in ("b.JPG", "a.png", "10.webp", "9.webp", "notes.txt", ".hidden.jpg", "below/deep.jpg"):
        (folder / name).write_bytes(name.encode())
    return folder


def test_a_folder_gives_its_pictures_by_name_and_nothing_else(folder: Path) -> None:
    opened = source(folder)
    opened.open()
    frames, errors = read_all(opened)
    assert [Path(f.origin.path or "").name for f in frames] == ["10.webp", "9.webp", "a.png", "b.JPG"]
    assert [f.data for f in frames] == [b"10.webp", b"9.webp", b"a.png", b"b.JPG"]
    assert [f.sequence for f in frames] == [0, 1, 2, 3]
    assert {f.format for f in frames} == {"picture"}
    assert errors == []


def test_arguments_keep_their_order_and_their_spelling(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    opened = source("./notes.txt", "below", "a.png")
    opened.open()
    frames, _ = read_all(opened)
    assert [f.origin.path for f in frames] == ["./notes.txt", "below/deep.jpg", "a.png"]


@pytest.mark.parametrize(("name", "words"), [("gone.jpg", "No such file"), ("empty", "no pictures in this folder")])
def test_what_is_not_there_is_wrong_usage(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=words) as caught:
        source(tmp_path / name).open()
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)


def test_no_paths_at_all_is_wrong_usage() -> None:
    with pytest.raises(UsageError):
        source().open()


def test_bad_files_are_skipped_one_by_one(folder: Path) -> None:
    (folder / "b.JPG").write_bytes(b"")
    (folder / "a.png").write_bytes(bytes(100))
    os.mkfifo(folder / "c.jpg")
    (folder / "d.jpg").symlink_to(folder / "nowhere")
    opened = source(folder, max_bytes=99)
    opened.open()
    (folder / "9.webp").unlink()
    frames, errors = read_all(opened)
    assert [(Path(f.origin.path or "").name, f.sequence) for f in frames] == [("10.webp", 0)]
    assert [error.split(": ", 1)[1] for error in errors] == [
        "No such file or directory",
        "larger than 99 bytes (max_bytes)",
        "the file is empty",
        "not a regular file",
        "No such file or directory",
    ]


def test_opening_again_starts_again(folder: Path) -> None:
    opened = source(folder)
    opened.open()
    first, _ = read_all(opened)
    opened.close()
    opened.close()
    opened.open()
    again, _ = read_all(opened)
    assert [f.data for f in again] == [f.data for f in first]
    assert opened.describe() == {"type": "images", "paths": [str(folder)], "pictures": 4}


def test_a_model_of_samples_refuses_pictures(folder: Path) -> None:
    config = ImagesSource.Config(paths=(str(folder),))
    with pytest.raises(InputMismatchError):
        ImagesSource(config, stream="images0", wants=WindowInput(length=10, channels=1)).open()
