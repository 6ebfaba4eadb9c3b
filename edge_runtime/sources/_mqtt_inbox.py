"""A subscription of one's own: messages of a topic wait in a bounded queue until they are taken."""

import secrets
import ssl
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from edge_runtime.clock import monotonic_ns
from edge_runtime.errors import UsageError

QUEUE_LIMIT: Final = 4096
_DEFAULT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


class Connection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which broker and as whom; called as in ``[broker]``. Neither ``repr`` nor errors show the password."""

    url: str = "mqtt://localhost:1883"
    username: str | None = None
    """Wins over a user in ``url``."""
    password: str | None = None
    ca_file: str | None = None
    """PEM certificates to trust instead of the system's; for mqtts only."""
    cert_file: str | None = None
    key_file: str | None = None
    insecure: bool = False
    """Accept any certificate and any host name."""

    def __repr__(self) -> str:
        """Return the host only."""
        return f"{type(self).__name__}(host={urlsplit(self.url).hostname!r})"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message; or, without a payload, a gap: what follows is not the sample after what went before."""

    arrived_ns: int
    payload: bytes | None = None
    topic: str = ""
    lost: int = 0
    """How many messages overflowed at this gap."""


class Inbox:
    """Connects, subscribes, and does so again whenever the broker was away; paho's thread fills the queue.

    Overflow rule: when 4096 messages wait, all of them go, counted, and a gap takes their place. Retained messages are
    of an unknown time and passed over.
    """

    def __init__(self, connection: Connection, *, topic: str, qos: int, name: str) -> None:
        self._connection = connection
        self._topic = topic
        self._qos = qos
        self._name = name
        self._client: Any = None
        self._changed = threading.Condition()
        self._queue: deque[Arrival] = deque()
        self._fault: str | None = None

    def open(self) -> None:
        """Begin to connect; does not wait for the broker. Raises UsageError for what can never work."""
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        scheme, host, port, username, password = self._address()
        if not _is_filter(self._topic):
            raise UsageError(f"mqtt topic {self._topic!r}: + and # stand alone between slashes, # only at the end")
        client = Client(CallbackAPIVersion.VERSION2, client_id=f"{self._name}-{secrets.token_hex(4)}")
        if username:
            client.username_pw_set(username, password)
        if scheme == "mqtts":
            client.tls_set_context(self._tls_context())
            client.tls_insecure_set(self._connection.insecure)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.reconnect_delay_set(min_delay=1, max_delay=30)
        client.connect_async(host, port)
        client.loop_start()
        self._client = client

    def take(self, timeout_s: float) -> Arrival | None:
        """Return the oldest arrival, None when there is none within ``timeout_s``."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._fault, timeout_s)
            return self._queue.popleft() if self._queue else None

    @property
    def fault(self) -> str | None:
        """Why the broker refuses us, if it does."""
        return self._fault

    def close(self) -> None:
        """Disconnect and join paho's thread; may be called twice."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()
        with self._changed:
            self._queue.clear()
            self._fault = None

    def _address(self) -> tuple[str, str, int, str, str]:
        try:
            parts = urlsplit(self._connection.url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise UsageError("the sensor's broker: expected an address like mqtt://host:1883 or mqtts://host")
        username = self._connection.username or unquote(parts.username or "")
        password = self._connection.password or unquote(parts.password or "")
        return parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme], username, password

    def _tls_context(self) -> ssl.SSLContext:
        connection = self._connection
        try:
            context = ssl.create_default_context(cafile=connection.ca_file)
            if connection.cert_file:
                context.load_cert_chain(connection.cert_file, connection.key_file)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"the sensor's broker: TLS files cannot be used: {error.strerror or error}") from error
        if connection.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    # paho's thread

    def _on_connect(self, client: Any, _userdata: object, _flags: object, reason: Any, _properties: object) -> None:
        if reason.is_failure:
            self._set_fault(f"the broker refuses the login: {reason}")
        else:
            client.subscribe(self._topic, self._qos)

    def _on_subscribe(self, _client: object, _userdata: object, _mid: int, reasons: Any, _properties: object) -> None:
        refused = any(reason.is_failure for reason in reasons)
        self._set_fault("the broker refuses the subscription (its access control)" if refused else None)

    def _on_disconnect(self, *_: object) -> None:
        self._append(Arrival(monotonic_ns()))

    def _on_message(self, _client: object, _userdata: object, message: Any) -> None:
        if not message.retain:
            self._append(Arrival(monotonic_ns(), message.payload, message.topic))

    def _append(self, arrival: Arrival) -> None:
        with self._changed:
            if len(self._queue) >= QUEUE_LIMIT:
                lost = sum(old.lost or old.payload is not None for old in self._queue)
                self._queue.clear()
                self._queue.append(Arrival(arrival.arrived_ns, lost=lost))
            self._queue.append(arrival)
            self._changed.notify()

    def _set_fault(self, fault: str | None) -> None:
        with self._changed:
            self._fault = fault
            self._changed.notify()


def _is_filter(topic: str) -> bool:
    """Whether MQTT 3.1.1, 4.7, allows it as a topic filter."""
    levels = topic.split("/")
    return (
        0 < len(topic.encode()) <= 65535
        and "\0" not in topic
        and all(level in {"+", "#"} or not {"+", "#"} & set(level) for level in levels)
        and "#" not in levels[:-1]
    )
