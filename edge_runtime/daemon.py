"""The daemon: sources, pipeline, sinks and broker put together, run, and stopped in good order."""

import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from edge_runtime import assemble
from edge_runtime import config as configuration
from edge_runtime.assemble import StreamPlan
from edge_runtime.config import Config
from edge_runtime.connect import BrokerLink, connect
from edge_runtime.dispatch import Dispatcher
from edge_runtime.engines.litert import EngineConfig
from edge_runtime.errors import InputMismatchError, UsageError
from edge_runtime.flow import Flow, Inlet
from edge_runtime.outlets import DirectSink, Outlet, SinkWorker
from edge_runtime.pipeline import Pipeline
from edge_runtime.protocols import Sink, Source
from edge_runtime.report import Report
from edge_runtime.sinks.policy import PublishPolicy, default_rule
from edge_runtime.store.sequence import SequenceStore
from edge_runtime.store.state import StateDir, state_path
from edge_runtime.workers import RunCounters, StreamCounters

log = logging.getLogger(__name__)

FLUSH_S = 5.0
"""How long a run that has ended waits for the broker before it leaves the rest in the outbox."""
INTERRUPTED = 130
RESTART = 75
"""Returned when a command asked to start anew: the caller reads the configuration again and runs again."""


@dataclass(slots=True)
class Run:
    """What one run is made of, once everything is put together."""

    plans: Sequence[StreamPlan]
    sources: dict[str, Source]
    pipeline: Pipeline | None
    counters: RunCounters
    stop: threading.Event

    @property
    def live(self) -> dict[str, bool]:
        """Return for each stream whether it is live."""
        return {name: source.live for name, source in self.sources.items()}


def run(config: Config, *, terminal: bool = False) -> int:
    """Run until every source has ended or a signal comes; return the exit status. Raises EdgeRuntimeError.

    ``terminal`` shows the current answer on standard error.
    """
    if not config.source:
        raise UsageError(
            "name a source: --camera, --video FILE|URL, --images PATH or --sensor csv:FILE|wav:FILE|mqtt:TOPIC"
        )
    device = configuration.device_id(config)
    stop, interrupted = threading.Event(), threading.Event()
    with ExitStack() as stack:
        state = stack.enter_context(StateDir(state_path(device), device))
        stack.enter_context(_signals(stop, interrupted))
        plans = assemble.plan_streams(config.source, where="configuration")
        # The connection is made in its own thread while the model loads here.
        broker = stack.enter_context(connect(config.broker, device=device, state=state.path))
        if config.dashboard.listen:
            stack.enter_context(_dashboard(config, broker))
        pipeline = _open_pipeline(config, plans, state.path)
        if pipeline is not None:
            stack.callback(pipeline.close)
        made = _assemble(plans, pipeline, broker, stop)
        status = _run(config, made, broker, device=device, state=state.path, terminal=terminal)
    return INTERRUPTED if interrupted.is_set() and status == 0 else status


def _dashboard(config: Config, broker: BrokerLink) -> AbstractContextManager[object]:
    from edge_runtime.dashboard.process import DashboardProcess
    from edge_runtime.dashboard.settings import DashboardSettings, parse_listen, read_token

    host, port = parse_listen(config.dashboard.listen or "", flag="--dashboard")
    token = read_token(config.dashboard.token_file)
    return DashboardProcess(DashboardSettings(host=host, port=port, token=token, broker=broker.config))


