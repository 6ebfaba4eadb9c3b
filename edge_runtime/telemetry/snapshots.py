"""The ``snapshot`` command: draw the latest prediction of a stream and publish the picture, at most once a second."""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from edge_runtime import clock
from edge_runtime.errors import UsageError
from edge_runtime.protocols import Bus
from edge_runtime.types import Prediction, Size, View

INTERVAL_NS: Final = 1_000_000_000
MAX_SIZE: Final[Size] = (1280, 1280)


class Snapshots:
    """Publishes ``<root>/<stream>/snapshot``, JPEG at QoS 0, when asked to.

    ``latest`` holds the newest prediction of each stream with its frame; it is only read. Drawing takes some tens of
    milliseconds, in the thread that asks: that of the commands.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        device: str,
        latest: Mapping[str, Prediction],
        views: Mapping[str, View] | None = None,
        monotonic_ns: Callable[[], int] = clock.monotonic_ns,
    ) -> None:
        self._bus = bus
        self._root = f"edge-infer/{device}"
        self._latest = latest
        self._views = dict(views or {})
        self._clock = monotonic_ns
        self._sent_ns: dict[str, int] = {}
        self._lock = threading.Lock()

    def command(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer ``{"stream": NAME}``, or all streams without one, with ``{"streams": [those published]}``.

        A stream whose last picture is younger than a second is left out: that one will do. Raises UsageError for a
        stream that is not there, BadFrameError for a frame that cannot be decoded.
        """
        latest = dict(self._latest)
        wanted = request.get("stream")
        if wanted is not None and not isinstance(wanted, str):
            raise UsageError('the stream is not a text such as {"stream": "camera0"}')
        if wanted is not None and wanted not in latest:
            names = ", ".join(sorted(latest)) or "none yet"
            raise UsageError(f"no stream {wanted!r} has delivered a picture; there are: {names}")
        chosen = sorted(latest) if wanted is None else [wanted]
        return {"streams": [name for name in chosen if self._publish(name, latest[name])]}

    def _publish(self, stream: str, prediction: Prediction) -> bool:
        frame = prediction.frame
        if frame is None or frame.format == "window" or not self._may(stream):
            return False
        from edge_runtime.preprocess.picture import upright
        from edge_runtime.telemetry.snapshot import draw

        picture = upright(frame, self._views.get(stream, View()), max_size=MAX_SIZE)
        self._bus.publish(f"{self._root}/{stream}/snapshot", draw(picture, prediction), qos=0)
        return True

    def _may(self, stream: str) -> bool:
        with self._lock:
            now_ns = self._clock()
            sent_ns = self._sent_ns.get(stream)
            if sent_ns is not None and now_ns - sent_ns < INTERVAL_NS:
                return False
            self._sent_ns[stream] = now_ns
            return True
