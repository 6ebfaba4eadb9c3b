import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime.errors import StoreError, UsageError
from edge_runtime.store import atomic
from edge_runtime.store.atomic import replace_file
from edge_runtime.store.state import StateDir, state_path


def test_the_place_follows_the_environment():
    assert state_path("porch", {"XDG_STATE_HOME": "/var/state"}) == Path("/var/state/edge-infer/porch")
    assert state_path("porch", {"EDGE_INFER_STATE_DIR": "/var/lib/edge-infer"}) == Path("/var/lib/edge-infer")
    assert state_path("porch", {"XDG_STATE_HOME": "not/absolute"}) == Path.home() / ".local/state/edge-infer/porch"
    assert state_path("porch", {}) == Path.home() / ".local/state/edge-infer/porch"


@pytest.mark.parametrize("device_id", ["", ".", "..", "a/b", "../x", "a\0b"])
def test_a_device_id_that_is_no_directory_name_is_refused(device_id):
    with pytest.raises(UsageError, match="device id"):
        state_path(device_id, {})


def test_only_this_user_may_look_inside(tmp_path):
    with StateDir(tmp_path / "a" / "porch", "porch") as state:
        assert stat.S_IMODE(state.path.stat().st_mode) == 0o700


def test_a_second_process_is_told_who_holds_it(tmp_path):
    with StateDir(tmp_path, "porch"):
        code = (
            "import sys; from pathlib import Path; from edge_runtime.store.state import StateDir\n"
            "try:\n    StateDir(Path(sys.argv[1]), 'porch').open()\n"
            "except Exception as error:\n    print(type(error).__name__, error.exit_status, error)"
        )
        second = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert second.stdout.startswith(f"UsageError 2 process {os.getpid()} already runs as device 'porch'")
    assert "--device-id" in second.stdout


def test_it_is_free_again_after_the_end_even_of_a_killed_process(tmp_path):
    first = StateDir(tmp_path, "porch")
    first.open()
    first.open()
    first.close()
    first.close()
    (tmp_path / "lock").write_text("99999999999\n")  # left by a process that was killed
    with StateDir(tmp_path, "porch"):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_place_that_cannot_be_made_is_an_error_that_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="EDGE_INFER_STATE_DIR"):
        StateDir(tmp_path / "file" / "porch", "porch").open()


def test_a_full_disk_is_an_error_of_one_line_and_lets_go_of_the_lock(tmp_path, monkeypatch):
    def full(fd, data, offset):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(StoreError, match="No space left on device") as caught:
            StateDir(tmp_path, "porch").open()
    assert "\n" not in str(caught.value)
    with StateDir(tmp_path, "porch"):
        pass


def test_a_file_is_on_the_disk_before_its_name_and_the_name_before_the_return(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(fd):
        steps.append("sync " + ("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "content"))
        fsync(fd)

    def note_replace(self, target):
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(atomic.os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    replace_file(tmp_path / "file", b"new")
    assert steps == ["sync content", "rename", "sync directory"]
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path, monkeypatch):
    replace_file(tmp_path / "file", b"old")

    def full(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(tmp_path / "file", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"
