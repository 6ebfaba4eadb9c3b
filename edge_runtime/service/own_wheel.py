"""Pack the installed edge-infer as a wheel, so that any copy of it can be put onto a device without a build."""

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from edge_runtime._version import __version__
from edge_runtime.errors import InstallError
from edge_runtime.service.packages import NAME

PACKAGES: Final = ("edge_runtime", "device_configs", "converters")
FILE_NAME: Final = f"edge_infer-{__version__}-py3-none-any.whl"
_INFO: Final = f"edge_infer-{__version__}.dist-info"
_WHEEL: Final = "Wheel-Version: 1.0\nGenerator: edge-infer\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_TIME: Final = (2026, 1, 1, 0, 0, 0)


def pack(folder: Path) -> Path:
    """Write the wheel into a folder and return its path; the same files give the same bytes. Raises InstallError.

    The format is PEP 427's; metadata and entry points are those that this copy was installed with.
    """
    described, entry_points = _metadata()
    path = folder / FILE_NAME
    record: list[str] = []
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
            for name, data in (*_sources(), (f"{_INFO}/METADATA", described.encode())):
                _add(wheel, name, data, record)
            _add(wheel, f"{_INFO}/WHEEL", _WHEEL.encode(), record)
            _add(wheel, f"{_INFO}/entry_points.txt", entry_points.encode(), record)
            lines = "\n".join([*record, f"{_INFO}/RECORD,,"]) + "\n"
            _add(wheel, f"{_INFO}/RECORD", lines.encode(), [])
    except OSError as error:
        path.unlink(missing_ok=True)
        raise InstallError(f"cannot write {path}: {error.strerror}") from error
    return path


def _metadata() -> tuple[str, str]:
    """Return metadata and entry points of the installed copy. Raises InstallError."""
    try:
        distribution = metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        distribution = None
    if distribution is not None:
        # The second name is that of a checkout's own notes about itself, which may be found first.
        described = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO")
        entry_points = distribution.read_text("entry_points.txt")
        if described and entry_points:
            return described, entry_points
    raise InstallError("edge-infer runs from files that pip did not install; name its wheel with --wheel")


def _sources() -> Iterator[tuple[str, bytes]]:
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        top = Path(next(iter(spec.submodule_search_locations)))
        for path in sorted(top.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"{package}/{path.relative_to(top).as_posix()}", path.read_bytes()


def _add(wheel: zipfile.ZipFile, name: str, data: bytes, record: list[str]) -> None:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    wheel.writestr(entry, data)
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    record.append(f"{name},sha256={digest},{len(data)}")
