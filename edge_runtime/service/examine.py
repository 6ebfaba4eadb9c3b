"""``edge-infer doctor`` as the service sees the device: its user, groups, folder and state."""

import os
from typing import NoReturn

from edge_runtime.errors import UsageError
from edge_runtime.service import system
from edge_runtime.service.install import current, need_root
from edge_runtime.service.layout import USER, Layout


def doctor(layout: Layout, *, as_json: bool) -> NoReturn:
    """Become the service's user and run ``doctor`` in place of this process. Raises UsageError."""
    need_root(layout)
    ids, used = system.identity(layout), current(layout)
    if not layout.live or ids is None or used is None:
        raise UsageError("edge-infer is not installed as a service here: sudo edge-infer service install")
    os.initgroups(USER, ids[1])
    os.setgid(ids[1])
    os.setuid(ids[0])
    os.chdir(layout.config_folder)
    environment = {**os.environ, "EDGE_INFER_STATE_DIR": str(layout.state), "HOME": str(layout.state)}
    words = ["doctor", "--config", str(layout.config), *(["--json"] if as_json else [])]
    os.execve(layout.current / "bin/edge-infer", ["edge-infer", *words], environment)  # noqa: S606 - no shell is the point