def _open_pipeline(config: Config, plans: Sequence[StreamPlan], state: Path) -> Pipeline | None:
    if config.model.path == "none":
        return None
    sensor = {plan.is_sensor for plan in plans}
    if len(sensor) > 1:
        raise InputMismatchError(
            "one model cannot take pictures and sensor windows; run two daemons, each its --device-id"
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


def _assemble(plans: Sequence[StreamPlan], pipeline: Pipeline | None, broker: BrokerLink, stop: threading.Event) -> Run:
    wants = None if pipeline is None else pipeline.spec.input
    listens_at = broker.for_sensors()
    return Run(
        plans=plans,
        sources={plan.name: plan.construct(wants, broker=listens_at) for plan in plans},
        pipeline=pipeline,
        counters=RunCounters(streams={plan.name: StreamCounters() for plan in plans}),
        stop=stop,
    )


def _run(config: Config, made: Run, broker: BrokerLink, *, device: str, state: Path, terminal: bool) -> int:
    sequences = SequenceStore(state)
    report = Report(
        config,
        broker,
        device=device,
        state=state,
        views={plan.name: plan.common.view for plan in made.plans},
        sources=made.sources,
        pipeline=made.pipeline,
        counters=made.counters,
        stop=made.stop,
    )
    sinks: list[Outlet] = [DirectSink(report.sink, name="mqtt", counters=made.counters)]
    sinks += [
        SinkWorker(sink, name=name, counters=made.counters)
        for name, sink in _sinks(config, made, device=device, terminal=terminal)
    ]
    dispatcher = Dispatcher(
        policies={n: PublishPolicy(config.publish.policy or default_rule(live=live)) for n, live in made.live.items()},
        live=made.live,
        sequences=sequences,
        sinks=sinks,
        stop=made.stop,
        limit=config.publish.frames,
        observers=(report.observe,),
    )
    with ExitStack() as stack:
        sequences.open(made.live)
        stack.callback(sequences.close)
        stack.callback(_flush, broker)
        stack.enter_context(report)
        for sink in sinks:
            sink.start()
            stack.callback(sink.close)
        inlets = {plan.name: Inlet(made.sources[plan.name], plan.common.fps) for plan in made.plans}

        def on_state(stream: str, state: str, error: str | None) -> None:
            report.on_state(stream, state, error)
            if state != "online":
                dispatcher.forget(stream)

        flow = Flow(inlets, counters=made.counters, stop=made.stop, on_state=on_state)
        if made.pipeline is None:
            flow.preview(report.on_frame, limit=config.publish.frames)
        else:
            flow.run(made.pipeline, dispatcher.hand_over)
    return RESTART if report.restart_wanted else _status(made)


def _sinks(config: Config, made: Run, *, device: str, terminal: bool) -> Iterator[tuple[str, Sink]]:
    """Yield what may wait for a disk or a terminal, each for a thread of its own."""
    if path := config.publish.jsonl:
        from edge_runtime.sinks.jsonl import JsonlSink

        yield "jsonl", JsonlSink(path, device=device, on_reader_gone=made.stop.set)
    if terminal:
        from edge_runtime.sinks.terminal import TerminalSink

        yield "terminal", TerminalSink(stdout_taken=config.publish.jsonl == "-")


def _flush(broker: BrokerLink) -> None:
    if unsent := broker.bus.flush(FLUSH_S):
        log.warning("the broker does not answer: %d messages stay in the outbox and are sent by the next run", unsent)


def _status(made: Run) -> int:
    counters = made.counters
    if counters.fatal is not None:
        log.error("%s", counters.fatal)
        return counters.fatal.exit_status
    for stream, error in counters.never_opened.items():
        log.error("%s: %s", stream, error)
    if counters.never_opened:
        return 1
    bad = sum(counts.bad for name, counts in counters.streams.items() if not made.sources[name].live)
    if bad:
        log.warning("%d of the inputs could not be read and were skipped", bad)
    # A camera goes on after a lost frame; of a folder one was asked to see every picture.
    lost = 0 if all(made.live.values()) else counters.engine_failures
    return 1 if bad or lost else 0


@contextmanager
def _signals(stop: threading.Event, interrupted: threading.Event) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into a clean stop; a second one ends the process at once."""
    asked = 0

    def on_signal(number: int, _: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            os._exit(INTERRUPTED)
        if number == signal.SIGINT:
            interrupted.set()
        stop.set()

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
