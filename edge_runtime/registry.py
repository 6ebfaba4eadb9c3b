"""Names of plugins and where they live; a module is imported when its name is used, never before."""

from importlib import import_module
from typing import Any, Final

from edge_runtime.errors import ConfigError

BUILT_IN: Final[dict[str, dict[str, str]]] = {
    "sources": {
        "csv": "edge_runtime.sources.csv_file:CsvSource",
        "demo": "edge_runtime.sources.demo:DemoSource",
        "images": "edge_runtime.sources.images:ImagesSource",
        "mqtt": "edge_runtime.sources.mqtt_sensor:MqttSensorSource",
        "picamera": "edge_runtime.sources.picamera:PicameraSource",
        "v4l2": "edge_runtime.sources.v4l2:V4L2Source",
        "video": "edge_runtime.sources.video:VideoFileSource",
        "video_stream": "edge_runtime.sources.video:VideoStreamSource",
        "wav": "edge_runtime.sources.wav:WavSource",
    },
    "engines": {
        "litert": "edge_runtime.engines.litert:LiteRtEngine",
    },
    "postprocess": {
        "anomaly": "edge_runtime.postprocess.anomaly:AnomalyPostprocessor",
        "audio": "edge_runtime.postprocess.audio:AudioPostprocessor",
        "classify": "edge_runtime.postprocess.classify:ClassifyPostprocessor",
        "detect": "edge_runtime.postprocess.detect:DetectPostprocessor",
        "pose": "edge_runtime.postprocess.pose:PosePostprocessor",
        "raw": "edge_runtime.postprocess.raw:RawPostprocessor",
        "regress": "edge_runtime.postprocess.regress:RegressPostprocessor",
        "segment": "edge_runtime.postprocess.segment:SegmentPostprocessor",
    },
    "sinks": {
        "jsonl": "edge_runtime.sinks.jsonl:JsonlSink",
        "mqtt": "edge_runtime.sinks.mqtt:MqttSink",
        "terminal": "edge_runtime.sinks.terminal:TerminalSink",
    },
}
"""Kind, then name, then ``module:Class``. Third parties add entry points in the group ``edge_runtime.<kind>``."""


def names(kind: str) -> list[str]:
    """Return every known name of a kind, built in and installed."""
    return sorted({*BUILT_IN[kind], *(point.name for point in _entry_points(kind))})


def plugin(kind: str, name: str) -> Any:
    """Import and return the plugin class. Raises ConfigError for a name that nobody registered."""
    if target := BUILT_IN[kind].get(name):
        module, _, attribute = target.partition(":")
        return getattr(import_module(module), attribute)
    for point in _entry_points(kind):
        if point.name == name:
            return point.load()
    raise ConfigError(f"unknown {kind.rstrip('s')} {name!r}; known: {', '.join(names(kind))}")


def _entry_points(kind: str) -> list[Any]:
    from importlib.metadata import entry_points

    return list(entry_points(group=f"edge_runtime.{kind}"))
