"""Fetching models: resumed, verified, refused; and what then lies in the store."""

import fcntl
import hashlib
import json
import os
import resource
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

from edge_runtime import cli
from edge_runtime.errors import ConfigError, DownloadError, StoreError, UsageError
from edge_runtime.manifest import resolve
from edge_runtime.store.catalogue import load_catalogue
from edge_runtime.store.download import download
from edge_runtime.store.models import ModelStore

CONTENT = bytes(range(256)) * 1024
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """A web server that behaves as it is told: files by path, and how each is served."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"/m": CONTENT}
        self.status: dict[str, int] = {}
        self.location: dict[str, str] = {}
        self.cut_after: list[int] = []
        self.ranges = True
        self.announce = True
        self.requests: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.serve(self)

            def log_message(self, *_: Any) -> None: ...

        class Http(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """Clients that hang up are what these tests are about."""

        self._http = Http(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.requests.append((request.path, asked))
        if (target := self.location.get(request.path)) is not None:
            request.send_response(302)
            request.send_header("Location", target)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        status = self.status.get(request.path, 200 if request.path in self.files else 404)
        body = self.files.get(request.path, b"") if status == 200 else b""
        total = len(body)
        if asked and self.ranges and status == 200:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            status, body = 206, body[start:]
        request.send_response(status)
        if status == 206:
            request.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if self.announce:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if self.cut_after:
            body = body[: self.cut_after.pop(0)]
            request.wfile.write(body)
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        request.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def fetch(server: Server, path: Path, **changes: Any) -> None:
    facts: dict[str, Any] = {"sha256": SHA256, "size_bytes": len(CONTENT), "timeout_s": 10.0} | changes
    download(server.url + facts.pop("where", "/m"), path, **facts)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- download


def test_a_file_arrives_whole_private_and_without_leftovers(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    fetch(server, tmp_path / "m", progress=lambda have, total: seen.append((have, total)))
    assert (tmp_path / "m").read_bytes() == CONTENT
    assert mode(tmp_path / "m") == 0o600
    assert os.listdir(tmp_path) == ["m"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_cut_connection_is_taken_up_where_it_ended(server: Server, tmp_path: Path) -> None:
    server.cut_after = [100_000]
    with pytest.raises(DownloadError, match="cut after 100000 of 262144 bytes; run it again to continue"):
        fetch(server, tmp_path / "m")
    assert not (tmp_path / "m").exists()
    assert mode(tmp_path / "m.part") == 0o600
    fetch(server, tmp_path / "m")
    assert server.requests[-1] == ("/m", "bytes=100000-")
    assert (tmp_path / "m").read_bytes() == CONTENT


def test_a_server_without_ranges_is_read_from_the_beginning(server: Server, tmp_path: Path) -> None:
    (tmp_path / "m.part").write_bytes(b"x" * 50)
    server.ranges = False
    fetch(server, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT


def test_a_part_that_is_complete_is_only_verified(server: Server, tmp_path: Path) -> None:
    (tmp_path / "m.part").write_bytes(CONTENT)
    fetch(server, tmp_path / "m")
    assert server.requests == []
    assert (tmp_path / "m").read_bytes() == CONTENT


def test_a_part_of_another_file_is_thrown_away_and_the_next_try_is_right(server: Server, tmp_path: Path) -> None:
    (tmp_path / "m.part").write_bytes(b"x" * 50)
    with pytest.raises(DownloadError, match="not the file that the catalogue means") as caught:
        fetch(server, tmp_path / "m")
    assert not caught.value.retryable
    assert os.listdir(tmp_path) == []
    fetch(server, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT


def test_redirections_are_followed_to_http_only(server: Server, tmp_path: Path) -> None:
    server.location["/moved"] = "/m"
    fetch(server, tmp_path / "m", where="/moved")
    assert (tmp_path / "m").read_bytes() == CONTENT
    for number, target in enumerate(("ftp://127.0.0.1/m", "file:///etc/passwd", "/loop")):
        server.location["/loop"] = target
        with pytest.raises(DownloadError) as caught:
            fetch(server, tmp_path / str(number), where="/loop")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("announce", [True, False])
def test_more_bytes_than_the_catalogue_says_are_not_taken(server: Server, tmp_path: Path, announce: bool) -> None:
    server.announce = announce
    server.files["/m"] = CONTENT * 40
    with pytest.raises(DownloadError, match="larger than the 262144 bytes"):
        fetch(server, tmp_path / "m")
    assert not (tmp_path / "m").exists()
    assert (tmp_path / "m.part").stat().st_size == 0


def test_a_wrong_checksum_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"expected SHA-256 {'0' * 64}, found {SHA256}"):
        fetch(server, tmp_path / "m", sha256="0" * 64)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "words", "retryable"), [(404, "may have moved", False), (503, "503.*try again", True)]
)
def test_a_refusing_server_is_named(server: Server, tmp_path: Path, status: int, words: str, retryable: bool) -> None:
    server.status["/m"] = status
    with pytest.raises(DownloadError, match=words) as caught:
        fetch(server, tmp_path / "m")
    assert caught.value.retryable == retryable
    assert "127.0.0.1" in str(caught.value)


def test_a_silent_server_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/m"
        with pytest.raises(DownloadError, match="fallen silent"):
            download(url, tmp_path / "m", sha256=SHA256, size_bytes=9, timeout_s=0.2)


def test_what_is_no_web_server_and_who_is_away_are_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(DownloadError, match=r"cannot reach 127\.0\.0\.1 .*copy the file here by hand"):
        download(f"http://127.0.0.1:{port}/m", tmp_path / "m", sha256=SHA256, size_bytes=9)
    with socket.create_server(("127.0.0.1", 0)) as babbling:
        thread = threading.Thread(target=_babble, args=(babbling,))
        thread.start()
        url = f"http://127.0.0.1:{babbling.getsockname()[1]}/m"
        with pytest.raises(DownloadError, match="does not answer as a web server should"):
            download(url, tmp_path / "m", sha256=SHA256, size_bytes=9)
        thread.join()


def _babble(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def test_a_folder_that_cannot_be_written_is_said(server: Server, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        fetch(server, tmp_path / "absent" / "m")


def test_a_full_disk_is_said_and_what_arrived_is_kept(server: Server, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StoreError, match=r"m\.part cannot be written: File too large; free some space"):
            fetch(server, tmp_path / "m")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    fetch(server, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT


def test_two_processes_do_not_write_the_same_part(server: Server, tmp_path: Path) -> None:
    with (tmp_path / "m.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="another process"):
            fetch(server, tmp_path / "m")


# --- the catalogue


def catalogue_of(server: Server, **entries: tuple[bytes, dict[str, Any]]) -> str:
    """Serve a catalogue with these models (content, more keys) and return its address."""
    lines = ["schema = 1"]
    for name, (content, more) in entries.items():
        server.files[f"/{name}.tflite"] = content
        lines += [f'[models."{name}"]', f'url = "{name}.tflite"']
        lines += [f"size_bytes = {len(content)}", f'sha256 = "{hashlib.sha256(content).hexdigest()}"']
        lines += [f"{key} = {value}" for key, value in more.items()]
    server.files["/catalogue.toml"] = "\n".join(lines).encode()
    return f"{server.url}/catalogue.toml"


def test_the_built_in_catalogue_is_what_the_reference_set_is(reference: Path) -> None:
    files = {(f["sha256"], f["bytes"]) for f in json.loads((reference / "index.json").read_text())["files"]}
    entries = load_catalogue()
    assert {"mobilenet_v2", "ssd_mobilenet_v1", "deeplab_v3", "movenet_lightning", "yamnet"} <= set(entries)
    for entry in entries.values():
        for file in filter(None, (entry.model, entry.labels)):
            assert (file.sha256, file.size_bytes) in files
            assert file.url.startswith("https://")
        assert entry.licence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("schema = 1\n[models.m]\nurl = 'http://x/m'\nsize_bytes = 1", "missing required field sha256"),
        (f"schema = 1\n[models.m]\nurl = 'ftp://x/m'\nsize_bytes = 1\nsha256 = '{SHA256}'", "http or https address"),
        ("schema = 1\n[models.m]\nurl = 'http://x/m'\nsize_bytes = 1\nsha256 = 'abc'", "64 lower-case hex"),
        (f"schema = 1\n[models.'../m']\nurl = 'http://x/m'\nsize_bytes = 1\nsha256 = '{SHA256}'", "model name"),
        ("schema = 2\n[models]", "expected 1, found 2"),
        ("not toml", "not valid TOML"),
    ],
)
def test_a_malformed_catalogue_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "catalogue.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_catalogue(str(path))
    assert "\n" not in str(caught.value)


def test_a_catalogue_that_is_not_there_is_a_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_catalogue(str(tmp_path / "absent.toml"))


# --- the store


def test_a_pulled_model_runs_without_flags(server: Server, tmp_path: Path, reference: Path) -> None:
    model = (reference / "models" / "segment" / "deeplabv3_mnv2_dm05_pascal_quant.tflite").read_bytes()
    labels = (reference / "labels" / "pascal_voc_segmentation_labels.txt").read_bytes()
    server.files["/labels.txt"] = labels
    digest = hashlib.sha256(labels).hexdigest()
    table = f'{{ url = "labels.txt", size_bytes = {len(labels)}, sha256 = "{digest}" }}'
    url = catalogue_of(server, deeplab_v3=(model, {"task": '"segment"', "labels": table}))
    path = ModelStore(tmp_path, catalogue=url).pull("deeplab_v3")
    spec = resolve(path)
    assert (spec.identity.name, spec.task) == ("deeplab_v3", "segment")
    assert spec.labels is not None
    assert (len(spec.labels), spec.labels[15]) == (21, "person")
    assert mode(path.parent) == 0o700
    assert {mode(file) for file in path.parent.iterdir()} == {0o600}


def test_a_model_that_is_here_and_right_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    store = ModelStore(tmp_path, catalogue=catalogue_of(server, m=(CONTENT, {})))
    path = store.pull("m")
    store.pull("m")
    assert [asked for asked, _ in server.requests].count("/m.tflite") == 1
    path.write_bytes(CONTENT[:-1] + b"x")
    assert store.pull("m").read_bytes() == CONTENT


def test_a_pull_goes_on_after_a_cut_connection_by_itself(server: Server, tmp_path: Path) -> None:
    url = catalogue_of(server, m=(CONTENT, {}))
    store = ModelStore(tmp_path, catalogue=url)
    store.catalogue()
    server.requests.clear()
    path = tmp_path / "catalogue.toml"
    path.write_bytes(server.files["/catalogue.toml"].replace(b'"m.tflite"', f'"{server.url}/m.tflite"'.encode()))
    server.cut_after = [50_000, 100_000]
    assert ModelStore(tmp_path, catalogue=str(path)).pull("m").read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=50000-", "bytes=150000-"]


def test_obtain_fetches_once(server: Server, tmp_path: Path) -> None:
    store = ModelStore(tmp_path, catalogue=catalogue_of(server, m=(CONTENT, {})))
    assert store.obtain("m") == store.obtain("m")
    assert [asked for asked, _ in server.requests].count("/m.tflite") == 1


def test_an_unknown_name_is_a_wrong_use_with_a_suggestion(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    with pytest.raises(UsageError, match="did you mean mobilenet_v2"):
        store.obtain("mobilenet_v3")
    for name in ("../../etc/passwd", ".hidden", ""):
        with pytest.raises(UsageError, match="name"):
            store.obtain(name)
    assert os.listdir(tmp_path) == []


def test_the_active_model_is_remembered(server: Server, tmp_path: Path) -> None:
    url = catalogue_of(server, a=(CONTENT, {}), b=(CONTENT, {}))
    store = ModelStore(tmp_path, catalogue=url)
    assert store.active() is None
    with pytest.raises(UsageError, match="not in the store"):
        store.activate("a")
    store.pull("a")
    store.pull("b")
    store.activate("b")
    again = ModelStore(tmp_path)
    assert again.active() == tmp_path / "models" / "b.tflite"
    assert [(model.name, model.active) for model in again.installed()] == [("a", False), ("b", True)]
    (tmp_path / "models" / "b.tflite").unlink()
    with pytest.raises(StoreError, match="gone"):
        again.active()


# --- the command


@pytest.fixture
def edge_infer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    monkeypatch.setenv("EDGE_INFER_STATE_DIR", str(tmp_path / "state"))

    def run(*words: str) -> tuple[int, str, str]:
        status = cli.main(words)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_the_first_model_pulled_becomes_the_active_one(server: Server, edge_infer: Callable[..., Any]) -> None:
    url = catalogue_of(server, a=(CONTENT, {}), b=(CONTENT, {}))
    status, out, _ = edge_infer("models", "pull", "a", "--catalogue", url, "--json")
    assert status == 0
    assert json.loads(out)["active"] is True
    _, out, _ = edge_infer("models", "pull", "b", "--catalogue", url, "--json")
    assert json.loads(out)["active"] is False
    _, out, _ = edge_infer("models", "list", "--catalogue", url, "--json")
    assert [(row["name"], row["active"], bool(row["path"])) for row in json.loads(out)["models"]] == [
        ("a", True, True),
        ("b", False, True),
    ]


def test_the_environment_names_the_catalogue(
    server: Server, edge_infer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_INFER_CATALOGUE", catalogue_of(server, special=(CONTENT, {})))
    status, out, _ = edge_infer("models", "list")
    assert status == 0
    assert out.startswith("special")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["pull"], 2, "which model"),
        (["pull", "nothing_like_it"], 2, "there are deeplab_v3"),
        (["list", "m"], 2, "takes no name"),
    ],
)
def test_wrong_uses_end_with_2_and_one_line(
    edge_infer: Callable[..., Any], words: list[str], status: int, message: str
) -> None:
    ended, out, err = edge_infer("models", *words)
    assert (ended, out) == (status, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_failed_download_ends_with_1(server: Server, edge_infer: Callable[..., Any]) -> None:
    url = catalogue_of(server, m=(CONTENT, {}))
    server.status["/m.tflite"] = 404
    status, _, err = edge_infer("models", "pull", "m", "--catalogue", url)
    assert status == 1
    assert "404" in err
    assert err.count("\n") == 1
