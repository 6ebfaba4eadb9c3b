"""Sensor samples from an MQTT topic, as sliding windows."""

import math
import time
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
import numpy as np

from edge_runtime.errors import BadFrameError, InputMismatchError, SourceTimeoutError, SourceUnavailableError
from edge_runtime.protocols import WantedInput
from edge_runtime.sources._mqtt_inbox import Arrival, Connection, Inbox
from edge_runtime.sources._windows import Windower, rows_per_window
from edge_runtime.types import Frame

MAX_PAYLOAD_BYTES: Final = 1 << 20


class MqttSensorSource:
    """Reads ``mqtt:TOPIC``: each message is one row, a JSON number, an array of them, or ``fields`` of an object.

    The broker may be absent and go away; it is tried again, and a window never spans the gap. Retained messages are
    passed over. A broken message is a bad frame, and the window begins anew behind it.
    """

    class Config(Connection, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of one ``mqtt`` source, the broker's among them."""

        topic: str
        """A topic, or a filter with ``+`` and ``#``."""
        fields: tuple[str, ...] | None = None
        """Keys of a JSON object that make a row, in this order; ``ENERGY.Power`` looks into an object inside."""
        window: Annotated[int, msgspec.Meta(ge=1)] | None = None
        """Messages per window; by default as many as fill the model's input."""
        stride: Annotated[int, msgspec.Meta(ge=1)] | None = None
        """Messages from the start of one window to the start of the next; by default the window's length."""
        qos: Literal[0, 1] = 1

    live: ClassVar[bool] = True
    stall_after_s: ClassVar[float | None] = None

    def __init__(self, config: Config, *, stream: str, wants: WantedInput) -> None:
        self._config = config
        self._stream = stream
        self._wants = wants
        self._inbox = Inbox(config, topic=config.topic, qos=config.qos, name=f"edge-infer-{stream}")
        self._windower: Windower[tuple[float, ...]] | None = None
        self._channels = 0
        self._sequence = 0

    def open(self) -> None:
        """Begin to connect; does not wait for the broker.

        Raises UsageError for an address, topic or certificate that cannot be used, InputMismatchError for fields that
        do not fit the model.
        """
        self.close()
        if self._config.fields:
            self._fit(len(self._config.fields))
        self._inbox.open()

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next window, with the arrival of its last message as its time.

        Raises SourceTimeoutError when none is complete within ``timeout_s``, BadFrameError for a message that is no
        row or for messages that were lost, SourceUnavailableError when the broker refuses login or subscription.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            arrival = self._inbox.take(max(0.0, deadline_s - time.monotonic()))
            if arrival is None:
                if fault := self._inbox.fault:
                    raise SourceUnavailableError(f"{self._config.topic}: {fault}")
                raise SourceTimeoutError(f"{self._config.topic}: no window within {timeout_s:g} s")
            if window := self._window_of(arrival):
                return self._frame(window, arrival)

    def close(self) -> None:
        """Disconnect."""
        self._inbox.close()
        self._windower = None
        self._channels = 0

    def describe(self) -> dict[str, Any]:
        """Return the topic, and the window in messages once it is known; nothing of the connection."""
        found: dict[str, Any] = {"type": "mqtt", "topic": self._config.topic}
        if self._windower is not None:
            found |= {"window": self._windower.length, "stride": self._windower.stride, "channels": self._channels}
        return found

    def _window_of(self, arrival: Arrival) -> tuple[tuple[float, ...], ...] | None:
        if arrival.payload is None:
            self._restart()
            if arrival.lost:
                raise BadFrameError(f"{self._config.topic}: {arrival.lost} messages came faster than they were used")
            return None
        try:
            row = self._row(arrival.payload)
            if self._windower is None or len(row) != self._channels:
                self._fit(len(row))
        except (BadFrameError, InputMismatchError) as error:
            self._restart()
            raise BadFrameError(f"{arrival.topic}: {error}") from error
        assert self._windower is not None
        return self._windower.push(row)

    def _restart(self) -> None:
        if self._windower is not None:
            self._windower.clear()

    def _fit(self, channels: int) -> None:
        """Size the windows for rows of so many values. Raises InputMismatchError."""
        length = rows_per_window(self._wants, channels=channels, window=self._config.window)
        self._windower = Windower(length=length, stride=self._config.stride or length)
        self._channels = channels

    def _row(self, payload: bytes) -> tuple[float, ...]:
        """Return the numbers of one message. Raises BadFrameError, without the topic."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise BadFrameError(f"a message of {len(payload)} bytes is no sample")
        try:
            value = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadFrameError(f"{payload[:40]!r} is not JSON") from error
        if self._config.fields:
            return tuple(_number(_look_up(value, name), name) for name in self._config.fields)
        if isinstance(value, dict):
            raise BadFrameError(f"a JSON object: name the fields to use, of {', '.join(value)[:80]} (fields)")
        values = value if isinstance(value, list) else [value]
        if not values:
            raise BadFrameError("an empty array")
        return tuple(_number(item, f"value {index}") for index, item in enumerate(values))

    def _frame(self, window: tuple[tuple[float, ...], ...], last: Arrival) -> Frame:
        sequence = self._sequence
        self._sequence += 1
        return Frame(
            data=np.array(window, dtype=np.float32),
            format="window",
            stream=self._stream,
            sequence=sequence,
            captured_ns=last.arrived_ns,
            arrived_ns=last.arrived_ns,
        )


def _look_up(value: Any, name: str) -> Any:
    """Follow ``a.b`` into a JSON object; a key that itself contains a dot is found too."""
    if isinstance(value, dict):
        if name in value:
            return value[name]
        head, dot, rest = name.partition(".")
        if dot and head in value:
            return _look_up(value[head], rest)
    raise BadFrameError(f"there is no field {name!r}")


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadFrameError(f"{name} is {str(value)[:40]!r}, not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not abs(number) <= float(np.finfo(np.float32).max):
        raise BadFrameError(f"{name} is too large")
    return number
