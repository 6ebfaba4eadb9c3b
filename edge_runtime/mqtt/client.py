"""paho-mqtt's client with a short way for what happens at every frame: one QoS 1 message out, one PUBACK back.

paho's own way builds about ten objects for each message and reads an answer byte by byte. With caches as cold as
inference leaves them that costs 0.26 ms of CPU per message where this costs 0.14 (docs/mqtt.md). Connecting, TLS,
subscriptions, incoming messages and keep-alive stay paho's. The parts of paho used here that are not its public
interface (``_sock_recv``, ``_sock_send``, ``_packet_queue``, ``_packet_handle``, ``_in_packet``, ``_loop_rc_handle``,
``_mid_generate``) are the same in 2.1 and 2.2; tests/e2e/test_mqtt_connection.py fails when they change.
"""

import struct
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MessageType, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import MalformedPacket  # type: ignore[attr-defined] # its place in both 2.1 and 2.2
from paho.mqtt.reasoncodes import ReasonCode

_PUBACK = int(MessageType.PUBACK)
_PUBLISH_QOS1 = int(MessageType.PUBLISH) | 0x02
_READ_BYTES = 65_536
# What paho raises over bytes that are no MQTT; 2.2 says MalformedPacket where 2.1 lets the others through.
_MALFORMED = (MalformedPacket, ValueError, IndexError, KeyError, TypeError, struct.error)
_LARGEST_PACKET = 64 * 1024 * 1024  # nobody sends us that much; a peer that announces it is broken or hostile


class LeanClient(Client):
    """A paho client whose QoS 1 messages go out with ``send`` and come back through ``on_acknowledged``.

    For one thread. ``on_acknowledged(mid, reason code)`` gets MQTT 5's reason code, 0 with MQTT 3.1.1. Messages must
    not be sent with ``publish`` at QoS 1: their acknowledgements are not given to paho.
    """

    on_acknowledged: Callable[[int, int], None]

    def __init__(self, api: CallbackAPIVersion, **options: Any) -> None:
        super().__init__(api, **options)
        self._arrived = bytearray()

    def send(self, topic: str, payload: bytes, *, retain: bool) -> int:
        """Write a QoS 1 message to the socket, or queue what it does not take; return its packet identifier.

        Raises OSError when the connection is broken.
        """
        mid = self._mid_generate()
        name = topic.encode()
        properties = b"\0" if self.protocol == MQTTProtocolVersion.MQTTv5 else b""
        packet = b"".join(
            (
                bytes((_PUBLISH_QOS1 | retain,)),
                _length(2 + len(name) + 2 + len(properties) + len(payload)),
                len(name).to_bytes(2, "big"),
                name,
                mid.to_bytes(2, "big"),
                properties,
                payload,
            )
        )
        sent = 0
        if not self.want_write():  # else it must wait its turn
            try:
                sent = self._sock_send(packet)
            except BlockingIOError:
                sent = 0
        if sent < len(packet):
            self._packet_queue(MessageType.PUBLISH, bytearray(packet[sent:]), mid, 1)
        return mid

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:  # noqa: ARG002 - paho's signature
        """Read what has arrived in one piece: acknowledgements are dealt with here, everything else by paho."""
        try:
            data = self._sock_recv(_READ_BYTES)
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        except OSError as error:
            if self.on_log is not None:
                self.on_log(self, None, 0x08, f"read failed: {error}")
            data = b""
        if not data:
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        self._arrived += data
        try:
            code = self._take_packets(self._arrived)
        except _MALFORMED:
            code = MQTTErrorCode.MQTT_ERR_PROTOCOL
        return code if code == MQTTErrorCode.MQTT_ERR_SUCCESS else self._loop_rc_handle(code)

    def _take_packets(self, arrived: bytearray) -> MQTTErrorCode:
        code = MQTTErrorCode.MQTT_ERR_SUCCESS
        start = 0
        while code == MQTTErrorCode.MQTT_ERR_SUCCESS and (packet := _next_packet(arrived, start)) is not None:
            body, end = packet
            if end > len(arrived):
                break
            code = self._take(arrived[start], arrived[body:end])
            start = end
        del arrived[:start]
        return code

    def _take(self, command: int, body: bytearray) -> MQTTErrorCode:
        if command == _PUBACK and len(body) >= 2:
            self.on_acknowledged(body[0] << 8 | body[1], body[2] if len(body) > 2 else 0)
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        self._in_packet = {
            "command": command,
            "have_remaining": 1,
            "remaining_count": [],
            "remaining_mult": 1,
            "remaining_length": len(body),
            "packet": body,
            "to_process": 0,
            "pos": 0,
        }
        return self._packet_handle()


def explain_reason(code: int) -> str:
    """Return MQTT 5's words for the reason code of a PUBACK."""
    try:
        return str(ReasonCode(PacketTypes.PUBACK, identifier=code))
    except KeyError:
        return f"reason code {code:#04x}"


def _length(length: int) -> bytes:
    """Return a remaining length as MQTT writes it: seven bits a byte, the lowest first (3.1.1, 2.2.3)."""
    if length < 128:
        return bytes((length,))
    encoded = bytearray()
    while length > 127:
        encoded.append(length & 127 | 128)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)


def _next_packet(data: bytes | bytearray, start: int) -> tuple[int, int] | None:
    """Return where the body of the packet at ``start`` begins and ends (perhaps beyond ``data``); None to wait.

    Raises ValueError for a length of more than four bytes, or larger than anybody would send us.
    """
    length = shift = 0
    for place in range(start + 1, len(data)):
        length |= (data[place] & 127) << shift
        if data[place] < 128:
            if length > _LARGEST_PACKET:
                raise ValueError(f"a packet of {length} bytes")
            return place + 1, place + 1 + length
        shift += 7
        if shift > 21:
            raise ValueError("a packet with a malformed length")
    return None
