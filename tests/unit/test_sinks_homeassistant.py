import json
import re

import pytest
from predictions import FakeBus, anomaly, classified, detected, handed, regressed

from edge_runtime.sinks.events import EventTracker, event_payload
from edge_runtime.sinks.homeassistant import Config, HomeAssistant
from edge_runtime.sinks.homeassistant_entities import AnnouncedStream, chosen_labels, slug
from edge_runtime.sinks.payloads import prediction_payload
from edge_runtime.telemetry.stats import Stats

COMMANDS = {"ping", "snapshot", "restart"}
MACHINE = {"temperature", "throttled"}
STREAMS = {
    "classify": AnnouncedStream(name="camera0", task="classify", labels=("cat", "dog")),
    "detect": AnnouncedStream(name="camera0", task="detect", labels=("person", "dog")),
    "audio": AnnouncedStream(name="sensor0", task="audio", labels=("speech",), picture=False),
    "anomaly": AnnouncedStream(name="sensor0", task="anomaly", picture=False),
    "regress": AnnouncedStream(
        name="sensor0", task="regress", names=("flow", "Δp"), units=("l/min", ""), picture=False
    ),
    "pose": AnnouncedStream(name="camera0", task="pose"),
    "segment": AnnouncedStream(name="camera0", task="segment"),
    "raw": AnnouncedStream(name="camera0", task="raw"),
    "preview": AnnouncedStream(name="camera0", task=None),
}
TOPIC = "homeassistant/device/edge_infer_porch/config"


def announcing(*streams, bus=None, device="porch", config=None, machine=MACHINE, commands=COMMANDS):
    return HomeAssistant(
        bus or FakeBus(), device=device, streams=streams, config=config, machine=machine, commands=commands
    )


# What Home Assistant's documentation says of a device discovery payload and of each platform: the type of every key,
# and those that must be there. https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload and
# https://www.home-assistant.io/integrations/{sensor,binary_sensor,event,image,button}.mqtt/
TEXT, WHOLE = (str,), (int,)
SHARED = {"p": TEXT, "unique_id": TEXT, "name": TEXT, "availability": (list,), "availability_mode": TEXT}
LOOKS = {"icon": TEXT, "device_class": TEXT, "entity_category": TEXT}
PLATFORMS = {
    "sensor": (
        {"state_topic", "value_template"},
        {"state_topic": TEXT, "value_template": TEXT, "unit_of_measurement": TEXT, "state_class": TEXT,
         "suggested_display_precision": WHOLE, **LOOKS},
    ),
    "binary_sensor": (
        {"state_topic"},
        {"state_topic": TEXT, "value_template": TEXT, "payload_on": TEXT, "payload_off": TEXT, "off_delay": WHOLE,
         **LOOKS},
    ),
    "event": ({"state_topic", "event_types"}, {"state_topic": TEXT, "event_types": (list,), "value_template": TEXT}),
    "image": ({"image_topic"}, {"image_topic": TEXT, "content_type": TEXT}),
    "button": ({"command_topic"}, {"command_topic": TEXT, "command_template": TEXT, **LOOKS}),
}  # fmt: skip
DEVICE = {"ids": (list,), "name": TEXT, "mf": TEXT, "mdl": TEXT, "sw": TEXT, "cu": TEXT}
ORIGIN = {"name": TEXT, "sw": TEXT, "url": TEXT}
ROOT = {"dev": (dict,), "o": (dict,), "cmps": (dict,), "availability": (list,), "qos": WHOLE}
CHOICES = {
    "availability_mode": {"all", "any", "latest"},
    "entity_category": {"config", "diagnostic"},
    "state_class": {"measurement", "total", "total_increasing"},
    ("sensor", "device_class"): {"duration", "temperature"},
    ("binary_sensor", "device_class"): {"occupancy", "problem"},
    ("button", "device_class"): {"identify", "restart", "update"},
}
UNITS = {"duration": {"d", "h", "min", "s", "ms"}, "temperature": {"°C", "°F", "K"}}
ID = re.compile(r"[a-zA-Z0-9_-]+")


def keys_and_types(found, allowed, required, where):
    assert required <= found.keys(), f"{where} lacks {required - found.keys()}"
    for key, value in found.items():
        assert key in allowed, f"{where}: Home Assistant knows no {key}"
        assert isinstance(value, allowed[key]), f"{where}: {key} is {value!r}"


def check_topic(topic):
    assert topic
    assert not set("+#\0") & set(topic)


def check_availability(entries, where):
    for entry in entries:
        keys_and_types(entry, {"topic": TEXT, "value_template": TEXT}, {"topic"}, where)
        check_topic(entry["topic"])


