"""The configuration read anew while a run goes on: checked as a whole, the model loaded, and only then handed over."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from edge_runtime import assemble, validation
from edge_runtime import config as configuration
from edge_runtime.assemble import StreamPlan
from edge_runtime.config import Config, Origin
from edge_runtime.engines.litert import EngineConfig
from edge_runtime.errors import ConfigError, EdgeRuntimeError, InputMismatchError, ModelError
from edge_runtime.pipeline import Pipeline
from edge_runtime.stopping import Stop
from edge_runtime.supervision.notify import Notifier
from edge_runtime.supervision.watched_file import WatchedFile

log = logging.getLogger(__name__)

RELOAD_STOP_S: Final = 5.0
"""How long the run that gives way may take to finish what it has begun."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to run: a configuration, and as much of it as has been made ready beside the run before."""

    config: Config
    streams: Sequence[StreamPlan] | None = None
    """Planned already; None: when the run before has let go of its cameras."""
    pipeline: Pipeline | None = None
    """Opened already; None: to be opened, or there is no model."""
    error: str | None = None
    """What was wrong with a configuration that was refused."""
    anew: bool = False
    """Whether everything is to be begun anew, the connection to the broker too."""


@dataclass(frozen=True, slots=True)
class Current:
    """The run that goes on."""

    plan: Plan
    streams: Sequence[StreamPlan]
    pipeline: Pipeline | None
    stop: Stop
    on_refused: Callable[[str | None], None]
    """Takes what is wrong with the configuration, None when it is good again."""


class Reload:
    """Reads the configuration when SIGHUP asks for it, a command does, or its file has changed.

    A good one ends the current run, and ``take`` gives what is to follow; a bad one is said and changes nothing.
    ``tick`` belongs to the supervisor's thread; reading takes seconds with a new model and has a thread of its own.
    """

    def __init__(self, origin: Origin, *, device: str, state: Path, notifier: Notifier) -> None:
        self._origin = origin
        self._device = device
        self._state = state
        self._notifier = notifier
        self._file = WatchedFile(origin.path) if origin.path is not None else None
        self._asked = threading.Event()
        self._changed = False
        self._busy = threading.Lock()
        self._current: Current | None = None
        self._next: Plan | None = None
        self._where = str(origin.path or "flags")

    def attach(self, current: Current) -> None:
        """Let this be the run that a good configuration ends."""
        self._current = current

    def detach(self) -> None:
        """Say that no run goes on: what is asked for meanwhile waits."""
        self._current = None

    def take(self) -> Plan | None:
        """Return what is to run next, once; None when nothing is."""
        plan, self._next = self._next, None
        return plan

    def request(self) -> None:
        """Have the configuration read again, whether its file has changed or not. Any thread."""
        self._asked.set()

    def tick(self) -> None:
        """Look whether it was asked for or the file has changed; start reading."""
        # A change is noticed once: while nothing can be done about it, it must be remembered.
        self._changed |= self._file is not None and self._file.has_changed(time.monotonic())
        asked, current = self._asked.is_set(), self._current
        if not (asked or self._changed) or current is None or current.stop.is_set() or self._busy.locked():
            return
        self._asked.clear()
        self._changed = False
        self._notifier.reloading()
        why = "asked for" if asked else "its file has changed"
        log.info("reading the configuration again: %s", why)
        threading.Thread(target=self._read, name="reload", args=(asked,), daemon=True).start()

    def now(self) -> None:
        """Read the configuration and begin everything anew with it. Raises what is wrong with it."""
        if error := self._read(forced=True, anew=True):
            raise ConfigError(error)

    def _read(self, forced: bool, anew: bool = False) -> str | None:
        with self._busy:
            current = self._current
            if current is None or current.stop.is_set():
                self._changed = True  # the run that follows is to have it
                return "the run is ending"
            try:
                config = self._origin.load()
                changes = self._changes(current.plan.config, config)
                if not changes and not forced:
                    log.info("the configuration says the same as before")
                    self._refuse(current, None)
                    return None
                plan = self._prepare(config, current, anew=anew)
            except EdgeRuntimeError as error:
                self._refuse(current, str(error))
                return str(error)
            except Exception as error:  # the worker's top: a reading that fails must not be the last
                log.exception("reading the configuration failed")
                self._refuse(current, f"unexpected error: {error!r}")
                return str(error)
            log.info("the configuration is good: %s", f"{', '.join(changes)} changed" if changes else "nothing changed")
            self._next = plan
            current.stop.hurry(RELOAD_STOP_S)
            return None

    def _refuse(self, current: Current, error: str | None) -> None:
        if error is not None:
            log.error("the configuration is refused, the one before stays: %s", error)
        current.on_refused(error)
        self._notifier.ready("configuration refused: " + error if error else "configuration unchanged")

    def _changes(self, before: Config, after: Config) -> list[str]:
        return validation.changed_keys(msgspec.to_builtins(before), msgspec.to_builtins(after))

    def _prepare(self, config: Config, current: Current, *, anew: bool) -> Plan:
        """Check everything that can be while the run before goes on, and load the model where that can be."""
        if configuration.device_id(config) != self._device:
            raise ConfigError(f"{self._where}: device_id cannot change while it runs: restart edge-infer")
        validation.effective(config, where=self._where)
        validation.check_surroundings(config, where=self._where)
        streams = current.streams if config.source == current.plan.config.source else None
        planned = streams or assemble.plan_streams(config.source, where=self._where, probe=False)
        return Plan(config, streams, self._pipeline(config, planned, current), anew=anew)

    def _pipeline(self, config: Config, streams: Sequence[StreamPlan], current: Current) -> Pipeline | None:
        if config.model.path == "none":
            return None
        engine = configuration.section(EngineConfig, config.engine, where=f"{self._where}: engine")
        path = assemble.find_model(config.model.path, self._state)
        spec = assemble.read_model(path, model=config.model, sensor=sensor(streams))
        same = (config.model, config.engine) == (current.plan.config.model, current.plan.config.engine)
        same_views = views(streams) == views(current.streams) and sensor(streams) == sensor(current.streams)
        if current.pipeline is not None and same and same_views and spec.identity == current.pipeline.spec.identity:
            return current.pipeline
        if spec.edgetpu or engine.delegate not in ("auto", "cpu"):
            return None  # the device is taken by the run that goes on
        from edge_runtime.engines.trial import try_model

        trial = try_model(str(path), runtime=engine.runtime)
        if trial.outcome != "works":
            raise ModelError(f"{path}: tried in a process of its own, {trial.reason}")
        return assemble.open_pipeline(
            path, model=config.model, engine=engine, views=views(streams), sensor=sensor(streams)
        )


def views(streams: Sequence[StreamPlan]) -> Mapping[str, Any]:
    """Return how each stream's picture is turned, hidden and cut."""
    return {plan.name: plan.common.view for plan in streams}


def sensor(streams: Sequence[StreamPlan]) -> bool:
    """Return whether windows of samples come in. Raises InputMismatchError when pictures do too."""
    kinds = {plan.is_sensor for plan in streams}
    if len(kinds) > 1:
        raise InputMismatchError(
            "one model cannot take pictures and sensor windows; run two daemons, each its --device-id"
        )
    return kinds.pop()
