"""Whether and how this device is announced to Home Assistant, and taken back when it no longer is."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_runtime.config import HomeAssistantSection
from edge_runtime.connect import BrokerLink
from edge_runtime.store.atomic import replace_file
from edge_runtime.telemetry.resources import Resources
from edge_runtime.telemetry.throttling import Throttling
from edge_runtime.types import ImageInput, ModelSpec

if TYPE_CHECKING:
    from edge_runtime.sinks.homeassistant_entities import AnnouncedStream

MARK: Final = "homeassistant"
"""A file in the state directory: this device has been announced, under the prefix that is in it."""


def announce(
    section: HomeAssistantSection,
    link: BrokerLink,
    *,
    device: str,
    state: Path,
    spec: ModelSpec | None,
    streams: Sequence[str],
    commands: Collection[str],
) -> Callable[[], None]:
    """Announce the device if ``section`` says so; else remove what an earlier run announced.

    Return what ends listening for Home Assistant.
    """
    mark = state / MARK
    if not section.enabled and not mark.exists():
        return lambda: None  # as on most devices: nothing is imported either
    from edge_runtime.sinks.homeassistant import Config, HomeAssistant

    if not section.enabled:
        HomeAssistant(link.bus, device=device, streams=(), config=Config(prefix=mark.read_text())).remove()
        mark.unlink()
        return lambda: None
    replace_file(mark, section.prefix.encode())
    announced = HomeAssistant(
        link.bus,
        device=device,
        streams=[_announced(name, spec) for name in streams],
        config=Config(prefix=section.prefix, labels=section.labels),
        machine=_machine(),
        commands=commands,
    )
    announced.open()
    return announced.close


def _announced(name: str, spec: ModelSpec | None) -> "AnnouncedStream":
    from edge_runtime.sinks.homeassistant_entities import AnnouncedStream

    if spec is None:
        return AnnouncedStream(name=name, task=None)
    return AnnouncedStream(
        name=name,
        task=spec.task,
        labels=spec.labels or (),
        names=spec.output.names,
        units=spec.output.units,
        picture=isinstance(spec.input, ImageInput),
    )


def _machine() -> set[str]:
    told = {"temperature": Resources().temperature_c(), "throttled": Throttling().read()}
    return {name for name, value in told.items() if value is not None}