def check_entity(key, entity):
    platform = entity.get("p")
    assert platform in PLATFORMS, key
    required, allowed = PLATFORMS[platform]
    keys_and_types(entity, SHARED | allowed, required | {"p", "unique_id", "name"}, key)
    for name in ("state_topic", "image_topic", "command_topic"):
        if name in entity:
            check_topic(entity[name])
    check_availability(entity.get("availability", []), key)
    for name, value in entity.items():
        choices = CHOICES.get((platform, name), CHOICES.get(name))
        assert choices is None or value in choices, f"{key}: {name} is {value}"
    device_class = entity.get("device_class")
    assert platform != "sensor" or device_class is None or entity["unit_of_measurement"] in UNITS[device_class]
    assert "state_class" not in entity or platform == "sensor"
    for template in (value for name, value in entity.items() if name.endswith("_template")):
        assert template.count("{{") == template.count("}}")


def check(message):
    keys_and_types(message, ROOT, {"dev", "o", "cmps"}, "the message")
    keys_and_types(message["dev"], DEVICE, {"ids", "name"}, "dev")
    keys_and_types(message["o"], ORIGIN, {"name"}, "o")
    assert message["qos"] in {0, 1, 2}
    check_availability(message.get("availability", []), "the message")
    for key, entity in message["cmps"].items():
        assert ID.fullmatch(key)
        check_entity(key, entity)
    ids = [entity["unique_id"] for entity in message["cmps"].values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("task", STREAMS)
def test_the_announcement_is_what_home_assistant_documents(task):
    message = announcing(STREAMS[task], config=Config(dashboard_url="http://porch:8080/")).payload()
    check(json.loads(json.dumps(message)))


def test_the_checker_finds_what_is_wrong():
    message = announcing(STREAMS["detect"]).payload()
    for path, value in [
        (("cmps", "fps", "p"), "speedometer"),
        (("cmps", "fps", "state_class"), "average"),
        (("cmps", "fps", "unit"), "fps"),
        (("cmps", "latency", "unit_of_measurement"), "seconds"),
        (("cmps", "camera0_event", "event_types"), "start"),
        (("cmps", "fps", "state_topic"), "edge-infer/+/stats"),
        (("o",), None),
    ]:
        broken = json.loads(json.dumps(message))
        place = broken
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        with pytest.raises(AssertionError):
            check(broken)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("classify", {"label", "score", "event", "snapshot", "take_snapshot"}),
        ("detect", {"objects", "count_person", "presence_person", "count_dog", "presence_dog", "event", "snapshot",
                    "take_snapshot"}),
        ("audio", {"label", "score", "event"}),
        ("anomaly", {"anomaly", "anomaly_score", "event"}),
        ("regress", {"value_flow", f"value_{slug('Δp')}"}),
        ("pose", {"people", "snapshot", "take_snapshot"}),
        ("segment", {"label", "snapshot", "take_snapshot"}),
        ("raw", {"snapshot", "take_snapshot"}),
        ("preview", {"snapshot", "take_snapshot"}),
    ],
)  # fmt: skip
def test_each_task_has_the_entities_somebody_wants(task, expected):
    stream = STREAMS[task]
    found = announcing(stream).payload()["cmps"].keys()
    assert found == {"fps", "latency", "temperature", "throttled", "restart"} | {f"{stream.name}_{e}" for e in expected}


def test_only_what_the_board_can_tell_and_the_daemon_takes_is_announced():
    found = announcing(STREAMS["classify"], machine=(), commands={"ping"}).payload()["cmps"].keys()
    assert found == {"fps", "latency", "camera0_label", "camera0_score", "camera0_event"}


def test_it_is_retained_and_sent_again_when_home_assistant_starts():
    bus = FakeBus()
    announcing(STREAMS["detect"], bus=bus).open()
    assert [(topic, qos, retain) for topic, _, qos, retain in bus.published] == [(TOPIC, 1, True)]
    bus.handlers["homeassistant/status"]("homeassistant/status", b"offline")
    assert len(bus.published) == 1
    bus.handlers["homeassistant/status"]("homeassistant/status", b"online")
    assert bus.published[1] == bus.published[0]


def test_removing_it_clears_the_retained_message_for_good():
    bus = FakeBus()
    ha = announcing(STREAMS["detect"], bus=bus)
    ha.open()
    ha.remove()
    assert bus.published[-1] == (TOPIC, b"", 1, True)
    bus.handlers["homeassistant/status"]("homeassistant/status", b"online")
    assert len(bus.published) == 2


