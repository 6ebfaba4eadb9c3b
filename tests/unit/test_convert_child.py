"""Heavy steps run in children; what happens to a child is an error, not an end."""

from pathlib import Path

import pytest

from converters import disk
from converters.child import Child
from edge_runtime.errors import ModelError, UsageError


@pytest.fixture(autouse=True)
def _findable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def child(folder: Path) -> Child:
    return Child("failing_step", folder=folder, title="a step", package="")


def test_a_crash_names_the_signal_and_the_last_words(tmp_path: Path) -> None:
    with (
        pytest.raises(ModelError, match="a step: the child process was ended by SIGSEGV; it said: about to touch"),
        child(tmp_path) as one,
    ):
        one.call("crash")


def test_a_child_that_leaves_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="ended with status 3"), child(tmp_path) as one:
        one.call("leave")


def test_errors_of_our_tree_keep_their_kind(tmp_path: Path) -> None:
    with child(tmp_path) as one:
        with pytest.raises(UsageError, match=r"^give another file$"):
            one.call("refuse")
        with pytest.raises(ModelError, match="a step: RuntimeError: something of a library"):
            one.call("stumble")


def test_time_and_memory_are_reported(tmp_path: Path) -> None:
    with child(tmp_path) as one:
        assert one.call("grow") == {"size": 64 * 1024 * 1024}
        report = one.report
    assert report.name == "a step"
    assert report.peak_mb > 64
    assert report.seconds > 0


def test_what_a_step_counts_arrives_while_it_runs(tmp_path: Path) -> None:
    counts: list[tuple[int, int]] = []
    with Child(
        "failing_step", folder=tmp_path, title="a step", package="", on_count=lambda *it: counts.append(it)
    ) as one:
        assert one.call("count_to", total=5) == {}
    assert counts[0] == (1, 5)  # the pause between two is longer than the whole
    assert counts[-1] == (5, 5)


@pytest.mark.parametrize("given", ["/small", "/small/edge-convert-abc", "/small/edge-convert-abc/trial"])
def test_a_full_disk_is_named_as_the_user_knows_it(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("TMPDIR", given)
    assert disk.full().startswith("there is no room left in /small for the work")


def test_what_a_library_leaves_behind_lies_in_the_folder_of_the_work(tmp_path: Path) -> None:
    with child(tmp_path) as one:
        assert one.call("temporary_folder") == {"folder": str(tmp_path)}


def test_two_children_work_at_once(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with child(tmp_path) as one, child(tmp_path / "other") as other:
        waits = [
            each.begin("meet", folder=str(tmp_path), name=name, count=2) for each, name in ((one, "1"), (other, "2"))
        ]
        assert [wait() for wait in waits] == [{"met": 2}, {"met": 2}]


def test_a_child_that_died_is_known_to_be_gone(tmp_path: Path) -> None:
    with child(tmp_path) as one:
        assert one.alive
        with pytest.raises(ModelError):
            one.call("leave")
        assert not one.alive
