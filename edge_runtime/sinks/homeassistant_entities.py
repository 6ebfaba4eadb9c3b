"""What Home Assistant is told about a device: one entity per thing somebody may want to see or automate.

The keys are those of https://www.home-assistant.io/integrations/mqtt/ (device discovery payload) and of its pages for
sensor, binary_sensor, event, image and button. A template that yields ``None`` makes an entity unknown; an empty one
leaves it as it is.
"""

import json
import re
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from edge_runtime.types import Task

Entity = dict[str, Any]

MAX_LABELS: Final = 20
"""A model with more labels than this gets entities for the usual ones only, or for those the configuration names."""
USUAL_LABELS: Final = frozenset(
    {"person", "face", "bicycle", "car", "motorcycle", "bus", "truck", "bird", "cat", "dog", "horse", "package"}
)
_PRESENCE_OFF_S: Final = 30
"""An open event is told every 10 s; when nothing has come for this long, the device is gone and so is what it saw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncedStream:
    """What there is to say about one stream."""

    name: str
    task: Task | None
    """None without a model: then there is only the picture."""
    labels: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """regress: the values by name, in order; one without a name if empty."""
    units: tuple[str, ...] = ()
    picture: bool = True
    """Whether snapshots can be asked for."""


def slug(text: str) -> str:
    """Return text as letters, digits, ``_`` and ``-``, which is what an id may hold; different texts stay different."""
    plain = re.sub(r"[^a-zA-Z0-9_-]", "_", text)
    return plain if plain == text else f"{plain}_{zlib.crc32(text.encode('utf-8', 'replace')):08x}"


def device_entities(root: str, *, machine: Collection[str], commands: Collection[str]) -> dict[str, Entity]:
    """Return what belongs to the device itself. ``machine``: what it can tell, of ``temperature`` and ``throttled``."""
    stats = f"{root}/stats"
    diagnostic = {"state_topic": stats, "entity_category": "diagnostic"}
    number = {"p": "sensor", "state_class": "measurement", **diagnostic}
    found: dict[str, Entity] = {
        "fps": number
        | {
            "name": "Frames per second",
            "unit_of_measurement": "fps",
            "icon": "mdi:speedometer",
            "value_template": "{{ value_json.fps.inference }}",
        },
        "latency": number
        | {
            "name": "Latency p95",
            "unit_of_measurement": "ms",
            "device_class": "duration",
            "suggested_display_precision": 1,
            "value_template": "{{ value_json.latency_ms.total.p95 }}",
        },
    }
    if "temperature" in machine:
        found["temperature"] = number | {
            "name": "Temperature",
            "unit_of_measurement": "°C",
            "device_class": "temperature",
            "value_template": "{{ value_json.temperature_c }}",
        }
    if "throttled" in machine:
        found["throttled"] = diagnostic | {
            "p": "binary_sensor",
            "name": "Throttling",
            "device_class": "problem",
            "value_template": _on_if("value_json.throttled.now", unless_none="value_json.throttled"),
        }
    if "restart" in commands:
        found["restart"] = _button(root, "restart", "Restart", device_class="restart")
    return found


def stream_entities(
    root: str, stream: AnnouncedStream, *, labels: Collection[str], alone: bool, commands: Collection[str]
) -> dict[str, Entity]:
    """Return what belongs to one stream: ``labels`` are counted one by one; ``alone`` needs no name before each."""
    prefix = "" if alone else f"{stream.name} "
    found = _answer_entities(root, stream, labels=labels)
    if stream.task in {"classify", "detect", "audio", "anomaly"}:
        found["event"] = _event(root, stream)
    if stream.picture and "snapshot" in commands:
        found["snapshot"] = {
            "p": "image",
            "name": "Snapshot",
            "image_topic": f"{root}/{stream.name}/snapshot",
            "content_type": "image/jpeg",
        }
        found["take_snapshot"] = _button(root, "snapshot", "Take snapshot", stream=stream.name)
    both = {"availability": stream_availability(root, stream.name), "availability_mode": "all"}
    return {
        f"{slug(stream.name)}_{key}": entity | both | {"name": _sentence(prefix + entity["name"])}
        for key, entity in found.items()
    }


def device_availability(root: str) -> list[dict[str, str]]:
    """Return where the device says whether it is there; ``online`` and ``offline`` are Home Assistant's defaults."""
    return [{"topic": f"{root}/status"}]


def stream_availability(root: str, stream: str) -> list[dict[str, str]]:
    """Return where the device and one of its streams say whether they are there."""
    template = "{{ 'online' if value_json.state == 'online' else 'offline' }}"
    return [*device_availability(root), {"topic": f"{root}/{stream}/status", "value_template": template}]


def chosen_labels(stream: AnnouncedStream, configured: Sequence[str]) -> list[str]:
    """Return the labels that get entities of their own."""
    if configured:
        return list(dict.fromkeys(configured))
    known = [label for label in dict.fromkeys(stream.labels) if label and label not in {"background", "???"}]
    return known if len(known) <= MAX_LABELS else [label for label in known if label in USUAL_LABELS]