def test_another_model_removes_the_entities_of_the_old_one():
    bus = FakeBus()
    ha = announcing(STREAMS["detect"], bus=bus)
    ha.open()
    ha.update([STREAMS["classify"]])
    _, removing, clean = (json.loads(payload) for _, payload, _, _ in bus.published)
    assert removing["cmps"]["camera0_count_person"] == {"p": "sensor"}
    assert removing["cmps"]["camera0_presence_person"] == {"p": "binary_sensor"}
    assert "camera0_count_person" not in clean["cmps"]
    check(clean)
    ha.update([STREAMS["classify"]])
    assert json.loads(bus.published[-1][1]) == clean
    assert len(bus.published) == 4


def test_what_an_earlier_run_left_behind_is_removed():
    before = FakeBus()
    announcing(STREAMS["detect"], bus=before).open()
    left = before.retained[TOPIC]
    bus = FakeBus()
    announcing(STREAMS["classify"], bus=bus).open()
    deliver = bus.handlers[TOPIC]
    deliver(TOPIC, bus.published[0][1])  # its own, back from the broker
    assert len(bus.published) == 1
    deliver(TOPIC, left)
    removing = json.loads(bus.published[1][1])
    assert removing["cmps"]["camera0_objects"] == {"p": "sensor"}
    check(json.loads(bus.published[2][1]))
    for _, payload, _, _ in list(bus.published):
        deliver(TOPIC, payload)
    assert len(bus.published) == 3


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b'{"cmps": []}', b'{"cmps": {"a": 5}}', b'{"cmps": {"a": {"p": "light", "x": 1}}}', b"[" * 9999],
)
def test_an_announcement_that_cannot_be_read_is_left_alone(payload):
    bus = FakeBus()
    announcing(STREAMS["classify"], bus=bus).open()
    bus.handlers[TOPIC](TOPIC, payload)
    assert len(bus.published) == 1


def test_two_that_announce_the_same_device_do_not_answer_each_other_for_ever():
    bus = FakeBus()
    announcing(STREAMS["classify"], bus=bus).open()
    for number in range(500):
        bus.handlers[TOPIC](TOPIC, json.dumps({"cmps": {f"x{number}": {"p": "sensor", "name": "x"}}}).encode())
    assert len(bus.published) < 100


def test_ids_are_stable_and_differ_between_devices_and_streams():
    first, again = (announcing(STREAMS["detect"]).payload() for _ in range(2))
    assert first == again
    assert first["cmps"]["camera0_count_person"]["unique_id"] == "edge_infer_porch_camera0_count_person"
    other = announcing(STREAMS["detect"], device="pörch").payload()
    assert other["dev"]["ids"] != first["dev"]["ids"]
    assert ID.fullmatch(other["dev"]["ids"][0])
    assert slug("a b") != slug("a.b") != slug("a_b")


def test_several_streams_are_told_apart_by_name():
    second = AnnouncedStream(name="camera1", task="classify")
    message = announcing(STREAMS["classify"], second).payload()
    check(message)
    names = [entity["name"] for entity in message["cmps"].values()]
    assert "Camera0 Label" in names
    assert len(names) == len(set(names))
    assert announcing(STREAMS["classify"]).payload()["cmps"]["camera0_label"]["name"] == "Label"


def test_a_large_label_set_is_cut_to_what_people_look_for():
    coco = ("person", "car", "toaster", "dog", *(f"thing {i}" for i in range(80)))
    stream = AnnouncedStream(name="camera0", task="detect", labels=coco)
    assert chosen_labels(stream, ()) == ["person", "car", "dog"]
    assert chosen_labels(stream, ("toaster",)) == ["toaster"]
    small = AnnouncedStream(name="camera0", task="detect", labels=("background", "mask", "no mask"))
    assert chosen_labels(small, ()) == ["mask", "no mask"]


# From here on the templates are rendered, by the library that Home Assistant renders them with.


@pytest.fixture(scope="session")
def render():
    jinja2 = pytest.importorskip("jinja2", reason="jinja2 is not installed; the templates are not rendered")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.globals |= {"as_timestamp": float, "now": lambda: 1764.5}

    def rendered(template, payload):
        return environment.from_string(template).render(value_json=json.loads(payload))

    return rendered


def states(render, task, payload, *, topic):
    """What Home Assistant makes of a message on a topic, per entity that listens there."""
    cmps = announcing(STREAMS[task]).payload()["cmps"]
    prefix = f"{STREAMS[task].name}_"
    return {
        key.removeprefix(prefix): render(entity["value_template"], payload)
        for key, entity in cmps.items()
        if entity.get("state_topic") == f"edge-infer/porch/{topic}"
    }


