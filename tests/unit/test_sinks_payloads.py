import json
import re
from typing import get_args

import numpy as np
import pytest
from predictions import FakeBus, anomaly, classified, detected, handed, heard, prediction, regressed

from edge_runtime import clock
from edge_runtime.sinks.events import EventTracker
from edge_runtime.sinks.mqtt import MqttSink
from edge_runtime.sinks.payloads import prediction_payload
from edge_runtime.types import Anomaly, Classifications, Origin, RawTensors, Segmentation, Task, Transform


def document(what, **more):
    return json.loads(prediction_payload(handed(what, **more), "porch"))


def test_a_prediction_reads_as_the_contract_shows_it():
    at_s = clock.monotonic_ns() / 1e9
    found = document(classified((1, 0.789), (2, 0.1), captured_s=at_s), seq=1234, seq_start=1000)
    assert list(found) == [
        "schema", "device", "stream", "seq", "seq_start", "captured_at", "model", "task", "result", "latency_ms",
    ]  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("captured_at"))
    assert found == {
        "schema": 1,
        "device": "porch",
        "stream": "camera0",
        "seq": 1234,
        "seq_start": 1000,
        "model": {"name": "mobilenet_v2", "version": "1", "sha256": "3f" * 32},
        "task": "classify",
        "result": [
            {"class_id": 1, "label": "cat", "score": 0.789},
            {"class_id": 2, "label": "dog", "score": 0.1},
        ],
        "latency_ms": {
            "queue": 0.213, "prepare": 1.912, "wait": 0.3, "invoke": 4.1, "postprocess": 0.1, "total": 6.625,
        },
    }  # fmt: skip


def test_captured_at_is_the_wall_time_of_the_frame():
    before = clock.rfc3339(clock.wall_ns(clock.monotonic_ns() - 3_600 * 10**9 - 2 * 10**6))
    found = document(classified((1, 0.5), captured_s=clock.monotonic_ns() / 1e9 - 3_600))["captured_at"]
    after = clock.rfc3339(clock.wall_ns(clock.monotonic_ns() - 3_600 * 10**9 + 2 * 10**6))
    assert before <= found <= after


def test_boxes_carry_the_size_of_their_frame():
    found = document(detected((3, 0.9), size=(1280, 720)))
    assert found["frame"] == {"width": 1280, "height": 720}
    assert found["result"][0]["box"] == [10.0, 20.0, 50.0, 100.0]


def test_a_prediction_from_a_file_says_which_and_where():
    pictured = document(classified((1, 0.5), origin=Origin(path="photos/kätze.jpg")))
    assert pictured["path"] == "photos/kätze.jpg"
    assert "position_s" not in pictured
    filmed = document(classified((1, 0.5), origin=Origin(position_s=1.23456)))
    assert filmed["position_s"] == 1.235
    assert "path" not in filmed


def test_a_file_name_that_is_not_utf8_is_still_json():
    name = b"photo-\xff.jpg".decode("utf-8", "surrogateescape")
    assert document(classified((1, 0.5), origin=Origin(path=name)))["path"] == "photo-\ufffd.jpg"


def test_what_is_unknown_or_no_number_is_null():
    found = document(classified((1, float("nan")), (99, 0.1)), seq=None)
    assert found["seq"] is None
    assert found["result"][0]["score"] is None
    assert found["result"][1]["label"] is None


def test_every_task_has_a_payload():
    mask = np.zeros((4, 4), np.uint8)
    whole = Transform((4, 4), (8, 8), (2.0, 2.0))
    results = {
        "classify": classified((1, 0.5)),
        "detect": detected((1, 0.5)),
        "regress": regressed(21.5),
        "anomaly": anomaly(0.5),
        "audio": heard((1, 0.5)),
        "segment": prediction(Segmentation(mask, np.array([0]), np.array([16]), ("sky",), whole), "segment"),
        "raw": prediction(RawTensors(("out",), (np.eye(2, dtype=np.float32),)), "raw"),
    }
    found = {task: document(what) for task, what in results.items()}
    assert {task for task, read in found.items() if read["task"] == task} == set(get_args(Task)) - {"pose"}
    assert found["regress"]["result"] == [{"name": "value0", "value": 21.5, "unit": "°C"}]
    assert found["anomaly"]["result"] == [{"score": 0.5, "threshold": 1.0, "anomalous": False}]
    assert found["segment"]["result"] == [{"label": "sky", "class_id": 0, "pixels": 16}]
    assert found["raw"]["result"] == [{"name": "out", "shape": [2, 2], "values": [[1.0, 0.0], [0.0, 1.0]]}]


def test_only_predictions_with_a_seq_go_to_the_broker_at_qos_1():
    bus = FakeBus()
    sink = MqttSink(bus, device="porch")
    sink.open()
    sink.write([handed(classified((1, 0.5)), seq=1), handed(classified((1, 0.5)), seq=None)])
    sink.write([handed(classified((2, 0.5), stream="camera1"), seq=1)])
    sink.close()
    assert [(topic, qos, retain) for topic, _, qos, retain in bus.published] == [
        ("edge-infer/porch/camera0/prediction", 1, False),
        ("edge-infer/porch/camera1/prediction", 1, False),
    ]


def test_events_look_at_predictions_that_are_not_published():
    bus = FakeBus()
    sink = MqttSink(bus, device="porch", events=EventTracker(run_id="r"))
    sink.write([handed(detected((3, 0.9), captured_s=t), seq=None) for t in (1.0, 1.1)])
    assert bus.topics() == ["edge-infer/porch/camera0/event"]
    sink.end_stream("camera0")
    sink.close()
    events = [json.loads(payload) for _, payload, _, _ in bus.published]
    assert [(event["type"], event["id"], event["label"]) for event in events] == [
        ("start", "r-1", "person"),
        ("end", "r-1", "person"),
    ]
    assert all(qos == 1 for _, _, qos, _ in bus.published)
    assert events[0]["ended_at"] is None
    assert events[1]["ended_at"] is not None


@pytest.mark.parametrize(
    "result", [Classifications(np.zeros(0, np.int64), np.zeros(0, np.float32), ()), Anomaly(1, None)]
)
def test_an_empty_or_thresholdless_result_is_published_too(result):
    task = "anomaly" if isinstance(result, Anomaly) else "classify"
    assert document(prediction(result, task))["task"] == task
