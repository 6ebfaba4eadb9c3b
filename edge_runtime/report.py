"""What a run says of itself while it goes on: state, statistics, events, snapshots, commands, Home Assistant."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edge_runtime._version import __version__
from edge_runtime.announce import announce
from edge_runtime.clock import now_rfc3339
from edge_runtime.config import Config
from edge_runtime.connect import BrokerLink
from edge_runtime.pipeline import Pipeline
from edge_runtime.protocols import Source
from edge_runtime.sinks.events import EventTracker
from edge_runtime.sinks.mqtt import MqttSink
from edge_runtime.statistics import StatisticsService
from edge_runtime.status import StatusPublisher
from edge_runtime.supervision.health import Vitals
from edge_runtime.telemetry.snapshots import Snapshots
from edge_runtime.types import Frame, Latency, ModelIdentity, ModelSpec, Prediction, RawTensors, View
from edge_runtime.workers import RunCounters

FULL_PICTURE_NS = 2_000_000_000
NO_MODEL = ModelIdentity("none", None, "")
NO_LATENCY = Latency(queue=0.0, prepare=0.0, wait=0.0, invoke=0.0, postprocess=0.0)


class Report:
    """Everything published beside predictions. A context manager: open while the run goes on.

    ``observe`` belongs to the inference thread, ``on_frame`` to the preview's, ``on_state`` to the capture threads.
    ``end`` and ``restart`` carry out the commands of that name; the second raises what speaks against it.
    """

    def __init__(
        self,
        config: Config,
        link: BrokerLink,
        *,
        device: str,
        state: Path,
        views: Mapping[str, View],
        sources: Mapping[str, Source],
        pipeline: Pipeline | None,
        counters: RunCounters,
        end: Callable[[], None],
        restart: Callable[[], None],
        vitals: Vitals,
        config_error: str | None = None,
    ) -> None:
        self._config = config
        self._link = link
        self._device = device
        self._state = state
        self._pipeline = pipeline
        self._sources = sources
        self._counters = counters
        self._end = end
        self._restart = restart
        self._vitals = vitals
        self._config_error = config_error
        self._told: tuple[Any, ...] = ()
        self._latest: dict[str, Prediction] = {}
        self._stack = ExitStack()
        self._status = StatusPublisher(link.bus, device=device, root=link.root)
        self._snapshots = Snapshots(link.bus, device=device, latest=self._latest, views=views)
        self._statistics = StatisticsService(
            link,
            device=device,
            counters=counters,
            pipeline=pipeline,
            state=state,
            interval_s=config.stats.interval_s,
            vitals=vitals,
        )
        # Between the pictures of a folder nothing begins or ends.
        unrelated = all(source.describe()["type"] == "images" for source in sources.values())
        self.sink = MqttSink(link.bus, device=device, root=link.root, events=None if unrelated else EventTracker())
        """Publishes predictions and events; run by its own worker."""

    def __enter__(self) -> Self:
        """Publish ``info`` and ``model``, take commands and start the threads."""
        self._status.info(
            software=f"edge-infer {__version__}",
            started_at=now_rfc3339(),
            config_error=self._config_error,
            last_restart=self._vitals.last_restart,
            clock=self._vitals.clock.state(),
            **self._about_model(),
            sources={name: source.describe() for name, source in self._sources.items()},
        )
        self._status.model(None if self._pipeline is None else _identity(self._pipeline.spec))
        if not self._link.is_real:
            return self
        self._statistics.start()
        self._stack.callback(self._statistics.close)
        self._take_commands()
        unannounce = announce(
            self._config.homeassistant,
            self._link,
            device=self._device,
            state=self._state,
            spec=None if self._pipeline is None else self._pipeline.spec,
            streams=tuple(self._sources),
            commands=self._config.commands.allow,
        )
        self._stack.callback(unannounce)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop the threads."""
        self._stack.close()

    def observe(self, prediction: Prediction) -> None:
        """Take a prediction: its frame for snapshots, its latency for the statistics."""
        self._statistics.observe(prediction)
        before = self._latest.get(prediction.stream)
        if before is not None and _is_better_picture(before, prediction):
            return
        self._latest[prediction.stream] = prediction

    def on_frame(self, frame: Frame) -> None:
        """Take a frame that no model sees, for snapshots."""
        nothing = RawTensors((), ())
        self._latest[frame.stream] = Prediction(
            frame.stream, frame.sequence, frame.captured_ns, frame.origin, NO_MODEL, "raw", nothing, NO_LATENCY, frame
        )

    def on_config_error(self, error: str | None) -> None:
        """Publish what is wrong with a configuration that was refused, None when it is good again; any thread."""
        self._config_error = error
        self._status.info(config_error=error)

    def on_restart(self, restart: Mapping[str, Any]) -> None:
        """Publish that the process is about to be started anew, and why; any thread."""
        self._status.info(last_restart=restart)

    def look(self) -> None:
        """Publish ``info`` anew when what runs the model is another, or the clock was set; the supervisor's thread."""
        engine = None if self._pipeline is None else self._pipeline.engine
        runs = None if engine is None else (engine.delegate, engine.delegate_reason, engine.threads)
        found = (runs, self._vitals.clock.state())
        if found != self._told:
            if self._told:
                self._status.info(clock=self._vitals.clock.state(), **self._about_model())
            self._told = found

    def health(self) -> dict[str, Any]:
        """Return how everything is that may be wrong for long; the supervisor's thread."""
        engine = None if self._pipeline is None else self._pipeline.engine
        return {
            "config_error": self._config_error,
            "last_restart": self._vitals.last_restart,
            "clock": self._vitals.clock.state(),
            "memory_limit_mb": self._vitals.memory.stats()["limit"],
            "engine": None
            if engine is None
            else {key: getattr(engine, key) for key in ("delegate", "delegate_reason", "restarts", "restart_reason")},
            "outbox_error": self._link.bus.stats().get("outbox", {}).get("error"),
            "streams": dict(self._status.states),
        }

    @property
    def states(self) -> Mapping[str, str]:
        """The last state of each stream."""
        return self._status.states

    def on_state(self, stream: str, state: str, error: str | None) -> None:
        """Publish a stream's new state; a source that came online may know its size and format only now."""
        self._status.stream(stream, state, error)
        if state == "online":
            self._status.info(sources={name: source.describe() for name, source in self._sources.items()})
        else:
            self.sink.end_stream(stream)

    def _take_commands(self) -> None:
        from edge_runtime.mqtt.commands import CommandServer

        commands = CommandServer(
            self._link.bus,
            device=self._device,
            handlers={
                "ping": lambda _: {},
                "snapshot": self._snapshots.command,
                "stop": lambda _: _nothing(self._end),
                "restart": lambda _: _nothing(self._restart),
            },
            allowed=self._config.commands.allow,
        )
        commands.open()
        self._stack.callback(commands.close)

    def _about_model(self) -> dict[str, Any]:
        if self._pipeline is None:
            return {"model": None, "delegate": None, "delegate_reason": None, "runtime": None, "threads": None}
        engine = self._pipeline.engine
        spec = self._pipeline.spec
        return {
            "model": _identity(spec) | {"task": spec.task, "accuracy": spec.accuracy, "inferred": list(spec.inferred)},
            "delegate": engine.delegate,
            "delegate_reason": engine.delegate_reason,
            "runtime": engine.runtime,
            "threads": engine.threads,
        }


def _is_better_picture(before: Prediction, now: Prediction) -> bool:
    """Whether a recent frame that came with its full picture should stay for snapshots: not every frame has one."""
    if before.frame is None or now.frame is None or before.frame.full is None or now.frame.full is not None:
        return False
    return now.captured_ns - before.captured_ns < FULL_PICTURE_NS


def _nothing(action: Callable[[], None]) -> dict[str, Any]:
    action()
    return {}


def _identity(spec: ModelSpec) -> dict[str, Any]:
    return {"name": spec.identity.name, "version": spec.identity.version, "sha256": spec.identity.sha256}