def _answer_entities(root: str, stream: AnnouncedStream, *, labels: Collection[str]) -> dict[str, Entity]:
    topic = f"{root}/{stream.name}/prediction"
    match stream.task:
        case "classify" | "audio":
            return _top_label(topic)
        case "detect":
            found = {"objects": _counter(topic, "Objects", "{{ value_json.result | count }}")}
            for label in labels:
                found |= _label_entities(root, stream.name, label)
            return found
        case "pose":
            return {"people": _counter(topic, "People", "{{ value_json.result | count }}")}
        case "segment":
            return {"label": _top_label(topic)["label"] | {"name": "Largest area"}}
        case "regress":
            return dict(_value(topic, stream, index) for index in range(max(1, len(stream.names))))
        case "anomaly":
            return _anomaly(topic)
        case _:
            return {}


def _top_label(topic: str) -> dict[str, Entity]:
    first = "value_json.result[0]"
    named = f"({first}.label or 'class ' ~ {first}.class_id)[:255]"
    scored = f"({first}.score * 100) | round(1)"
    return {
        "label": {
            "p": "sensor",
            "name": "Label",
            "icon": "mdi:tag",
            "state_topic": topic,
            "value_template": f"{{{{ {named} if value_json.result else None }}}}",
        },
        "score": {
            "p": "sensor",
            "name": "Score",
            "unit_of_measurement": "%",
            "state_class": "measurement",
            "state_topic": topic,
            "value_template": f"{{{{ {scored} if value_json.result and {first}.score is not none else None }}}}",
        },
    }


def _label_entities(root: str, stream: str, label: str) -> dict[str, Entity]:
    # As text inside a template: JSON's escapes are Python's, which are Jinja's, as long as nothing else is escaped.
    quoted = json.dumps(label, ensure_ascii=False)
    counted = f"{{{{ value_json.result | selectattr('label', 'eq', {quoted}) | list | count }}}}"
    # An event, not a prediction, says who is there: it has the hysteresis. Events of other labels change nothing.
    there = f"{{% if value_json.label == {quoted} %}}{{{{ 'OFF' if value_json.type == 'end' else 'ON' }}}}{{% endif %}}"
    return {
        f"count_{slug(label)}": _counter(f"{root}/{stream}/prediction", f"{label} count", counted),
        f"presence_{slug(label)}": {
            "p": "binary_sensor",
            "name": label,
            "device_class": "occupancy",
            "off_delay": _PRESENCE_OFF_S,
            "state_topic": f"{root}/{stream}/event",
            "value_template": there,
        },
    }


def _counter(topic: str, name: str, template: str) -> Entity:
    return {
        "p": "sensor",
        "name": name,
        "icon": "mdi:counter",
        "state_class": "measurement",
        "state_topic": topic,
        "value_template": template,
    }


def _value(topic: str, stream: AnnouncedStream, index: int) -> tuple[str, Entity]:
    name = stream.names[index] if index < len(stream.names) else "Value"
    entity: Entity = {
        "p": "sensor",
        "name": name,
        "state_class": "measurement",
        "state_topic": topic,
        "value_template": f"{{{{ value_json.result[{index}].value }}}}",
    }
    if index < len(stream.units) and stream.units[index]:
        entity["unit_of_measurement"] = stream.units[index]
    return f"value_{slug(name)}", entity


def _anomaly(topic: str) -> dict[str, Entity]:
    first = "value_json.result[0]"
    return {
        "anomaly": {
            "p": "binary_sensor",
            "name": "Anomaly",
            "device_class": "problem",
            "state_topic": topic,
            "value_template": _on_if(f"{first}.anomalous", unless_none=f"{first}.anomalous"),
        },
        "anomaly_score": {
            "p": "sensor",
            "name": "Anomaly score",
            "state_class": "measurement",
            "state_topic": topic,
            "value_template": f"{{{{ {first}.score }}}}",
        },
    }


def _event(root: str, stream: AnnouncedStream) -> Entity:
    fields = ", ".join(
        f'"{key}": {{{{ value_json.{key} | tojson }}}}' for key in ("label", "score", "id", "started_at", "ended_at")
    )
    return {
        "p": "event",
        "name": "Last event",
        "event_types": ["start", "update", "end"],
        "state_topic": f"{root}/{stream.name}/event",
        "value_template": f'{{"event_type": {{{{ value_json.type | tojson }}}}, {fields}}}',
    }


def _button(
    root: str, command: str, name: str, *, stream: str | None = None, device_class: str | None = None
) -> Entity:
    # Every press has an id of its own, or the second would be taken for the first delivered twice.
    about = "" if stream is None else f', "stream": {json.dumps(stream)}'
    entity: Entity = {
        "p": "button",
        "name": name,
        "command_topic": f"{root}/command/{command}",
        "command_template": f'{{"id": "homeassistant-{{{{ as_timestamp(now()) }}}}"{about}}}',
    }
    if device_class is not None:
        entity |= {"device_class": device_class, "entity_category": "config"}
    return entity


def _on_if(condition: str, *, unless_none: str) -> str:
    return f"{{{{ None if {unless_none} is none else 'ON' if {condition} else 'OFF' }}}}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
