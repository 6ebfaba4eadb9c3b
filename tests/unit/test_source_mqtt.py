import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from edge_runtime.errors import (
    BadFrameError,
    InputMismatchError,
    SourceTimeoutError,
    SourceUnavailableError,
    UsageError,
)
from edge_runtime.sources._mqtt_inbox import QUEUE_LIMIT, Arrival
from edge_runtime.sources.mqtt_sensor import MqttSensorSource
from edge_runtime.types import Frame, WindowInput

MakeSource = Callable[..., MqttSensorSource]


@pytest.fixture
def make_source() -> Iterator[MakeSource]:
    made: list[MqttSensorSource] = []

    def make(*, values: int = 4, channels: int = 1, **settings: Any) -> MqttSensorSource:
        config = MqttSensorSource.Config(topic=settings.pop("topic", "sensors/a"), **settings)
        wants = WindowInput(length=values // channels, channels=channels)
        made.append(MqttSensorSource(config, stream="mqtt0", wants=wants))
        return made[-1]

    yield make
    for source in made:
        source.close()


class Wire:
    """Feeds a source as paho would, without a broker; for what does not depend on one."""

    def __init__(self, source: MqttSensorSource) -> None:
        self.source = source

    def send(self, *values: Any) -> None:
        for value in values:
            payload = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.source._inbox._append(Arrival(time.monotonic_ns(), payload, "sensors/a"))

    def read(self) -> list[Any]:
        """Return the windows that are complete now; a broken one is its error's text."""
        found: list[Any] = []
        while True:
            try:
                frame = self.source.read(0.0)
            except SourceTimeoutError:
                return found
            except BadFrameError as error:
                found.append(str(error))
            else:
                assert frame is not None
                found.append(np.asarray(frame.data).tolist())


def test_a_real_broker_feeds_sliding_windows(mosquitto: Any, make_source: MakeSource) -> None:
    from paho.mqtt import publish

    publish.single("sensors/a", "99", retain=True, port=mosquitto.port)
    source = make_source(values=4, stride=1, url=mosquitto.url, topic="sensors/+")
    source.open()
    frames = until_frames(source, mosquitto.port, ["[1, 2]", "[3, 4]", "[5, 6]"], count=2)
    assert [np.asarray(f.data).tolist() for f in frames] == [[[1, 2], [3, 4]], [[3, 4], [5, 6]]]
    assert [f.sequence for f in frames] == [0, 1]
    assert np.asarray(frames[0].data).dtype == np.float32
    assert source.describe() == {"type": "mqtt", "topic": "sensors/+", "window": 2, "stride": 1, "channels": 2}


def until_frames(source: MqttSensorSource, port: int, payloads: list[str], *, count: int) -> list[Frame]:
    """Publish once the subscription stands (a probe that is no JSON came back as a bad frame); read the frames."""
    from paho.mqtt import publish

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        publish.single("sensors/a", "probe", port=port)
        try:
            source.read(0.2)
        except SourceTimeoutError:
            continue
        except BadFrameError:
            break
    publish.multiple([("sensors/a", payload, 1, False) for payload in payloads], port=port)
    frames: list[Frame] = []
    while len(frames) < count and time.monotonic() < deadline:
        try:
            frame = source.read(0.2)
        except (SourceTimeoutError, BadFrameError):
            continue
        assert frame is not None
        frames.append(frame)
    return frames


def test_a_broker_that_comes_late_and_goes_away_costs_only_the_window_it_broke(
    make_mosquitto: Any, make_source: MakeSource
) -> None:
    broker = make_mosquitto()
    source = make_source(values=2, url=broker.url)
    source.open()
    with pytest.raises(SourceTimeoutError):
        source.read(0.05)
    broker.start()
    assert len(until_frames(source, broker.port, ["1", "2", "3"], count=1)) == 1
    broker.restart()
    (frame,) = until_frames(source, broker.port, ["4", "5"], count=1)
    assert np.asarray(frame.data).tolist() == [[4], [5]]


def test_a_refused_login_is_said_without_the_password(make_mosquitto: Any, make_source: MakeSource) -> None:
    broker = make_mosquitto(config="allow_anonymous false")
    broker.start()
    source = make_source(url=f"mqtt://me:hunter2@127.0.0.1:{broker.port}")
    source.open()
    with pytest.raises(SourceUnavailableError, match="refuses the login") as caught:
        source.read(20.0)
    assert "hunter2" not in str(caught.value) + repr(source._config) + str(source.describe())


def test_a_refused_subscription_is_said_until_it_is_granted(make_source: MakeSource) -> None:
    # mosquitto's ACL files grant every subscription and then stay silent, so paho's own callback is called here.
    source = make_source()
    source._inbox._on_subscribe(None, None, 1, [ReasonCode(PacketTypes.SUBACK, identifier=0x80)], None)
    with pytest.raises(SourceUnavailableError, match="sensors/a: the broker refuses the subscription"):
        source.read(0.0)
    source._inbox._on_subscribe(None, None, 2, [ReasonCode(PacketTypes.SUBACK, identifier=1)], None)
    with pytest.raises(SourceTimeoutError):
        source.read(0.0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": "http://x"}, "expected an address"),
        ({"url": "mqtt://"}, "expected an address"),
        ({"url": "mqtt://h:port"}, "expected an address"),
        ({"url": "mqtts://h", "ca_file": "/nonexistent.pem"}, "TLS files"),
        ({"topic": ""}, "mqtt topic"),
        ({"topic": "a/#/b"}, "mqtt topic"),
        ({"topic": "a/b+"}, "mqtt topic"),
    ],
)
def test_what_can_never_work_is_wrong_usage(make_source: MakeSource, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_source(**settings).open()


def test_numbers_arrays_and_fields_are_rows(make_source: MakeSource) -> None:
    wire = Wire(make_source(values=2))
    wire.send(1, 2.5, [3], [4])
    assert wire.read() == [[[1], [2.5]], [[3], [4]]]
    wire = Wire(make_source(values=4, fields=("y", "in.x")))
    wire.source._fit(2)
    wire.send({"y": 1, "in": {"x": 2}, "other": "text"}, {"in.x": 4, "y": 3})
    assert wire.read() == [[[1, 2], [3, 4]]]


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"warm", "is not JSON"),
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"NaN", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"true", "value 0 is 'True', not a number"),
        (b'"7"', "value 0 is '7', not a number"),
        (b"[1, null]", "value 1 is 'None', not a number"),
        (b"[]", "an empty array"),
        (b"1e39", "value 0 is too large"),
        (b'{"t": 1, "h": 2}', "name the fields to use, of t, h"),
        (b"1" * 2_000_000, "is no sample"),
        (b"[1, 2, 3]", "takes 4 values, which rows of 3 do not divide"),
    ],
)
def test_a_message_that_is_no_row_is_a_bad_frame(make_source: MakeSource, payload: bytes, words: str) -> None:
    wire = Wire(make_source(values=4))
    wire.send([1, 2], payload, [3, 4], [5, 6])
    error, window = wire.read()
    assert words in error
    assert error.startswith("sensors/a: ")
    assert "\n" not in error
    assert window == [[3, 4], [5, 6]]


