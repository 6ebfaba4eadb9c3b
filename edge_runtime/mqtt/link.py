"""One life of one connection, from the attempt to its end, on top of paho-mqtt.

paho keeps no messages here (a new client for each attempt, no window of its own) and runs no thread: the bus waits
for the socket and calls ``read``, ``write`` and ``misc``.
"""

import errno
import socket
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from edge_runtime.errors import BrokerError, UsageError
from edge_runtime.mqtt.deferred import defer
from edge_runtime.mqtt.delivery import Message
from edge_runtime.mqtt.settings import Endpoint

if TYPE_CHECKING:
    from paho.mqtt.client import Client

    from edge_runtime.mqtt.client import LeanClient

CONNECT_TIMEOUT_S = 5.0
WINDOW = 100
"""Messages in flight. More than a link of 1 s round trip needs at 100 messages/s."""
_WRITE_BACKLOG = 50  # packets that the socket would not take: QoS 0 is not queued behind them
# MQTT 5 answers that no repetition will change: not authorized, topic name invalid, payload format invalid
_REFUSED_FOR_GOOD = frozenset((0x87, 0x90, 0x99))


class LoginRefusedError(BrokerError):
    """The broker answers and does not let this client in; trying again soon would not help."""

    retryable = False


class Acknowledgement(NamedTuple):
    """The broker's answer to one message: ``refused`` is None when it was accepted."""

    message: Message
    refused: str | None


