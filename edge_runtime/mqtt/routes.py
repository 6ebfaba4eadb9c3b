"""Who listens to which topics."""

import logging
from collections.abc import Callable
from threading import Lock

Handler = Callable[[str, bytes], None]
_REMEMBERED = 1000

log = logging.getLogger(__name__)


class Routes:
    """Topic filters and their handlers. ``add`` may be called from any thread, the rest from the connection's."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._handlers: dict[str, list[tuple[Handler, bool]]] = {}
        self._new: list[str] = []
        self._known: dict[str, tuple[tuple[Handler, bool], ...]] = {}
        self.failed = 0
        """Messages whose handler raised."""

    def add(self, topic_filter: str, handler: Handler, *, retained: bool = True) -> None:
        """Register a handler, of retained messages too or not; the broker is told when ``take_new`` is asked for."""
        with self._lock:
            self._handlers.setdefault(topic_filter, []).append((handler, retained))
            self._new.append(topic_filter)
            self._known = {}

    def remove(self, topic_filter: str, handler: Handler) -> None:
        """Forget a handler; the broker is not told, what still comes is for nobody."""
        with self._lock:
            kept = [entry for entry in self._handlers.get(topic_filter, ()) if entry[0] != handler]
            if kept:
                self._handlers[topic_filter] = kept
            else:
                self._handlers.pop(topic_filter, None)
            self._known = {}

    @property
    def has_new(self) -> bool:
        """Whether there are filters that the broker has not been told."""
        return bool(self._new)

    def take_new(self) -> list[str]:
        """Return the filters added since the last call."""
        with self._lock:
            new, self._new = self._new, []
            return new

    def take_all(self) -> list[str]:
        """Return every filter: for a new connection."""
        with self._lock:
            self._new = []
            return list(self._handlers)

    def dispatch(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        """Call every handler whose filter matches. One that raises is logged and counted, and stops nobody."""
        known = self._known
        if (handlers := known.get(topic)) is None:
            handlers = self._find(topic)
            if len(known) < _REMEMBERED:
                known[topic] = handlers
        for handler, takes_retained in handlers:
            if retained and not takes_retained:
                continue
            try:
                handler(topic, payload)
            except Exception:  # the top of the connection's thread: a broken handler must not end it
                self.failed += 1
                log.exception("a handler failed on a message of %s", topic)

    def _find(self, topic: str) -> tuple[tuple[Handler, bool], ...]:
        from paho.mqtt.client import topic_matches_sub

        with self._lock:
            return tuple(
                handler
                for topic_filter, handlers in self._handlers.items()
                if topic_matches_sub(topic_filter, topic)
                for handler in handlers
            )
