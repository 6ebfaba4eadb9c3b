"""The dashboard's own connection to the broker: everything devices say goes into the ``Fleet``."""

import logging
import secrets
import time
from typing import Any, Final

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge_runtime.dashboard.messages import ROOT
from edge_runtime.dashboard.state import Fleet
from edge_runtime.mqtt.settings import Endpoint

RECONNECT_S: Final = (1, 15)
_log = logging.getLogger(__name__)


def wall_ms() -> int:
    """Return the wall time in ms since 1970."""
    return time.time_ns() // 1_000_000


class Subscriber:
    """Subscribes at QoS 0 (a broker queues nothing for a dashboard) and connects again for ever.

    paho's thread calls the ``_on_*`` methods; ``start``, ``request_snapshot`` and ``stop`` may be called from any one.
    """

    def __init__(self, endpoint: Endpoint, fleet: Fleet) -> None:
        self._endpoint = endpoint
        self.fleet = fleet
        self._failures = 0
        self._refused = False
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message

    @property
    def failures(self) -> int:
        """How many messages could not be taken because of a defect of ours."""
        return self._failures

    def start(self) -> None:
        """Begin to connect, in a thread. Raises UsageError for certificates that cannot be read."""
        url = self._endpoint.url
        if url.username is not None:
            self._client.username_pw_set(url.username, url.password)
        if (context := self._endpoint.tls_context()) is not None:
            self._client.tls_set_context(context)
        self._client.reconnect_delay_set(*RECONNECT_S)
        self._tell("connecting", None)
        self._client.connect_async(url.host, url.port, self._endpoint.keepalive_s)
        self._client.loop_start()

    def request_snapshot(self, device: str, stream: str) -> bool:
        """Ask a device for a picture of one of its streams; False when the broker is away."""
        if not self._client.is_connected():
            return False
        request = f"dashboard-{secrets.token_hex(8)}"
        self.fleet.expect_snapshot(request, device, stream)
        payload = msgspec.json.encode({"id": request, "stream": stream})
        self._client.publish(f"{ROOT}/{device}/command/snapshot", payload, qos=0)
        return True

    def stop(self) -> None:
        """Disconnect and end the thread."""
        self._client.disconnect()
        self._client.loop_stop()

    def _tell(self, state: str, detail: str | None) -> None:
        self.fleet.set_broker(url=str(self._endpoint.url), state=state, detail=detail, now_ms=wall_ms())

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self._refused = reason.is_failure
        if self._refused:
            self._tell("refused", str(reason))
            return
        self.fleet.doubt_statuses()
        client.subscribe(f"{ROOT}/+/#", qos=0)
        self._tell("connected", None)

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:
        doubt = ", or its certificate is not trusted" if self._endpoint.url.tls else ""
        self._tell("down", f"cannot be reached{doubt}")

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.is_failure and not self._refused:
            self._tell("down", str(reason))

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            self.fleet.apply(message.topic, bytes(message.payload), now_ms=wall_ms())
        except Exception:  # noqa: BLE001 - the thread's top: one odd message must not end the subscription
            self._failures += 1
            _log.exception("a message could not be taken")
