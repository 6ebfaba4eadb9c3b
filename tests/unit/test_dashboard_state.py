"""The dashboard's model of a broker's devices: what it keeps, what it sends on, what it refuses to be harmed by."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.dashboard import messages
from edge_runtime.dashboard.messages import Address, address_of, number, point_of, read_object, sample_of, trimmed
from edge_runtime.dashboard.snapshots import Pace, Snapshots
from edge_runtime.dashboard.state import Fleet, Limits

JPEG = b"\xff\xd8\xff\xe0 the rest of a picture"
CLASSIFY = {
    "task": "classify",
    "result": [{"class_id": 286, "label": "Egyptian cat", "score": 0.789}],
    "latency_ms": {"invoke": 4.1, "total": 6.6},
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)


def said(fleet: Fleet, topic: str, message: Any, *, now_ms: int = 1000) -> None:
    payload = message if isinstance(message, bytes) else json.dumps(message).encode()
    fleet.apply(f"edge-infer/{topic}", payload, now_ms=now_ms)


def devices(fleet: Fleet, since: int = 0) -> dict[str, Any]:
    return fleet.patch(since)[1].get("devices", {})


@pytest.mark.parametrize(
    ("topic", "address"),
    [
        ("edge-infer/porch/status", Address("porch", None, "status")),
        ("edge-infer/porch/stats", Address("porch", None, "stats")),
        ("edge-infer/porch/camera0/status", Address("porch", "camera0", "stream_status")),
        ("edge-infer/porch/camera0/prediction", Address("porch", "camera0", "prediction")),
        ("edge-infer/porch/command/snapshot/result", Address("porch", None, "result")),
        ("edge-infer/porch/command/snapshot", None),
        ("edge-infer/porch/camera0/unheard-of", None),
        ("edge-infer//status", None),
        ("edge-infer/por\x07ch/status", None),
        (f"edge-infer/{'x' * 200}/status", None),
        ("elsewhere/porch/status", None),
    ],
)
def test_topics_are_read_as_the_contract_names_them(topic: str, address: Address | None) -> None:
    assert address_of(topic) == address


def test_a_device_appears_with_what_it_says() -> None:
    fleet = Fleet()
    said(fleet, "porch/status", b"online")
    said(fleet, "porch/info", {"model": {"name": "mobilenet_v2"}})
    said(fleet, "porch/camera0/prediction", CLASSIFY)
    porch = devices(fleet)["porch"]
    assert porch["status"] == "online"
    assert porch["info"] == {"model": {"name": "mobilenet_v2"}}
    assert porch["streams"]["camera0"]["prediction"] == CLASSIFY | {"received_ms": 1000}
    assert porch["streams"]["camera0"]["points"] == [[1000, 0.789, 6.6]]


def test_a_patch_holds_only_what_changed_since() -> None:
    fleet = Fleet()
    said(fleet, "porch/status", b"online")
    said(fleet, "barn/status", b"online")
    version, first = fleet.patch()
    assert first["full"] is True
    assert fleet.patch(version) == (version, {})
    said(fleet, "barn/stats", {"fps": {"inference": 30.0}}, now_ms=2000)
    _, changes = fleet.patch(version)
    assert list(changes["devices"]) == ["barn"]
    assert set(changes["devices"]["barn"]) == {"stats", "samples", "heard_ms"}
    assert "full" not in changes


def test_a_reader_that_missed_many_changes_gets_the_latest_values_once() -> None:
    fleet = Fleet(limits=Limits(points=10))
    said(fleet, "porch/status", b"online")
    version = fleet.version
    for step in range(1000):
        said(fleet, "porch/camera0/prediction", CLASSIFY | {"seq": step}, now_ms=step * 1000)
    stream = devices(fleet, version)["porch"]["streams"]["camera0"]
    assert stream["prediction"]["seq"] == 999
    assert [point[0] for point in stream["points"]] == [step * 1000 for step in range(990, 1000)]


def test_history_takes_at_most_four_points_a_second() -> None:
    fleet = Fleet()
    for now_ms in range(0, 1000, 10):
        said(fleet, "porch/camera0/prediction", CLASSIFY, now_ms=now_ms)
    assert [point[0] for point in devices(fleet)["porch"]["streams"]["camera0"]["points"]] == [0, 250, 500, 750]


def test_an_event_is_one_entry_from_start_to_end() -> None:
    fleet = Fleet()
    said(fleet, "porch/camera0/event", {"type": "start", "id": "e1", "label": "cat", "score": 0.7})
    version = fleet.version
    said(fleet, "porch/camera0/event", {"type": "end", "id": "e1", "label": "cat", "score": 0.9}, now_ms=5000)
    (event,) = devices(fleet)["porch"]["events"]
    assert event == {"type": "end", "id": "e1", "label": "cat", "score": 0.9, "stream": "camera0", "first_ms": 1000}
    assert devices(fleet, version)["porch"]["events"] == [event]


def test_old_events_make_room() -> None:
    fleet = Fleet(limits=Limits(events=3))
    for number_ in range(5):
        said(fleet, "porch/camera0/event", {"type": "start", "id": number_})
    assert [event["id"] for event in devices(fleet)["porch"]["events"]] == ["2", "3", "4"]


def test_a_snapshot_is_kept_and_numbered() -> None:
    fleet = Fleet()
    said(fleet, "porch/camera0/snapshot", JPEG)
    said(fleet, "porch/camera0/snapshot", JPEG + b"2")
    assert fleet.snapshot("porch", "camera0") == JPEG + b"2"
    assert devices(fleet)["porch"]["streams"]["camera0"]["snapshot"] == {"number": 2, "received_ms": 1000}


@pytest.mark.parametrize("payload", [b"", b"<svg onload=alert(1)>", b"\x89PNG", b"\xff\xd8\xff" + bytes(5 << 20)])
def test_what_is_no_jpeg_is_never_served_as_a_picture(payload: bytes) -> None:
    fleet = Fleet()
    said(fleet, "porch/camera0/snapshot", payload)
    assert fleet.snapshot("porch", "camera0") is None
    assert fleet.ignored == 1


def test_a_refused_snapshot_says_why_until_a_picture_comes() -> None:
    fleet = Fleet()
    said(fleet, "porch/mic0/prediction", CLASSIFY)
    fleet.expect_snapshot("ours", "porch", "mic0")
    said(fleet, "porch/command/snapshot/result", {"id": "somebody else's", "ok": False, "error": "no"})
    assert "snapshot_error" not in devices(fleet)["porch"]["streams"]["mic0"]
    said(fleet, "porch/command/snapshot/result", {"id": "ours", "ok": False, "error": "a microphone has no picture"})
    assert devices(fleet)["porch"]["streams"]["mic0"]["snapshot_error"] == "a microphone has no picture"
    said(fleet, "porch/mic0/snapshot", JPEG)
    assert devices(fleet)["porch"]["streams"]["mic0"]["snapshot_error"] is None


def test_a_device_whose_retained_status_is_taken_back_is_gone_for_every_reader() -> None:
    fleet = Fleet()
    said(fleet, "porch/status", b"online")
    said(fleet, "porch/camera0/snapshot", JPEG)
    said(fleet, "barn/status", b"online")
    version = fleet.version
    said(fleet, "porch/status", b"")
    _, changes = fleet.patch(version)
    assert changes["full"] is True
    assert list(changes["devices"]) == ["barn"]
    assert fleet.snapshot("porch", "camera0") is None


def test_after_a_reconnection_nobody_is_online_before_saying_so() -> None:
    fleet = Fleet()
    said(fleet, "porch/status", b"online")
    version = fleet.version
    fleet.doubt_statuses()
    assert devices(fleet, version)["porch"]["status"] is None


def test_the_broker_state_keeps_the_time_of_its_change() -> None:
    fleet = Fleet()
    fleet.set_broker(url="mqtt://b:1883", state="down", detail="refused", now_ms=1000)
    version = fleet.version
    fleet.set_broker(url="mqtt://b:1883", state="down", detail="refused", now_ms=9000)
    assert fleet.version == version
    assert fleet.patch()[1]["broker"]["since_ms"] == 1000


def test_a_flood_of_names_does_not_drive_out_devices_that_live() -> None:
    fleet = Fleet(limits=Limits(devices=3))
    said(fleet, "porch/status", b"online")
    said(fleet, "old/status", b"offline")
    for number_ in range(50):
        said(fleet, f"flood{number_}/status", b"offline", now_ms=2000)
    assert set(devices(fleet)) == {"porch", "old", "flood0"}
    assert fleet.ignored == 49
    said(fleet, "late/status", b"online", now_ms=120_000)
    assert set(devices(fleet)) == {"porch", "flood0", "late"}


def test_streams_of_a_device_are_bounded() -> None:
    fleet = Fleet(limits=Limits(streams=2))
    for number_ in range(5):
        said(fleet, f"porch/camera{number_}/prediction", CLASSIFY)
    assert list(devices(fleet)["porch"]["streams"]) == ["camera0", "camera1"]


@given(payload=st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
@pytest.mark.parametrize(
    "topic", ["porch/status", "porch/info", "porch/stats", "porch/c/prediction", "porch/c/event", "porch/c/snapshot"]
)
def test_any_payload_is_taken_or_ignored_and_the_state_stays_sendable(topic: str, payload: bytes) -> None:
    fleet = Fleet()
    said(fleet, topic, payload)
    msgspec.json.decode(msgspec.json.encode(fleet.patch()[1]))


@given(value=json_values)
def test_trimming_changes_nothing_small(value: Any) -> None:
    def small(entry: Any, depth: int = 0) -> bool:
        if isinstance(entry, dict):
            return depth < 8 and all(len(k) <= 128 and small(v, depth + 1) for k, v in entry.items())
        if isinstance(entry, list):
            return depth < 8 and all(small(v, depth + 1) for v in entry)
        return not isinstance(entry, int) or abs(entry) <= 1 << 53

    if small(value):
        assert trimmed(value) == value


@pytest.mark.parametrize(
    "value",
    [
        [[list(range(500))] * 500] * 500,
        {str(i): "x" * 10_000 for i in range(10_000)},
        {"k" * 10_000 + str(i): i for i in range(1000)},
        [10**400, 1 << 60, -(10**400)],
    ],
)
def test_whatever_comes_is_trimmed_to_a_few_kilobytes(value: Any) -> None:
    assert len(msgspec.json.encode(trimmed(value))) < 100_000


@pytest.mark.parametrize("payload", [b"[" * 100_000, b'"\\ud800x"', b"NaN", b"[1,2]", b"\xff", b"{" + b" " * (2 << 20)])
def test_what_is_no_reasonable_json_object_is_none(payload: bytes) -> None:
    assert read_object(payload) is None


@pytest.mark.parametrize(
    ("prediction", "leading"),
    [
        ({"task": "regress", "result": [{"name": "rain", "value": 0.4}]}, 0.4),
        ({"task": "anomaly", "result": {"score": 0.02, "threshold": 0.05}}, 0.02),
        ({"task": "detect", "result": []}, 0.0),
        ({"task": "raw", "result": [{"name": "out", "values": [1]}]}, None),
        ({"task": "classify", "result": "nonsense"}, None),
        ({}, None),
    ],
)
def test_the_leading_number_of_a_prediction(prediction: dict[str, Any], leading: float | None) -> None:
    assert point_of(prediction, received_ms=5) == [5, leading, None]


def test_a_sample_has_a_column_for_each_number_and_none_for_what_is_not_known() -> None:
    stats = {"fps": {"inference": 30, "dropped": True}, "temperature_c": 51.5, "latency_ms": "?"}
    sample = sample_of(stats, received_ms=7)
    assert len(sample) == 1 + len(messages.SAMPLE_PATHS)
    assert (sample[0], sample[2], sample[3], sample[-1]) == (7, 30.0, None, 51.5)


def test_numbers_are_finite_or_none() -> None:
    assert [number(v) for v in (1, 2.5, True, "3", None, float("inf"), 10**400)] == [1, 2.5, *[None] * 5]


def test_pictures_are_bounded_together() -> None:
    pictures = Snapshots(total_bytes=10)
    pictures.put(("a", "s"), b"12345")
    pictures.put(("b", "s"), b"12345")
    pictures.put(("a", "s"), b"1234")
    pictures.put(("c", "s"), b"12")
    assert [pictures.get((name, "s")) for name in "abc"] == [b"1234", None, b"12"]


def test_a_stream_is_asked_for_a_picture_once_a_second_whoever_looks() -> None:
    pace = Pace(interval_s=1.0)
    allowed = [pace.allows(("porch", "camera0"), now_s=tick / 4) for tick in range(9)]
    assert [tick for tick, ok in enumerate(allowed) if ok] == [0, 4, 8]
    assert pace.allows(("porch", "camera1"), now_s=2.0)
