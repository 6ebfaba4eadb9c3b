"""The short way through paho: it writes what paho would write, and takes or refuses any bytes that arrive."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from edge_runtime.mqtt.client import LeanClient, explain_reason

PROTOCOLS = [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5]


class Wire:
    """A socket's place: gives ``incoming`` piece by piece, takes ``room`` bytes at a time."""

    def __init__(self, incoming: list[bytes], *, room: int = 1 << 30) -> None:
        self.incoming = incoming
        self.outgoing = b""
        self.room = room

    def recv(self, size: int) -> bytes:
        if not self.incoming:
            raise BlockingIOError
        assert len(self.incoming[0]) <= size
        return self.incoming.pop(0)

    def send(self, data: bytes) -> int:
        taken = bytes(data[: self.room])
        self.room -= len(taken)
        if not taken:
            raise BlockingIOError
        self.outgoing += taken
        return len(taken)

    def close(self) -> None:
        pass


def client_on(wire: Wire, kind: type[Client] = LeanClient, protocol: Any = PROTOCOLS[0]) -> Any:
    client = kind(CallbackAPIVersion.VERSION2, protocol=protocol)
    client._sock = wire  # type: ignore[assignment]
    client.on_socket_register_write = lambda *_: None
    return client


@given(
    st.sampled_from(PROTOCOLS),
    st.text("abc/é", min_size=1, max_size=40),
    st.integers(0, 20_000).map(bytes),
    st.booleans(),
    st.integers(0, 30_000),
)
def test_a_message_is_written_as_paho_would_write_it(
    protocol: Any, topic: str, payload: bytes, retain: bool, room: int
) -> None:
    """However little the socket takes at first."""
    theirs, ours = Wire([]), Wire([], room=room)
    paho = client_on(theirs, Client, protocol)
    paho.publish(topic, payload, 1, retain)
    paho.loop_write()
    lean = client_on(ours, protocol=protocol)
    assert lean.send(topic, payload, retain=retain) == 1
    ours.room = 1 << 30
    lean.loop_write()
    assert ours.outgoing == theirs.outgoing


def test_what_follows_a_message_that_had_to_wait_comes_after_it() -> None:
    wire = Wire([], room=10)
    lean = client_on(wire)
    lean.send("t", b"first", retain=False)
    wire.room = 1 << 30
    lean.send("t", b"second", retain=False)
    lean.loop_write()
    assert wire.outgoing.index(b"first") < wire.outgoing.index(b"second")


STREAM = b"".join(
    [
        b"\x40\x02\x00\x07",
        b"\xd0\x00",
        b"\x30\x06\x00\x01tabc",
        b"\x40\x02\x01\x00",
        b"\x32\xb2\x01\x00\x02tt\x00\x05" + b"@\x02\x00\x01" * 43,
        b"\x40\x02\x00\x09",
    ]
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_packets_are_understood_however_they_are_cut(cuts: list[int]) -> None:
    edges = sorted({0, len(STREAM), *cuts})
    pieces = [STREAM[a:b] for a, b in pairwise(edges)]
    lean = client_on(Wire(list(pieces)))
    got: list[Any] = []
    lean.on_acknowledged = lambda mid, reason: got.append((mid, reason))
    lean.on_message = lambda _client, _data, message: got.append((message.topic, message.payload))
    for _ in pieces:
        assert lean.loop_read() == MQTTErrorCode.MQTT_ERR_SUCCESS
    assert got == [(7, 0), ("t", b"abc"), (256, 0), ("tt", b"@\x02\x00\x01" * 43), (9, 0)]


@given(st.sampled_from(PROTOCOLS), st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=8))
def test_bytes_that_are_no_mqtt_end_the_connection_and_raise_nothing(protocol: Any, pieces: list[bytes]) -> None:
    lean = client_on(Wire(pieces), protocol=protocol)
    lean.on_acknowledged = lambda mid, reason: None
    for _ in range(len(pieces)):
        if lean.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS or lean.socket() is None:
            return


@pytest.mark.parametrize("data", [b"\x30\xff\xff\xff\xff\x01", b"\x30\xff\xff\xff\x7f"])
def test_an_absurd_length_is_not_waited_for(data: bytes) -> None:
    lean = client_on(Wire([data]))
    assert lean.loop_read() == MQTTErrorCode.MQTT_ERR_PROTOCOL


def test_reasons_are_given_in_words() -> None:
    assert explain_reason(0x87) == "Not authorized"
    assert explain_reason(0xEE) == "reason code 0xee"