def published(what):
    return prediction_payload(handed(what), "porch")


def test_templates_read_what_is_published(render):
    topic = "camera0/prediction"
    assert states(render, "classify", published(classified((1, 0.789), (2, 0.1))), topic=topic) == {
        "label": "cat",
        "score": "78.9",
    }
    assert states(render, "classify", published(classified((99, 0.5))), topic=topic)["label"] == "class 99"
    assert states(render, "classify", published(classified()), topic=topic) == {"label": "None", "score": "None"}
    assert states(render, "detect", published(detected((3, 0.9), (3, 0.8), (1, 0.7))), topic=topic) == {
        "objects": "3",
        "count_person": "2",
        "count_dog": "0",
    }
    assert states(render, "detect", published(detected()), topic=topic)["objects"] == "0"


def test_templates_of_sensors_read_what_is_published(render):
    topic = "sensor0/prediction"
    assert states(render, "regress", published(regressed(12.5, 3.0, stream="sensor0")), topic=topic) == {
        "value_flow": "12.5",
        f"value_{slug('Δp')}": "3.0",
    }
    for score, threshold, expected in [(2.0, 1.0, "ON"), (0.5, 1.0, "OFF"), (0.5, None, "None")]:
        found = states(render, "anomaly", published(anomaly(score, threshold)), topic=topic)
        assert found == {"anomaly": expected, "anomaly_score": str(score)}


def test_presence_follows_the_events_of_its_own_label(render):
    tracker = EventTracker()
    frames = [detected((3, 0.9), captured_s=t) for t in (1, 1.1)]
    events = [e for p in frames for e in tracker.update(p)] + tracker.end_all()
    start, end = (states(render, "detect", event_payload(event, "porch"), topic="camera0/event") for event in events)
    assert (start["presence_person"], end["presence_person"]) == ("ON", "OFF")
    assert (start["presence_dog"], end["presence_dog"]) == ("", ""), "an empty state is no news"
    told = json.loads(end["event"])
    assert (told["event_type"], told["label"]) == ("end", "person")
    assert told["ended_at"] is not None
    assert json.loads(start["event"])["ended_at"] is None


def test_statistics_that_are_missing_are_unknown(render):
    empty = json.dumps(Stats("porch", {}).payload())
    assert states(render, "classify", empty, topic="stats") == {
        "fps": "None",
        "latency": "None",
        "temperature": "None",
        "throttled": "None",
    }
    known = Stats(
        "porch",
        {
            "fps": lambda: {"inference": 29.9},
            "latency_ms": lambda: {"total": {"p50": 5.0, "p95": 6.6, "p99": 9.0}},
            "temperature_c": lambda: 51.6,
            "throttled": lambda: {"now": ["under_voltage"], "since_boot": None},
        },
    )
    assert states(render, "classify", json.dumps(known.payload()), topic="stats") == {
        "fps": "29.9",
        "latency": "6.6",
        "temperature": "51.6",
        "throttled": "ON",
    }


def test_a_stream_is_available_while_it_is_online(render):
    (device, stream) = announcing(STREAMS["classify"]).payload()["cmps"]["camera0_label"]["availability"]
    assert device == {"topic": "edge-infer/porch/status"}
    assert stream["topic"] == "edge-infer/porch/camera0/status"
    for state in ("online", "stalled", "offline"):
        expected = "online" if state == "online" else "offline"
        assert render(stream["value_template"], json.dumps({"state": state})) == expected


def test_a_button_sends_a_request_the_command_server_understands(render):
    button = announcing(STREAMS["classify"]).payload()["cmps"]["camera0_take_snapshot"]
    assert button["command_topic"] == "edge-infer/porch/command/snapshot"
    assert json.loads(render(button["command_template"], "{}")) == {
        "id": "homeassistant-1764.5",
        "stream": "camera0",
    }


@pytest.mark.parametrize("label", ['say "hi"', "back\\slash", "{{ 7 * 7 }}", "{% raw %}", "ö 猫 😀", "it's }}", "a\nb"])
def test_a_label_cannot_break_out_of_its_template(render, label):
    stream = AnnouncedStream(name="camera0", task="detect", labels=(label,))
    message = announcing(stream).payload()
    payload = json.dumps({"result": [{"label": label}, {"label": "49"}], "label": label, "type": "start"})
    key = f"camera0_count_{slug(label)}"
    assert render(message["cmps"][key]["value_template"], payload) == "1"
    assert render(message["cmps"][f"camera0_presence_{slug(label)}"]["value_template"], payload) == "ON"
