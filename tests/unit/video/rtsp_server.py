"""An RTSP camera for tests: TCP interleaved, Basic authentication; ffmpeg makes the RTP packets it passes on.

``rtsp_server.py CLIP PORT`` serves one to ``me`` with ``hunter2`` in a process of its own, until its input ends.
"""

import base64
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self


class RtspServer:
    """Serves one clip over and over to one client at a time (RFC 2326, 10.12 for the interleaving)."""

    def __init__(self, clip: Path, *, user: str, password: str, port: int = 0) -> None:
        self._clip = clip
        self._wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._rtp.bind(("127.0.0.1", 0))
        self._rtp.settimeout(0.1)
        self._client: socket.socket | None = None
        self._ffmpeg: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept), threading.Thread(target=self._forward)]

    def __enter__(self) -> Self:
        sdp_file = self._clip.with_suffix(".sdp")
        target = f"rtp://127.0.0.1:{self._rtp.getsockname()[1]}"
        command = ["ffmpeg", "-loglevel", "error", "-re", "-stream_loop", "-1", "-i", str(self._clip), "-c", "copy"]
        self._ffmpeg = subprocess.Popen(
            [*command, "-f", "rtp", "-sdp_file", str(sdp_file), target],
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while not sdp_file.exists() or not sdp_file.read_text().endswith("\n"):
            assert time.monotonic() < deadline, "ffmpeg wrote no session description"
            time.sleep(0.02)
        lines = [line for line in sdp_file.read_text().splitlines() if not line.startswith("SDP:")]
        self._sdp = "\r\n".join([*lines, "a=control:track1", ""])
        for thread in self._threads:
            thread.start()
        return self

    def hang_up(self) -> None:
        """Close the client's connection."""
        if self._client is not None:
            self._client.shutdown(socket.SHUT_RDWR)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        assert self._ffmpeg is not None
        self._ffmpeg.kill()
        self._ffmpeg.wait()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()
        self._rtp.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as requests:
                try:
                    while request := self._request(requests):
                        self._answer(connection, *request)
                except OSError:
                    continue
                finally:
                    self._client = None

    def _request(self, requests: object) -> tuple[str, dict[str, str]] | None:
        read = requests.readline  # type: ignore[attr-defined]
        first = read()
        while first[:1] == b"$":  # an interleaved RTCP report of the client: skip what belongs to it
            requests.read(3 + int.from_bytes(first[2:4]) - len(first) + 1)  # type: ignore[attr-defined]
            first = read()
        if not first:
            return None
        headers = {}
        while (line := read().decode().strip()) != "":
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return first.decode().split(" ")[0], headers

    def _answer(self, connection: socket.socket, method: str, headers: dict[str, str]) -> None:
        status, extra, body = "200 OK", [], ""
        if method != "OPTIONS" and headers.get("authorization") != self._wanted:
            status, extra = "401 Unauthorized", ['WWW-Authenticate: Basic realm="camera"']
        elif method == "OPTIONS":
            extra = ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"]
        elif method == "DESCRIBE":
            body = self._sdp
            extra = ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            extra = ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"]
        elif method == "PLAY":
            extra = ["Session: 1"]
        lines = [f"RTSP/1.0 {status}", f"CSeq: {headers.get('cseq', '0')}", *extra]
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        if method == "PLAY" and status.startswith("200"):
            self._client = connection

    def _forward(self) -> None:
        while not self._over.is_set():
            try:
                packet = self._rtp.recv(65536)
            except TimeoutError:
                continue
            client = self._client
            if client is None:
                continue
            try:
                client.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)
            except OSError:
                self._client = None


if __name__ == "__main__":
    with RtspServer(Path(sys.argv[1]), user="me", password="hunter2", port=int(sys.argv[2])):
        print("ready", flush=True)
        sys.stdin.read()
