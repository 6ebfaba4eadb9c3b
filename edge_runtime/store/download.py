"""Fetch a file whose size and SHA-256 are known; what has arrived is kept and continued the next time."""

import fcntl
import hashlib
import io
import os
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from edge_runtime._version import __version__
from edge_runtime.errors import DownloadError, StoreError
from edge_runtime.store.atomic import sync_directory

CHUNK_BYTES: Final = 64 * 1024
TIMEOUT_S: Final = 30.0
"""For connecting, and for each silence while the file arrives."""
Progress = Callable[[int, int], None]
"""Called with (bytes that are there, bytes in all) after every chunk."""


def part_path(path: Path) -> Path:
    """Return where a file grows until it is complete."""
    return path.with_name(path.name + ".part")


class RemoteChangedError(DownloadError):
    """What the server gives is not the file asked for; asking again will not mend it."""

    retryable = False


def download(
    url: str,
    path: Path,
    *,
    sha256: str,
    size_bytes: int,
    progress: Progress | None = None,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Fetch ``url`` to ``path`` (mode 0600), which appears only when it is complete, verified and on the disk.

    Until then it grows as ``<path>.part``, which a later call continues. Raises DownloadError (``retryable`` says
    whether another try may help), StoreError when it cannot be written. Called from one thread; another process that
    fetches the same file is noticed.
    """
    place = part_path(path)
    try:
        fd = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _cannot_write(place, error) from error
    with os.fdopen(fd, "r+b", buffering=0) as file:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DownloadError(f"another process is fetching {path.name} already; wait for it") from error
        part = _Part(file, place, size_bytes=size_bytes)
        if part.have < size_bytes:
            _receive(url, part, progress=progress, timeout_s=timeout_s)
        if part.digest.hexdigest() != sha256:
            place.unlink(missing_ok=True)
            raise RemoteChangedError(
                f"{url} is not the file that the catalogue means: expected SHA-256 {sha256}, "
                f"found {part.digest.hexdigest()}; it was thrown away"
            )
        try:
            os.fsync(fd)
            place.replace(path)
            sync_directory(path.parent)
        except OSError as error:
            raise _cannot_write(path, error) from error


def fetch_small(url: str, *, limit_bytes: int, timeout_s: float = TIMEOUT_S) -> bytes:
    """Return the content of an address. Raises DownloadError, also for more than ``limit_bytes``."""
    try:
        with _opener().open(_request(url), timeout=timeout_s) as response:
            content: bytes = response.read(limit_bytes + 1)
    except (OSError, HTTPException, ValueError) as error:
        raise _failed(url, error) from error
    if len(content) > limit_bytes:
        raise RemoteChangedError(f"{url} is larger than {limit_bytes} bytes; that is not what was asked for")
    return content


class _Part:
    """A file on its way: how much of it is there, and the digest of that."""

    def __init__(self, file: io.FileIO, path: Path, *, size_bytes: int) -> None:
        self._file = file
        self._path = path
        self.size_bytes = size_bytes
        self.digest = hashlib.sha256()
        self.have = 0
        if os.fstat(file.fileno()).st_size > size_bytes:
            self.rewind()
        while chunk := file.read(CHUNK_BYTES):
            self.digest.update(chunk)
            self.have += len(chunk)

    def append(self, chunk: bytes) -> None:
        """Add what has arrived. Raises StoreError."""
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise _cannot_write(self._path, error) from error
        self.digest.update(chunk)
        self.have += len(chunk)

    def rewind(self) -> None:
        """Forget everything that has arrived."""
        self._file.seek(0)
        self._file.truncate()
        self.digest = hashlib.sha256()
        self.have = 0


def _receive(url: str, part: _Part, *, progress: Progress | None, timeout_s: float) -> None:
    """Append what is missing. Raises DownloadError, StoreError."""
    try:
        response = _opener().open(_request(url, part.have), timeout=timeout_s)
    except (OSError, HTTPException, ValueError) as error:
        raise _failed(url, error) from error
    size_bytes = part.size_bytes
    with response:
        if part.have and not _continues(response, part.have):
            # The server does not know ranges, or not this one: from the beginning.
            part.rewind()
        while part.have <= size_bytes:
            try:
                chunk = response.read1(min(CHUNK_BYTES, size_bytes + 1 - part.have))
            except (OSError, HTTPException) as error:
                raise _failed(url, error, have=part.have, size_bytes=size_bytes) from error
            if not chunk:
                break
            part.append(chunk)
            if progress:
                progress(min(part.have, size_bytes), size_bytes)
    if part.have > size_bytes:
        part.rewind()
        raise RemoteChangedError(f"{url} is larger than the {size_bytes} bytes of the catalogue; it was thrown away")
    if part.have < size_bytes:
        raise _failed(url, None, have=part.have, size_bytes=size_bytes)


def _continues(response: Any, have: int) -> bool:
    return response.status == 206 and str(response.headers.get("Content-Range", "")).startswith(f"bytes {have}-")


def _request(url: str, have: int = 0) -> Request:
    headers = {"User-Agent": f"edge-infer/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    return Request(url, headers=headers)  # noqa: S310 - the opener knows http and https only


def _opener() -> OpenerDirector:
    """Return an opener for http and https and nothing else: urllib's own would follow a redirection to ftp."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler,
        HTTPHandler,
        HTTPSHandler,
        HTTPRedirectHandler,
        HTTPDefaultErrorHandler,
        HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _cannot_write(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path} cannot be written: {error.strerror or error}; free some space or choose another directory"
    )


def _failed(url: str, error: Exception | None, *, have: int = 0, size_bytes: int = 0) -> DownloadError:
    """Put a failure into one sentence that says what to do."""
    host = urlsplit(url).hostname or url
    kept = f" after {have} of {size_bytes} bytes; run it again to continue" if have else "; try again later"
    if isinstance(error, HTTPError):
        error.close()
        if 400 <= error.code < 500 and error.code not in {408, 425, 429}:
            return RemoteChangedError(f"{host} does not give {url} (HTTP status {error.code}); it may have moved")
        return DownloadError(f"{host} answers with HTTP status {error.code}{kept}")
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return DownloadError(f"{host} has fallen silent{kept}")
    if error is None or have:
        return DownloadError(f"the connection to {host} was cut{kept}")
    if isinstance(reason, ValueError | HTTPException):
        return DownloadError(f"{host} does not answer as a web server should ({type(reason).__name__}){kept}")
    detail = getattr(reason, "strerror", None) or reason
    if "CERTIFICATE_VERIFY_FAILED" in str(reason):
        # Boards without a battery-backed clock start in the past, where no certificate is valid yet.
        return DownloadError(f"the certificate of {host} is not accepted ({detail}): check this device's date and time")
    return DownloadError(
        f"cannot reach {host} ({detail}): check the network, or copy the file here by hand and give its path"
    )
