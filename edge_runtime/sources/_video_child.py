"""The process that decodes video; run by ``_video_process`` as ``python -m edge_runtime.sources._video_child``.

FFmpeg's native code can block or crash where no deadline reaches it, so it lives where it can be killed. The dialogue:
the first line on standard input are the options (JSON; a password never stands on a command line); the first line on
standard output says that FFmpeg is loaded, the second what was opened; then each byte in asks for a picture, and each
answer is a line of JSON, with the pixels or the JPEG bytes in a shared memory file. End of input means that the parent
is gone, and ends this process whatever it is doing. The memory holds one picture: the parent asks again only after it
has copied it.
"""

import json
import mmap
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

OLDEST_PYAV: Final = 17
"""Older ones take every video for BT.601, which turns the colours of HD video by up to 24 of 255 levels."""
MAX_PIXELS: Final = 64_000_000
STREAM_PROTOCOLS: Final = "crypto,data,http,httpproxy,https,rtp,rtsp,rtsps,srtp,tcp,tls,udp"
"""What a stream may lead on to; never a local file."""


@dataclass(frozen=True, slots=True)
class Item:
    """One answer in the making: a decoded frame or JPEG bytes, or only the words of ``answer``."""

    answer: dict[str, Any]
    picture: Any = None


class OpenError(Exception):
    """The video cannot be read; ``what`` is ``usage``, ``unavailable`` or ``broken``."""

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message)
        self.what = what


class Slot:
    """Room for one item between the decoding and the answering thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: Item | None = None

    def put(self, item: Item, *, replace: bool) -> None:
        """Put ``item`` in: in place of the one that waits, or when that was taken."""
        with self._condition:
            self._condition.wait_for(lambda: replace or self._item is None)
            self._item = item
            self._condition.notify_all()

    def take(self) -> Item:
        """Wait for an item and take it out."""
        with self._condition:
            self._condition.wait_for(lambda: self._item is not None)
            item, self._item = self._item, None
            self._condition.notify_all()
            assert item is not None
            return item


class Decoder:
    """Opens the video and puts its pictures in the slot, one thread for all of it.

    A live stream replaces the picture that waits; a file or a finite stream waits until it was taken.
    """

    def __init__(self, options: dict[str, Any], slot: Slot, replies: "Replies") -> None:
        self._options = options
        self._slot = slot
        self._replies = replies
        self._live = bool(options["stream"])
        self._is_open = False
        self._index = 0

    def run(self) -> None:
        """Thread: decode until the end; the last answer says how it ended."""
        try:
            end = self._decode()
        except OpenError as error:
            end = {"kind": "error", "what": error.what, "message": str(error)}
        except Exception as error:  # noqa: BLE001 - the top of the worker: whatever it is, the parent hears of it
            end = {"kind": "error", "what": "broken", "message": f"{type(error).__name__}: {error}"}
        if self._is_open:
            self._slot.put(Item(end), replace=self._live)
        else:
            self._replies.send(end)

    def _decode(self) -> dict[str, Any]:
        av = import_av()
        self._replies.send({"kind": "ready"})
        number = 0
        while True:
            with self._open(av) as container:
                video = container.streams.video[0]
                if not self._is_open:
                    self._is_open = True
                    self._replies.send(self._opened(container, video))
                before = self._index
                try:
                    for item in self._items(av, container, video, number):
                        self._slot.put(item, replace=self._live)
                except av.error.FFmpegError as error:
                    raise OpenError("broken", f"broke off ({self._words(av, error)})") from error
            if self._live:
                raise OpenError("broken", "broke off (the other side ended it)")
            if self._index == before:
                raise OpenError("broken", "there is no picture in it that can be decoded")
            if not self._options["loop"]:
                return {"kind": "end"}
            number += 1

    def _open(self, av: Any) -> Any:
        url, timeout_s = self._options["url"], self._options["timeout_s"]
        if self._options["stream"]:
            options = {"protocol_whitelist": STREAM_PROTOCOLS, "rtsp_transport": self._options["transport"]}
        else:
            url, options = f"file:{url}", {"protocol_whitelist": "file"}
        try:
            container = av.open(url, options=options, timeout=timeout_s)
        except av.error.FFmpegError as error:
            if self._options["stream"]:
                raise OpenError("unavailable", self._words(av, error)) from error
            raise OpenError("broken", f"not a video, or a broken one ({self._words(av, error)})") from error
        if not container.streams.video:
            container.close()
            raise OpenError("usage", "there is no video in it")
        codec = container.streams.video[0].codec_context
        if codec.width * codec.height > MAX_PIXELS:
            container.close()
            raise OpenError("broken", f"pictures of {codec.width}x{codec.height} are too large")
        return container

    def _opened(self, container: Any, video: Any) -> dict[str, Any]:
        if container.duration is not None:
            self._live = False
        rate = video.average_rate or video.guessed_rate
        return {
            "kind": "open",
            "size": [video.codec_context.width, video.codec_context.height],
            "fps": round(float(rate), 3) if rate else None,
            "codec": video.codec_context.name,
            "finite": not self._live,
        }

    def _items(self, av: Any, container: Any, video: Any, number: int) -> Iterator[Item]:
        undecoded = video.codec_context.name == "mjpeg"
        for packet in container.demux(video):
            received_ns = time.monotonic_ns()
            try:
                pictures = ([packet] if packet.size else []) if undecoded else packet.decode()
            except av.error.FFmpegError as error:
                if self._index or not self._live:  # joining a live stream between two key frames is no fault
                    yield self._bad(self._words(av, error))
                continue
            for picture in pictures:
                if picture.is_corrupt:
                    yield self._bad("damaged")
                    continue
                stamp = picture.dts if picture.pts is None else picture.pts
                position_s = None if stamp is None else float(stamp * picture.time_base)
                answer = {"kind": "frame", "index": self._index, "position_s": position_s, "number": number}
                self._index += 1
                yield Item(answer | {"received_ns": received_ns}, bytes(picture) if undecoded else picture)

    def _bad(self, words: str) -> Item:
        self._index += 1
        return Item({"kind": "bad", "message": f"picture {self._index - 1} cannot be decoded ({words})"})

    def _words(self, av: Any, error: Any) -> str:
        if isinstance(error, av.error.ExitError):
            return f"no answer within {self._options['timeout_s']:g} s"
        return str(error.strerror)


class Replies:
    """The parent's end: lines of JSON, and the shared memory that one picture at a time goes through."""

    def __init__(self, descriptor: int, memory: int) -> None:
        self._descriptor = descriptor
        self._memory = memory
        self._map: mmap.mmap | None = None
        self._room: np.ndarray[Any, np.dtype[np.uint8]] = np.empty(0, np.uint8)

    def send(self, answer: dict[str, Any]) -> None:
        """Write one line; short enough for a pipe to take it whole."""
        os.write(self._descriptor, json.dumps(answer).encode() + b"\n")

    def send_item(self, item: Item) -> None:
        """Convert the picture, if there is one, put it in the shared memory and say so."""
        if item.picture is None:
            self.send(item.answer)
            return
        if isinstance(item.picture, bytes):
            pixels = np.frombuffer(item.picture, np.uint8)
            form: dict[str, Any] = {"format": "jpeg", "shape": [pixels.size]}
        else:
            pixels = upright_rgb(item.picture)
            form = {"format": "rgb", "shape": list(pixels.shape)}
        self._reserve(pixels.size)
        self._room[: pixels.size].reshape(pixels.shape)[...] = pixels
        self.send(item.answer | form)

    def _reserve(self, size_bytes: int) -> None:
        if self._room.size < size_bytes:
            os.ftruncate(self._memory, size_bytes)
            self._map = mmap.mmap(self._memory, size_bytes)
            self._room = np.frombuffer(self._map, np.uint8)


