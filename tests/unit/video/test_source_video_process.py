import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from video_parts import MakeClip, OpenSource, errors_until_given_up, is_gone, pid_of, read_all, read_one

from edge_runtime.errors import SourceError, UsageError
from edge_runtime.sources import _video_child, video


def test_a_frozen_decoder_is_killed_after_the_deadline(
    clip: MakeClip, opened: OpenSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "_GRACE_S", 0.1)
    source = opened(clip(), loop=True)
    read_one(source)
    pid = pid_of(source)
    source._options["timeout_s"] = 0.3
    os.kill(pid, signal.SIGSTOP)
    errors = errors_until_given_up(source)
    assert len(errors) > 1
    assert "the decoder was killed" in str(errors[-1])
    assert is_gone(pid)
    source._options["timeout_s"] = 30.0
    source.open()
    assert read_one(source).sequence == 0


def test_a_decoder_that_dies_is_an_error_and_can_be_opened_anew(clip: MakeClip, opened: OpenSource) -> None:
    source = opened(clip(), loop=True)
    pid = pid_of(source)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(SourceError, match="killed by SIGKILL"):
        read_all(source)
    assert is_gone(pid)
    source.open()
    assert read_one(source).sequence == 0


def test_a_decoder_that_is_slow_to_start_is_not_taken_for_a_camera_that_does_not_answer() -> None:
    source = video.VideoStreamSource(
        video.VideoStreamSource.Config(url="http://camera/video", timeout_s=0.5), stream="video0", wants=None
    )
    waited: list[float] = []

    class SlowStart:
        def start(self, options: object) -> None:
            self.answers = [{"kind": "ready"}, {"kind": "open", "finite": False}]

        def answer(self, timeout_s: float) -> object:
            waited.append(timeout_s)
            return self.answers.pop(0)

        def stop(self) -> None:
            pass

    source._child = SlowStart()  # type: ignore[assignment]
    source.open()
    assert waited[0] >= 10 > waited[1]


def test_ctrl_c_and_sigterm_leave_the_decoder_to_its_parent(clip: MakeClip, opened: OpenSource) -> None:
    source = opened(clip())
    os.kill(pid_of(source), signal.SIGINT)
    os.kill(pid_of(source), signal.SIGTERM)
    assert os.getpgid(pid_of(source)) != os.getpgid(0)
    assert len(read_all(source)[0]) == 10


@pytest.mark.parametrize("end", ["os._exit(1)", "os.kill(os.getpid(), 9)"])
def test_the_decoder_never_outlives_its_parent(clip: MakeClip, end: str) -> None:
    path = clip()
    program = f"""
import os
from edge_runtime.sources.video import VideoFileSource
source = VideoFileSource(VideoFileSource.Config(url={str(path)!r}, loop=True), stream="video0", wants=None)
source.open()
source.read(20.0)
print(source._child._process.pid, flush=True)
{end}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    pid = int(done.stdout)
    # The orphan is adopted; whoever adopts it may leave a zombie, which is not running any more.
    deadline = time.monotonic() + 20
    while not (is_gone(pid) or Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_files_in_the_current_directory_are_not_imported(
    clip: MakeClip, opened: OpenSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("av", "json", "numpy", "mmap"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit(7)\n")
    monkeypatch.chdir(tmp_path)
    assert read_one(opened(clip())).sequence == 0


def test_without_pyav_the_command_is_named(clip: MakeClip, opened: OpenSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"pip install 'edge-infer\[video\]'"):
        opened(clip())


def test_a_pyav_with_wrong_colors_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    old = SimpleNamespace(__version__="16.1.0", error=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "av", old)
    monkeypatch.setitem(sys.modules, "av.error", old.error)
    with pytest.raises(_video_child.OpenError, match=r"PyAV 16\.1\.0 is too old"):
        _video_child.import_av()
