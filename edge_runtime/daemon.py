"""The daemon: sources, pipeline, sinks and broker put together, run, and stopped in good order."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from edge_runtime import assemble, clock, config as configuration
from edge_runtime._version import __version__
from edge_runtime.assemble import StreamPlan
from edge_runtime.config import Config
from edge_runtime.dispatch import Dispatcher
from edge_runtime.engines.litert import EngineConfig
from edge_runtime.errors import EdgeRuntimeError, InputMismatchError, UsageError
from edge_runtime.mqtt.factory import BusHandle, open_bus
from edge_runtime.pipeline import Pipeline
from edge_runtime.preview import PreviewWorker
from edge_runtime.protocols import Source
from edge_runtime.queues import Intake, ReadySlot
from edge_runtime.reporter import Reporter
from edge_runtime.schedule import Schedule
from edge_runtime.sinks.jsonl import JsonlSink
from edge_runtime.sinks.mqtt import MqttSink
from edge_runtime.sinks.policy import PublishPolicy, default_rule
from edge_runtime.sinks.terminal import TerminalSink
from edge_runtime.store.sequence import SequenceStore
from edge_runtime.store.state import StateDir, state_path
from edge_runtime.workers import (
    CaptureWorker,
    InferenceWorker,
    PrepareWorker,
    RunCounters,
    SinkWorker,
    StreamCounters,
    guarded,
)

log = logging.getLogger(__name__)

FLUSH_S = 5.0
"""How long a run that has ended waits for the broker before it leaves the rest in the outbox."""
JOIN_S = 5.0
INTERRUPTED = 130


@dataclass(slots=True)
class Run:
    """What one run of the daemon is made of, once everything is put together."""

    device: str
    plans: Sequence[StreamPlan]
    sources: dict[str, Source]
    pipeline: Pipeline | None
    counters: RunCounters
    stop: threading.Event
    intake: Intake
    ready: ReadySlot


def run(config: Config, *, terminal: bool = False) -> int:
    """Run until every source has ended or a signal comes; return the exit status. Raises EdgeRuntimeError."""
    if not config.source:
        raise UsageError(
            "name a source: --camera, --video FILE|URL, --images PATH or --sensor csv:FILE|wav:FILE|mqtt:TOPIC"
        )
    device = configuration.device_id(config)
    plans = assemble.plan_streams(config.source, where="configuration")
    stop, interrupted = threading.Event(), threading.Event()
    with ExitStack() as stack:
        state = stack.enter_context(StateDir(state_path(device), device))
        stack.enter_context(_signals(stop, interrupted))
        # The connection is made in its own thread while the model loads here.
        broker = stack.enter_context(open_bus(config.broker, device=device, state=state.path))
        pipeline = _open_pipeline(config, plans, state.path)
        if pipeline is not None:
            stack.callback(pipeline.close)
        made = _assemble(device, plans, pipeline, stop)
        status = _run(config, made, broker, stack, terminal=terminal)
    return INTERRUPTED if interrupted.is_set() and status == 0 else status


def _open_pipeline(config: Config, plans: Sequence[StreamPlan], state: Path) -> Pipeline | None:
    if config.model.path == "none":
        return None
    sensor = {plan.is_sensor for plan in plans}
    if len(sensor) > 1:
        raise InputMismatchError(
            "one model cannot take pictures and sensor windows; run two daemons with own --device-id"
        )
    pipeline = assemble.open_pipeline(
        assemble.find_model(config.model.path, state),
        model=config.model,
        engine=configuration.section(EngineConfig, config.engine, where="engine"),
        views={plan.name: plan.common.view for plan in plans},
        sensor=sensor.pop(),
    )
    engine = pipeline.engine
    log.info("model %s on %s: %s", pipeline.spec.identity.name, engine.delegate, engine.delegate_reason)
    return pipeline


def _assemble(device: str, plans: Sequence[StreamPlan], pipeline: Pipeline | None, stop: threading.Event) -> Run:
    wants = None if pipeline is None else pipeline.spec.input
    counters = RunCounters(streams={plan.name: StreamCounters() for plan in plans})
    return Run(
        device=device,
        plans=plans,
        sources={plan.name: plan.construct(wants) for plan in plans},
        pipeline=pipeline,
        counters=counters,
        stop=stop,
        intake=Intake(plan.name for plan in plans),
        ready=ReadySlot(),
    )


def _run(config: Config, made: Run, broker: BusHandle, stack: ExitStack, *, terminal: bool) -> int:
    live = {name: source.live for name, source in made.sources.items()}
    sequences = SequenceStore(state_path(made.device))
    sequences.open(live)
    stack.callback(sequences.close)
    reporter = Reporter(config, made, broker.bus)
    sinks = _open_sinks(config, made, broker, reporter, terminal=terminal)
    dispatcher = Dispatcher(
        policies={n: PublishPolicy(config.publish.policy or default_rule(live=is_live)) for n, is_live in live.items()},
        live=live,
        sequences=sequences,
        sinks=sinks,
        stop=made.stop,
        limit=config.publish.frames,
        observers=(reporter.observe,),
    )
    reporter.start(dispatcher)
    try:
        _work(config, made, dispatcher, reporter)
    finally:
        for sink in sinks:
            sink.close()
        reporter.close()
        _flush(broker)
    return _status(made)


def _open_sinks(
    config: Config, made: Run, broker: BusHandle, reporter: Reporter, *, terminal: bool
) -> list[SinkWorker]:
    sinks = {"mqtt": SinkWorker(reporter.mqtt_sink, name="mqtt", counters=made.counters)}
    if path := config.publish.jsonl:
        jsonl = JsonlSink(path, device=made.device, on_reader_gone=made.stop.set)
        sinks["jsonl"] = SinkWorker(jsonl, name="jsonl", counters=made.counters)
    if terminal:
        sinks["terminal"] = SinkWorker(TerminalSink(), name="terminal", counters=made.counters)
    for sink in sinks.values():
        sink.start()
    return list(sinks.values())
