"""An RTSP camera for tests: TCP interleaved, Basic authentication; ffmpeg makes the RTP packets it passes on.

``rtsp_server.py CLIP PORT`` serves one to ``me`` with ``hunter2`` in a process of its own, until its input ends. Each
line of input changes what it does: ``clip FILE``, or what becomes of the packets (``SPOILED``).
"""

import base64
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self


def _interleaved(packet: bytes) -> bytes:
    return b"$\0" + len(packet).to_bytes(2, "big") + packet


RTP_HEADER_BYTES = 12
SPOILED = {
    "sound": _interleaved,
    "garbage": lambda packet: _interleaved(packet[:RTP_HEADER_BYTES] + random.randbytes(len(packet))),
    "truncated": lambda packet: _interleaved(packet[: len(packet) // 2]),
    "noise": lambda packet: random.randbytes(len(packet)),
}
"""What goes to the client for an RTP packet, by name."""


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
        self.packets = "sound"
        self._client: socket.socket | None = None
        self._ffmpeg: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept), threading.Thread(target=self._forward)]

    def __enter__(self) -> Self:
        self.play(self._clip)
        for thread in self._threads:
            thread.start()
        return self

    def play(self, clip: Path) -> None:
        """Serve ``clip`` from now on, to whoever is connected too."""
        self._end_ffmpeg()
        sdp_file = clip.with_suffix(".sdp")
        sdp_file.unlink(missing_ok=True)
        target = f"rtp://127.0.0.1:{self._rtp.getsockname()[1]}"
        command = ["ffmpeg", "-loglevel", "error", "-re", "-stream_loop", "-1", "-i", str(clip), "-c", "copy"]
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

    def _end_ffmpeg(self) -> None:
        if self._ffmpeg is not None:
            self._ffmpeg.kill()
            self._ffmpeg.wait()

    def hang_up(self) -> None:
        """Close the client's connection."""
        if self._client is not None:
            self._client.shutdown(socket.SHUT_RDWR)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._end_ffmpeg()
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
                client.sendall(SPOILED[self.packets](packet))
            except OSError:
                self._client = None


class RtspCamera:
    """Such a server in a process of its own with two clips of different sizes, to be frozen, killed and spoiled."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"rtsp://me:hunter2@127.0.0.1:{port}/live"
        self._port = port
        self._clips = [self._clip(folder, size) for size in ("320x240", "640x352")]
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def _clip(folder: Path, size: str) -> Path:
        clip = folder / f"{size}.mp4"
        picture = ["-f", "lavfi", "-i", f"testsrc=size={size}:rate=10", "-frames:v", "100"]
        # What a decoder must know of the size stands before each key frame.
        coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "10"]
        coded += ["-x264-params", "repeat-headers=1", str(clip)]
        subprocess.run(["ffmpeg", "-y", "-loglevel", "error", *picture, *coded], check=True, stdin=subprocess.DEVNULL)
        return clip

    @property
    def running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Start it with the smaller clip and wait until it can be asked."""
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self._clips[0]), str(self._port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # ffmpeg is killed and frozen with it
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server and its ffmpeg."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End both with SIGKILL; may be called twice."""
        if self._process is not None:
            self.send(signal.SIGKILL)
            self._process.communicate()
            self._process = None

    def spoil(self, packets: str) -> None:
        """Let the packets be one of ``SPOILED`` from now on."""
        self._order(packets)

    def resize(self, *, large: bool) -> None:
        """Change the size of the picture in the middle of the stream."""
        self._order(f"clip {self._clips[large]}")

    def _order(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()


def main() -> None:
    with RtspServer(Path(sys.argv[1]), user="me", password="hunter2", port=int(sys.argv[2])) as server:
        with contextlib.suppress(BrokenPipeError):
            print("ready", flush=True)
        for line in sys.stdin:
            word, _, path = line.strip().partition(" ")
            if word == "clip":
                server.play(Path(path))
            else:
                server.packets = word


if __name__ == "__main__":
    main()
