"""What doctor says of a daemon that runs, by what that wrote about itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.doctor.running import running
from edge_runtime.supervision import health

WELL: dict[str, Any] = {
    "schema": 1, "pid": 7, "at": "2026-11-25T16:00:00.000Z", "stuck": None, "watchdog_s": 60.0, "config_error": None,
    "last_restart": None, "memory_limit_mb": 250.0, "outbox_error": None, "streams": {"door": "online"},
    "clock": {"synchronised": True, "steps": 0, "stepped_at": None, "step_s": None},
    "engine": {"delegate": "cpu", "delegate_reason": "the CPU was asked for", "restarts": 0, "restart_reason": None},
}  # fmt: skip


def said(folder: Path, **changes: Any) -> dict[str, tuple[str, str]]:
    (folder / health.FILE_NAME).write_text(json.dumps(WELL | changes))
    return {one.name: (one.status, one.message) for one in running(folder, holder="process 7")}


def test_a_daemon_that_is_well_has_nothing_but_good_checks(tmp_path: Path) -> None:
    checks = said(tmp_path)
    assert {status for status, _ in checks.values()} == {"ok"}
    assert "every 60 s" in checks["run"][1]


@pytest.mark.parametrize(
    ("changes", "name", "status", "words"),
    [
        ({"stuck": "inference"}, "run", "fail", "inference does not come back"),
        ({"config_error": "edge.toml: no"}, "run-config", "fail", "the one before is used: edge.toml: no"),
        ({"streams": {"door": "stalled", "yard": "online"}}, "run-streams", "warn", "door is stalled"),
        ({"outbox_error": "the disk is full"}, "run-outbox", "fail", "the disk is full; what is unsent waits"),
        ({"last_restart": {"at": "noon", "reason": "it leaked"}}, "run-memory", "warn", "at noon because it leaked"),
        ({"engine": {"delegate": "cpu", "delegate_reason": "edgetpu does not work now", "restarts": 4,
                     "restart_reason": "the device was lost"}}, "run-engine", "warn", "4 times, last because the dev"),
        ({"clock": {"steps": 1, "stepped_at": "noon", "step_s": 1.5e9}}, "run-clock", "warn", "by +1.5e+09 s"),
        ({"engine": None}, "run-engine", "none", "preview"),
    ],
)  # fmt: skip
def test_each_lasting_state_is_explained(
    tmp_path: Path, changes: dict[str, Any], name: str, status: str, words: str
) -> None:
    checks = said(tmp_path, **changes)
    assert checks[name][0] == status
    assert words in checks[name][1]


def test_without_a_daemon_or_its_file_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert [one.status for one in running(tmp_path, holder=None)] == ["none"]
    assert [one.status for one in running(tmp_path, holder="process 7")] == ["none"]
