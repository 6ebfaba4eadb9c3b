"""Predictions and events to the broker, QoS 1, through a `Bus` that queues and never blocks on the network."""

from collections.abc import Iterable, Sequence

from edge_runtime.protocols import Bus, Handed
from edge_runtime.sinks.events import Event, EventTracker, event_payload
from edge_runtime.sinks.payloads import prediction_payload


class MqttSink:
    """Publishes ``<root>/<stream>/prediction`` and, with a tracker, ``<root>/<stream>/event``.

    A prediction without a ``seq`` was kept back by the publish policy and is not sent; events look at every one.
    ``write`` and ``close`` belong to the sink's thread; ``end_stream`` may be called from any.
    """

    def __init__(self, bus: Bus, *, device: str, root: str | None = None, events: EventTracker | None = None) -> None:
        self._bus = bus
        self._device = device
        self._root = root or f"edge-infer/{device}"
        self._events = events
        self._topics: dict[str, str] = {}

    def open(self) -> None:
        """Do nothing: the connection is the bus's, and may come later."""

    def write(self, batch: Sequence[Handed]) -> None:
        """Publish a batch in order; never raises for a broker that is away."""
        for handed in batch:
            prediction = handed.prediction
            if handed.seq is not None:
                payload = prediction_payload(handed, self._device)
                self._bus.publish(self._topic(prediction.stream), payload, qos=1)
            if self._events is not None:
                self._publish_events(self._events.update(prediction))

    def end_stream(self, stream: str) -> None:
        """End the open events of a stream that went offline or stalled."""
        if self._events is not None:
            self._publish_events(self._events.end_stream(stream))

    def close(self) -> None:
        """End every open event; the bus is closed by its owner, after this."""
        if self._events is not None:
            self._publish_events(self._events.end_all())

    def _topic(self, stream: str) -> str:
        topic = self._topics.get(stream)
        if topic is None:
            topic = self._topics[stream] = f"{self._root}/{stream}/prediction"
        return topic

    def _publish_events(self, events: Iterable[Event]) -> None:
        for event in events:
            self._bus.publish(f"{self._root}/{event.stream}/event", event_payload(event, self._device), qos=1)
