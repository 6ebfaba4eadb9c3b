"""A camera on the network in a process of its own, so that it can be frozen and killed: MJPEG over HTTP.

    camera_server.py PORT [--fps 10]

The pictures are those of the bundled demonstration.
"""

import argparse
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from edge_runtime.sources.demo import DemoSource


def pictures(count: int) -> list[bytes]:
    source = DemoSource(DemoSource.Config(size=(320, 240), fps=240), stream="server", wants=None)
    source.open()
    frames = [source.read(1.0) for _ in range(count)]
    return [bytes(frame.data) for frame in frames if frame is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--fps", type=float, default=10.0)
    args = parser.parse_args()
    shown = pictures(64)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            number = 0
            try:
                while True:
                    picture = shown[number % len(shown)]
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                    self.wfile.write(head.encode() + picture + b"\r\n")
                    number += 1
                    time.sleep(1 / args.fps)
            except OSError:
                return  # the reader has left

        def log_message(self, *_: object) -> None:
            pass

    ThreadingHTTPServer.allow_reuse_address = True
    ThreadingHTTPServer(("127.0.0.1", args.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