class Link:
    """``connect`` may block and belongs to a thread of its own; everything else to the bus's thread, after it.

    ``accepted`` turns true with a good CONNACK. ``read``, ``write`` and ``misc`` raise BrokerError when the
    connection is over, LoginRefusedError when the broker refused it.
    """

    def __init__(self, endpoint: Endpoint, *, client_id: str, will: tuple[str, bytes] | None) -> None:
        self._endpoint = endpoint
        self._client_id = client_id
        self._will = will
        self._client: LeanClient | None = None
        self._socket: socket.socket | None = None
        self._sent: dict[int, Message] = {}
        self._refusal: BrokerError | None = None
        self._last_words = ""
        self.accepted = False
        self.has_acknowledged = False
        self.window = WINDOW
        self.acknowledged: deque[Acknowledgement] = deque()
        self.received: deque[tuple[str, bytes, bool]] = deque()
        self.refused_subscriptions = 0

    def connect(self) -> None:
        """Resolve the name, connect, agree on TLS, and queue CONNECT. Raises BrokerError; blocks up to some seconds."""
        url = self._endpoint.url
        try:
            self._client = self._make_client()
            self._client.connect_async(url.host, url.port, self._endpoint.keepalive_s)
            self._client.reconnect()
        except UsageError as error:
            raise LoginRefusedError(str(error)) from error
        except (OSError, ValueError) as error:  # ValueError: a host name that cannot be encoded
            raise _explain(error, self._endpoint) from error
        opened = self._client.socket()
        assert isinstance(opened, socket.socket)
        self._socket = opened
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _make_client(self) -> "LeanClient":
        # paho wants it for SOCKS proxies alone, and with it come http and email: a tenth of the start.
        defer("urllib.request")
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        from edge_runtime.mqtt.client import LeanClient

        five = self._endpoint.protocol == "5"
        client = LeanClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if five else True,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        url = self._endpoint.url
        if url.username is not None:
            client.username_pw_set(url.username, url.password)
        if (context := self._endpoint.tls_context()) is not None:
            client.tls_set_context(context)
            client.tls_insecure_set(self._endpoint.insecure)
        if self._will is not None:
            client.will_set(self._will[0], self._will[1], qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_acknowledged = self._on_acknowledged
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        client.on_log = self._on_log
        # With a callback here paho only queues packets, and the bus decides when they are written.
        client.on_socket_register_write = _leave_it_queued
        return client

    def fileno(self) -> int:
        """Return the socket's descriptor, -1 when it is closed."""
        return -1 if self._socket is None else self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether packets wait for the socket to take more."""
        return self._client is not None and self._client.want_write()

    @property
    def in_flight(self) -> int:
        """QoS 1 messages sent over this connection and not yet acknowledged."""
        return len(self._sent)

    @property
    def oldest_unacknowledged(self) -> Message | None:
        """The message that was sent first of those in flight."""
        return next(iter(self._sent.values()), None)

    def publish(self, message: Message) -> bool:
        """Queue a message for writing; false when it was left out (QoS 0 behind a socket that takes no more)."""
        assert self._client is not None
        if message.qos == 0:
            if len(self._sent) >= self.window or self._is_clogged():
                return False
            self._client.publish(message.topic, message.payload, 0, message.retain)
            return True
        try:
            mid = self._client.send(message.topic, message.payload, retain=message.retain)
        except OSError as error:
            raise self._lost() from error
        self._sent[mid] = message
        return True

    def _is_clogged(self) -> bool:
        """Tell whether what was written before did not go out: then the peer is slow, or gone."""
        if not self.wants_write:
            return False
        self.write()
        return self.wants_write

    def subscribe(self, filters: Sequence[str]) -> None:
        """Queue a subscription at QoS 1."""
        assert self._client is not None
        self._client.subscribe([(topic_filter, 1) for topic_filter in filters])

    def read(self) -> None:
        """Take what has arrived; answers and messages are in ``acknowledged`` and ``received`` afterwards."""
        assert self._client is not None
        self._checked(self._client.loop_read())
        pending = getattr(self._socket, "pending", None)  # decrypted bytes wait in the TLS layer, unseen by poll
        while pending is not None and self._client.socket() is not None and pending():
            self._checked(self._client.loop_read())

    def write(self) -> None:
        """Write what is queued, as far as the socket takes it."""
        assert self._client is not None
        if self._client.want_write():
            self._checked(self._client.loop_write())

    def misc(self) -> None:
        """Keep the connection alive; to be called about once a second."""
        assert self._client is not None
        self._checked(self._client.loop_misc())

    def disconnect(self) -> None:
        """Say goodbye (the broker then sends no will) and close."""
        if self._client is not None and self._client.socket() is not None:
            self._client.disconnect()
            self._client.loop_write()
        self.close()

    def close(self) -> None:
        """Close without a goodbye: the broker publishes the will."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _checked(self, code: int) -> None:
        assert self._client is not None
        if self._refusal is not None:
            raise self._refusal
        if code != 0 or self._client.socket() is None:
            raise self._lost()

    def _lost(self) -> BrokerError:
        url = self._endpoint.url
        if self.accepted:
            return BrokerError(f"the connection to {url} was lost")
        if "alert" in self._last_words:  # what a TLS broker says to a client whose certificate it does not take
            advice = (
                "check cert_file and key_file"
                if self._endpoint.cert_file
                else "it asks for a certificate: set cert_file"
            )
            return LoginRefusedError(f"{url} refuses this client: {self._last_words}; {advice}")
        # With TLS 1.3 a refused client may see the end of the connection before the alert that says why.
        advice = "is it an MQTT port without TLS?"
        if url.tls:
            advice = "if it asks for a client certificate, " + (
                "check cert_file and key_file" if self._endpoint.cert_file else "set cert_file"
            )
        return BrokerError(f"{url} closed the connection before it answered; {advice}")

    # paho's callbacks: called inside read and write. They only take notes, so that user code runs outside of paho.

    def _on_connect(self, client: "Client", _data: Any, _flags: Any, reason: Any, properties: Any) -> None:
        client.on_log = None
        if reason.is_failure:
            self._refusal = _explain_refusal(reason.value, str(reason), self._endpoint)
            return
        self.accepted = True
        self.window = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))

    def _on_disconnect(self, _client: "Client", _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        if flags.is_disconnect_packet_from_server and self._refusal is None:
            self._refusal = BrokerError(f"{self._endpoint.url} ended the connection: {reason}")

    def _on_acknowledged(self, mid: int, reason: int) -> None:
        message = self._sent.pop(mid, None)
        if message is None:
            return
        self.has_acknowledged = True
        if reason < 0x80:
            self.acknowledged.append(Acknowledgement(message, None))
            return
        from edge_runtime.mqtt.client import explain_reason

        if reason in _REFUSED_FOR_GOOD:
            self.acknowledged.append(Acknowledgement(message, explain_reason(reason)))
        else:  # quota exceeded and the like: to be sent again, in order, over a new connection
            self._refusal = BrokerError(f"{self._endpoint.url} could not take a message: {explain_reason(reason)}")

    def _on_message(self, _client: "Client", _data: Any, message: Any) -> None:
        self.received.append((message.topic, message.payload, message.retain))

    def _on_subscribe(self, _client: "Client", _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        self.refused_subscriptions += sum(reason.is_failure for reason in reasons)

    def _on_log(self, _client: "Client", _data: Any, level: int, text: str) -> None:
        if level == 8:  # MQTT_LOG_ERR: a TLS alert after the handshake shows nowhere else
            self._last_words = text.rpartition("] ")[2].partition(" (_ssl")[0]


def _leave_it_queued(_client: "Client", _data: Any, _socket: Any) -> None:
    """Be there; what is queued is written by the bus."""


def _explain(error: Exception, endpoint: Endpoint) -> BrokerError:
    """Put a failed attempt into words that say what to do."""
    import ssl

    url = endpoint.url
    if isinstance(error, ssl.SSLCertVerificationError):
        what = error.verify_message or str(error.reason)
        advice = "use the name in its certificate" if "ostname" in what or "IP address" in what else "set ca_file"
        if "expired" in what:
            advice = "renew it, or set this device's clock"
        return LoginRefusedError(f"the certificate of {url} is refused: {what}; {advice}")
    if isinstance(error, ssl.SSLError):
        return LoginRefusedError(f"no TLS with {url}: {error.reason or error}; is it a TLS port?")
    if isinstance(error, socket.gaierror | ValueError):
        return BrokerError(f"the broker's name {url.host} cannot be resolved; check the name and the network")
    if isinstance(error, TimeoutError):
        return BrokerError(f"no answer from {url} within {CONNECT_TIMEOUT_S:g} s; check the address and the network")
    if isinstance(error, ConnectionRefusedError):
        return BrokerError(f"no broker listens at {url}; start one, or name another with --broker")
    reason = error.strerror if isinstance(error, OSError) and error.errno else str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        reason = f"{reason}; check the network"
    if isinstance(error, ConnectionResetError) and url.tls:
        reason = f"{reason}; is it a TLS port?"
    return BrokerError(f"cannot connect to {url}: {reason}")


def _explain_refusal(code: int, reason: str, endpoint: Endpoint) -> BrokerError:
    """Put a CONNACK that says no into words; paho gives MQTT 3.1.1's codes as MQTT 5's."""
    url = endpoint.url
    who = f"user {url.username!r}" if url.username is not None else "a client without user and password"
    if code in (0x86, 0x87, 0x8C):
        return LoginRefusedError(f"{url} refuses {who}: {reason.lower()}; check username and password")
    if code in (0x84, 0x85):
        return LoginRefusedError(f"{url} refuses the connection: {reason.lower()}")
    return BrokerError(f"{url} refuses the connection for now: {reason.lower()}")
