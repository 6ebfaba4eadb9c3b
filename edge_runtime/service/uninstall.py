"""Take the service out again; with ``purge`` its configuration, state and user too."""

import shutil

from edge_runtime.errors import InstallError, UsageError
from edge_runtime.service import system
from edge_runtime.service.install import need_root
from edge_runtime.service.layout import UNIT, Layout


def uninstall(layout: Layout, *, purge: bool, packaged: bool = False) -> list[str]:
    """Remove it and return what stays, for the user to know. Raises UsageError, InstallError.

    May be called again after it was cut off, and where nothing is installed.
    """
    need_root(layout)
    if layout.packaged.is_dir() and not packaged:
        raise UsageError("the Debian package installed this: sudo apt remove edge-infer (or: purge)")
    system.disable(layout)
    try:
        if not packaged:  # these are the package's
            layout.command.unlink(missing_ok=True)
        system.remove_files(layout, packaged=packaged)
        if layout.home.is_dir():
            shutil.rmtree(layout.home)
        if layout.live:
            system.reload()
        if not purge:
            return [str(path) for path in (layout.config_folder, layout.state) if path.exists()]
        for folder in (layout.config_folder, layout.state, layout.setup, layout.root / f"etc/systemd/system/{UNIT}.d"):
            if folder.is_dir():
                shutil.rmtree(folder)
        system.remove_user(layout)
    except OSError as error:
        raise InstallError(f"cannot remove {error.filename}: {error.strerror}") from error
    return []