def upright_rgb(frame: Any) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Return the frame as RGB (height, width, 3), turned as its display matrix says.

    Matrix and range are the frame's own; FFmpeg takes BT.601 and limited range where the video does not say.
    """
    rgb = frame.reformat(format="rgb24")
    plane = rgb.planes[0]
    pixels: np.ndarray[Any, np.dtype[np.uint8]] = np.ndarray(
        (rgb.height, rgb.width, 3), np.uint8, buffer=plane, strides=(plane.line_size, 3, 1)
    )
    return np.rot90(pixels, round(frame.rotation / 90))


def import_av() -> Any:
    """Import PyAV. Raises OpenError when it is missing or shows wrong colours."""
    try:
        import av
        import av.error
    except ImportError as error:
        raise OpenError("usage", f"PyAV cannot be imported ({error}); pip install 'edge-infer[video]'") from error
    if int(av.__version__.partition(".")[0]) < OLDEST_PYAV:
        raise OpenError("usage", f"PyAV {av.__version__} is too old; pip install --upgrade 'edge-infer[video]'")
    return av


def _listen(asked: threading.Semaphore) -> None:
    """Thread: count what the parent asks for; leave when it is gone, however deep in native code the others are."""
    while os.read(0, 1):
        asked.release()
    os._exit(0)


def main() -> None:
    """Serve pictures until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops in its own order, and this with it
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    descriptor = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not speak in the dialogue
    with open(0, "rb", buffering=0, closefd=False) as requests:
        options = json.loads(requests.readline())
    replies = Replies(descriptor, options["memory"])
    slot = Slot()
    asked = threading.Semaphore(0)
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()
    threading.Thread(target=Decoder(options, slot, replies).run, daemon=True).start()
    while asked.acquire():
        replies.send_item(slot.take())


if __name__ == "__main__":
    main()