@given(payload=st.binary(max_size=50) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_no_payload_raises_anything_else(payload: bytes) -> None:
    source = MqttSensorSource(
        MqttSensorSource.Config(topic="t"), stream="mqtt0", wants=WindowInput(length=12, channels=1)
    )
    wire = Wire(source)
    wire.send(payload)
    wire.read()


def test_fields_that_are_missing_are_named(make_source: MakeSource) -> None:
    wire = Wire(make_source(values=2, fields=("a", "b.c")))
    wire.source._fit(2)
    wire.send({"a": 1}, {"a": 1, "b": {"c": 2}}, 5)
    assert wire.read() == ["sensors/a: there is no field 'b.c'", [[1, 2]], "sensors/a: there is no field 'a'"]


def test_a_stray_first_message_does_not_decide_for_ever(make_source: MakeSource) -> None:
    wire = Wire(make_source(values=4))
    wire.send(7, [1, 2], [3, 4])
    assert wire.read() == [[[1, 2], [3, 4]]]


def test_no_window_spans_a_gap(make_source: MakeSource) -> None:
    wire = Wire(make_source(values=2))
    wire.send(1)
    wire.source._inbox._on_disconnect()
    wire.send(2, 3)
    assert wire.read() == [[[2], [3]]]


def test_an_overflow_is_counted_and_the_newest_goes_on(make_source: MakeSource) -> None:
    wire = Wire(make_source(values=2))
    wire.send(*range(QUEUE_LIMIT + 2))
    assert wire.read() == [
        f"sensors/a: {QUEUE_LIMIT} messages came faster than they were used",
        [[QUEUE_LIMIT], [QUEUE_LIMIT + 1]],
    ]


def test_fields_that_do_not_fit_the_model_are_refused_at_once(make_source: MakeSource) -> None:
    with pytest.raises(InputMismatchError, match="takes 4 values, which rows of 3 do not divide"):
        make_source(values=4, fields=("a", "b", "c")).open()


def test_a_configuration_section_is_typed() -> None:
    section = {"topic": "t", "url": "mqtts://h", "fields": ["a"], "stride": 2, "password": "hunter2"}
    config = msgspec.convert(section, MqttSensorSource.Config)
    assert (config.fields, config.stride, config.qos) == (("a",), 2, 1)
    assert "hunter2" not in repr(config)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(section | {"stride": 0}, MqttSensorSource.Config)
