"""From configuration sections to working parts: sources, and a pipeline with a model in it.

The daemon, ``batch``, ``bench`` and the Python API put their parts together here and nowhere else.
"""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from edge_runtime import config, registry
from edge_runtime.config import ModelSection, SourceCommon
from edge_runtime.engines.factory import open_engine
from edge_runtime.engines.litert import EngineConfig
from edge_runtime.errors import ConfigError, InputMismatchError, UsageError
from edge_runtime.manifest import Overrides, as_image, as_window, resolve
from edge_runtime.pipeline import Pipeline
from edge_runtime.postprocess.factory import build as build_postprocessor
from edge_runtime.preprocess.factory import build as build_preprocessor
from edge_runtime.protocols import Preprocessor, Source, WantedInput
from edge_runtime.types import ModelSpec, View

log = logging.getLogger(__name__)

SENSORS: Final = frozenset({"csv", "wav", "mqtt"})
"""Source types that deliver windows of samples; all others deliver pictures."""
STREAM_NAMES: Final = {"v4l2": "camera", "picamera": "camera", "video_stream": "video"} | dict.fromkeys(
    SENSORS, "sensor"
)
"""What a stream is called after its source's type, where that is not the type itself; a number follows."""

NO_MODEL: Final = (
    "no model is active yet: fetch one with `edge-infer models pull mobilenet_v2`, or name one with --model FILE|NAME "
    "(--model none shows the camera without a model)"
)


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """One configured source: checked, not yet constructed."""

    name: str
    common: SourceCommon
    plugin: Any
    settings: Any
    names_broker: bool = False
    """Whether a sensor read over MQTT names a broker of its own."""

    @property
    def is_sensor(self) -> bool:
        """Whether it delivers windows of samples instead of pictures."""
        return self.common.type in SENSORS

    def construct(self, wants: WantedInput, *, broker: Mapping[str, Any] | None = None) -> Source:
        """Return the source, unopened. ``broker`` is where a sensor over MQTT listens that names no broker itself."""
        settings = self.settings
        if self.common.type == "mqtt" and broker is not None and not self.names_broker:
            settings = msgspec.structs.replace(settings, **broker)
        source: Source = self.plugin(settings, stream=self.name, wants=wants)
        return source


def plan_streams(sections: Sequence[Mapping[str, Any]], *, where: str, probe: bool = True) -> list[StreamPlan]:
    """Check every ``[[source]]`` and give each its stream's name. Raises ConfigError.

    ``probe`` looks for the camera that ``type = "camera"`` stands for; without it that is taken for a V4L2 camera.
    """
    plans: list[StreamPlan] = []
    used: Counter[str] = Counter()
    for number, values in enumerate(sections):
        place = f"{where}: source {number + 1}"
        common, own = config.split_source(_resolve_camera(values, probe=probe), where=place)
        plugin = registry.plugin("sources", common.type)
        if common.mask_file and probe:
            from edge_runtime.preprocess.masks import read_mask

            read_mask(common.mask_file)
        if common.fps is not None and "fps" in plugin.Config.__struct_fields__:
            own["fps"] = common.fps
        settings = config.section(plugin.Config, own, where=f"{place} ({common.type})")
        kind = STREAM_NAMES.get(common.type, common.type)
        name = common.name or f"{kind}{used[kind]}"
        used[kind] += 1
        if any(plan.name == name for plan in plans):
            raise ConfigError(f"{place}: the name {name!r} is used twice")
        plans.append(StreamPlan(name, common, plugin, settings, names_broker="url" in own))
    return plans


def _resolve_camera(values: Mapping[str, Any], *, probe: bool) -> dict[str, Any]:
    """Replace ``type = "camera"`` by the camera that is there: a Raspberry Pi camera, else the first that captures."""
    if values.get("type") != "camera":
        return dict(values)
    if not probe:
        return {**values, "type": "v4l2"}
    from edge_runtime.sources.camera import pick_camera

    kind, settings = pick_camera()
    return {**values, "type": kind, **settings}


def find_model(name: str | None, state: Path) -> Path:
    """Return the file of ``--model``: a path, else a name of the store or the catalogue (pulled once), else the active.

    ``state`` is the device's state directory. Raises UsageError when there is none, DownloadError.
    """
    if name and (name.endswith(".tflite") or os.sep in name or Path(name).is_file()):
        if not Path(name).is_file():
            raise UsageError(f"{name}: no such model file")
        return Path(name)
    from edge_runtime.store.models import ModelStore

    store = ModelStore(state)
    found = store.obtain(name) if name else store.active()
    if found is None:
        raise UsageError(NO_MODEL)
    return found


def overrides(section: ModelSection) -> Overrides:
    """Return what the flags or the file say of the model itself."""
    keys = ("labels", "task", "mean", "std", "color", "resize", "layout")
    return Overrides(**{key: getattr(section, key) for key in keys})


def read_model(path: Path, *, model: ModelSection, sensor: bool | None = None) -> ModelSpec:
    """Return what is known of a model without running it; ``sensor`` as in ``open_pipeline``.

    Raises ModelError, InputMismatchError, UsageError.
    """
    spec = resolve(path, overrides(model))
    if len(spec.inputs) != 1:
        names = ", ".join(tensor.name for tensor in spec.inputs)
        raise InputMismatchError(f"{path}: the model has {len(spec.inputs)} inputs ({names}); one is supported")
    return spec if sensor is None else replace(spec, input=as_window(spec) if sensor else as_image(spec))


def open_pipeline(
    path: Path,
    *,
    model: ModelSection,
    engine: EngineConfig,
    views: Mapping[str, View] | None = None,
    sensor: bool | None = None,
) -> Pipeline:
    """Read the model, open the engine and build everything around it.

    ``sensor`` says that windows of samples come in (true) or pictures (false); None leaves it to the model. Raises
    ModelError, InputMismatchError, EdgeTpuRequiredError, DelegateError, UsageError.
    """
    spec = read_model(path, model=model, sensor=sensor)
    for sentence in spec.inferred:
        log.info("%s: %s", spec.identity.name, sentence)
    if warning := (spec.provenance or {}).get("warning"):
        log.warning("%s: %s", spec.identity.name, warning)
    opened = open_engine(spec, engine)
    spec = replace(spec, inputs=opened.inputs, outputs=opened.outputs)
    postprocessor = build_postprocessor(spec, top_k=model.top_k, score_threshold=model.score_threshold)
    return Pipeline(
        spec=spec,
        engine=opened,
        postprocessor=postprocessor,
        preprocessor_for=lambda view: _preprocessor(spec, view),
        views=views,
    )


def _preprocessor(spec: ModelSpec, view: View) -> Preprocessor:
    return build_preprocessor(spec.input, tensor=spec.inputs[0], view=view)
