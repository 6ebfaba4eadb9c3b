"""The daemon: sources, pipeline, sinks and broker put together, run, ended in good order, and put together anew."""

import gc
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from edge_runtime import assemble
from edge_runtime import config as configuration
from edge_runtime.assemble import StreamPlan
from edge_runtime.captures import Inlet
from edge_runtime.config import Config, Origin
from edge_runtime.connect import BrokerLink
from edge_runtime.dispatch import Dispatcher
from edge_runtime.engines.litert import EngineConfig
from edge_runtime.errors import EdgeRuntimeError, UsageError
from edge_runtime.flow import Flow
from edge_runtime.links import Links
from edge_runtime.outlets import DirectSink, Outlet, SinkWorker
from edge_runtime.pipeline import Pipeline
from edge_runtime.protocols import Sink, Source
from edge_runtime.reload import RELOAD_STOP_S, Current, Plan, Reload, sensor, views
from edge_runtime.report import Report
from edge_runtime.sinks.policy import PublishPolicy, default_rule
from edge_runtime.stopping import Stop
from edge_runtime.store.sequence import SequenceStore
from edge_runtime.store.state import StateDir, state_path
from edge_runtime.supervision.anew import Overdraft, last_restart, may_start_anew, start_anew
from edge_runtime.supervision.health import HealthFile, Vitals
from edge_runtime.supervision.memory import MemoryWatch, default_limit_mb
from edge_runtime.supervision.notify import Notifier
from edge_runtime.supervision.signals import INTERRUPTED, Signals
from edge_runtime.supervision.supervisor import Supervisor
from edge_runtime.supervision.wall_clock import ClockWatch
from edge_runtime.supervision.watchdog import Watchdog, describe
from edge_runtime.validation import NO_SOURCE
from edge_runtime.workers import RunCounters, StreamCounters

log = logging.getLogger(__name__)


HAVE_DEADLINES: Final = frozenset({"video_stream", "mqtt", "demo"})
"""Live sources that no native call can hold up."""


@dataclass(frozen=True, slots=True)
class Host:
    """What stays from the first run of the process to its last."""

    device: str
    state: Path
    terminal: bool
    links: Links
    sequences: SequenceStore
    signals: Signals
    watchdog: Watchdog
    supervisor: Supervisor
    vitals: Vitals
    reload: Reload
    over: Overdraft
    left_behind: list[str]
    """Threads that did not come back from native code."""


@dataclass(slots=True)
class Run:
    """What one run is made of, once everything is put together."""

    plan: Plan
    streams: Sequence[StreamPlan]
    sources: dict[str, Source]
    pipeline: Pipeline | None
    counters: RunCounters
    stop: Stop
    broker: BrokerLink
    aborted: bool = False
    """Whether an invoke had to be ended by force, which the pipeline does not survive."""

    @property
    def live(self) -> dict[str, bool]:
        """Return for each stream whether it is live."""
        return {name: source.live for name, source in self.sources.items()}

    @property
    def failure(self) -> EdgeRuntimeError | None:
        """Return why it ended, or was never of use; None when it did what it should."""
        worked = self.counters.inferred + self.counters.shown > 0
        return self.counters.fatal or next(iter({} if worked else self.counters.never_opened.values()), None)


def run(origin: Origin, *, terminal: bool = False) -> int:
    """Run until every source has ended or a signal comes; return the exit status. Raises EdgeRuntimeError.

    ``terminal`` shows the current answer on standard error. For the main thread.
    """
    config = origin.load()
    if not config.source:
        raise UsageError(NO_SOURCE)
    device = configuration.device_id(config)
    notifier = Notifier()
    watchdog = Watchdog(notifier)
    left_behind: list[str] = []
    over = Overdraft()
    vitals = Vitals(MemoryWatch(on_exceeded=over.take), ClockWatch(), last_restart())
    with ExitStack() as stack:
        state = stack.enter_context(StateDir(state_path(device), device)).path
        reload = Reload(origin, device=device, state=state, notifier=notifier)
        signals = stack.enter_context(
            Signals(on_hangup=reload.request, on_stop=lambda: notifier.stopping("told to stop"))
        )
        duties = (watchdog.tick, reload.tick, vitals.memory.tick, vitals.clock.tick)
        supervisor = stack.enter_context(Supervisor(duties, interval_s=lambda: watchdog.interval_s))
        sequences = SequenceStore(state)
        stack.callback(sequences.close)
        links = stack.enter_context(Links(device=device, state=state))
        host = Host(
            device, state, terminal, links, sequences, signals, watchdog, supervisor, vitals, reload, over, left_behind
        )
        status = _run_all(Plan(config), host)
        notifier.stopping("the run has ended")
    status = INTERRUPTED if signals.interrupted and status == 0 else status
    if over.reason is not None and not signals.stopped:
        if may_start_anew():
            start_anew(over.reason)
        return 1
    if left_behind:
        logging.shutdown()
        os._exit(status)  # unloading native code that still runs would crash
    return status


def _run_all(plan: Plan, host: Host) -> int:
    """Run one plan after the other, going back to the one before when a new one turns out not to work."""
    last_good: Plan | None = None
    kept: Pipeline | None = None
    try:
        while True:
            made: Run | None = None
            try:
                made, ended = _one_run(plan, host)
                failure = made.failure
            except EdgeRuntimeError as error:
                if last_good is None or host.signals.stopped:
                    raise
                failure, ended = error, 1
            kept = None if made is None else made.pipeline
            if host.signals.stopped or host.over.reason is not None:
                return ended
            if failure is not None and last_good is not None and not _was_good(made):
                log.error("the new configuration does not work, the one before is used again: %s", failure)
                plan, last_good = replace(last_good, pipeline=None, streams=None, error=str(failure)), None
            elif (following := host.reload.take()) is not None:
                plan, last_good = following, replace(plan, error=None)
            else:
                return ended
            if made is not None:
                _clear_retained(made, plan)
                plan = replace(plan, pipeline=None) if made.aborted and plan.pipeline is kept else plan
            if kept is not None and plan.pipeline is not kept:
                kept.close()
                kept = None
    finally:
        if kept is not None:
            kept.close()


def _clear_retained(made: Run, following: Plan) -> None:
    """Take back what is retained about streams that the next run does not have."""
    if following.streams is not made.streams:
        planned = assemble.plan_streams(following.config.source, where="configuration", probe=False)
        for gone in {one.name for one in made.streams} - {one.name for one in planned}:
            made.broker.bus.publish(f"{made.broker.root}/{gone}/status", b"", qos=1, retain=True)


def _was_good(made: Run | None) -> bool:
    return made is not None and made.counters.inferred + made.counters.shown > 0


def _one_run(plan: Plan, host: Host) -> tuple[Run, int]:
    stop = Stop()
    host.signals.attach(stop)
    host.watchdog.between_runs("loading")
    config = plan.config
    streams = plan.streams or assemble.plan_streams(config.source, where="configuration")
    # The connection is made in its own thread while the model loads here.
    broker = host.links.use(config, stop, anew=plan.anew)
    pipeline = plan.pipeline or _open_pipeline(config, streams, host.state)
    try:
        made = _assemble(plan, streams, pipeline, broker, stop)
        status = _run(made, host)
    except BaseException:
        if pipeline is not None:
            pipeline.close()
        raise
    return made, status


def _open_pipeline(config: Config, streams: Sequence[StreamPlan], state: Path) -> Pipeline | None:
    if config.model.path == "none":
        return None
    pipeline = assemble.open_pipeline(
        assemble.find_model(config.model.path, state),
        model=config.model,
        engine=configuration.section(EngineConfig, config.engine, where="engine"),
        views=views(streams),
        sensor=sensor(streams),
    )
    engine = pipeline.engine
    log.info("model %s on %s: %s", pipeline.spec.identity.name, engine.delegate, engine.delegate_reason)
    return pipeline


def _assemble(
    plan: Plan, streams: Sequence[StreamPlan], pipeline: Pipeline | None, broker: BrokerLink, stop: Stop
) -> Run:
    wants = None if pipeline is None else pipeline.spec.input
    listens_at = broker.for_sensors()
    return Run(
        plan=plan,
        streams=streams,
        sources={one.name: one.construct(wants, broker=listens_at) for one in streams},
        pipeline=pipeline,
        counters=RunCounters(streams={one.name: StreamCounters() for one in streams}),
        stop=stop,
        broker=broker,
    )


def _run(made: Run, host: Host) -> int:
    config, counters, stop = made.plan.config, made.counters, made.stop
    report = Report(
        config,
        made.broker,
        device=host.device,
        state=host.state,
        views=views(made.streams),
        sources=made.sources,
        pipeline=made.pipeline,
        counters=counters,
        end=lambda: stop.hurry(RELOAD_STOP_S),
        restart=host.reload.now,
        vitals=host.vitals,
        config_error=made.plan.error,
    )
    sinks = _outlets(made, host, report)
    dispatcher = _dispatcher(made, host, report, sinks)
    with ExitStack() as stack:
        host.sequences.open(made.live)
        stack.enter_context(report)
        for sink in sinks:
            sink.start()
            stack.callback(sink.close)

        def on_state(stream: str, state: str, error: str | None) -> None:
            report.on_state(stream, state, error)
            if state != "online":
                dispatcher.forget(stream)

        inlets = {
            one.name: Inlet(made.sources[one.name], one.common.fps, _once_more(made, one)) for one in made.streams
        }
        flow = Flow(inlets, counters=counters, stop=stop, on_state=on_state)
        _look_after(made, host, report, flow)
        stack.callback(host.reload.detach)
        stack.callback(host.watchdog.between_runs, "ending")
        stack.callback(host.supervisor.look_after)
        if made.pipeline is None:
            flow.preview(report.on_frame, limit=config.publish.frames)
        else:
            flow.run(made.pipeline, dispatcher.hand_over)
        made.aborted = flow.aborted
        host.left_behind.extend(flow.left_behind)
    return _status(made)


def _once_more(made: Run, one: StreamPlan) -> Callable[[], Source] | None:
    """Return what makes a camera's source anew; the others' native code runs where it can be killed."""
    if not made.sources[one.name].live or one.common.type in HAVE_DEADLINES:
        return None

    def make() -> Source:
        wants = None if made.pipeline is None else made.pipeline.spec.input
        made.sources[one.name] = one.construct(wants)
        return made.sources[one.name]

    return make


def _look_after(made: Run, host: Host, report: Report, flow: Flow) -> None:
    """Have this run watched, and ended for another configuration."""
    bus, pipeline, counters = made.broker.bus, made.pipeline, made.counters
    real = made.broker.is_real
    host.watchdog.watch(
        counters,
        describe=lambda: describe(
            counters,
            states=report.states,
            delegate="" if pipeline is None else pipeline.engine.delegate,
            broker=bus.connected if real else None,
        ),
        bus_seen_ns=(lambda: int(bus.seen_ns)) if real else None,
    )
    host.vitals.memory.limit_mb = made.plan.config.limits.memory_mb or default_limit_mb()
    host.over.attach(made.stop, report.on_restart)
    host.supervisor.look_after(
        flow.look, report.look, HealthFile(host.state, lambda: host.watchdog.health() | report.health()).tick
    )
    host.reload.attach(Current(made.plan, made.streams, pipeline, made.stop, report.on_config_error))
    if not gc.isenabled():  # put off while all was loaded, which stays and need not be looked through again
        gc.freeze()
        gc.enable()


def _outlets(made: Run, host: Host, report: Report) -> list[Outlet]:
    config, counters, stop = made.plan.config, made.counters, made.stop
    outlets: list[Outlet] = [DirectSink(report.sink, name="mqtt", counters=counters)]
    outlets += [
        SinkWorker(sink, name=name, counters=counters, stop=stop)
        for name, sink in _sinks(config, stop, device=host.device, terminal=host.terminal)
    ]
    return outlets


def _dispatcher(made: Run, host: Host, report: Report, sinks: Sequence[Outlet]) -> Dispatcher:
    publish, live = made.plan.config.publish, made.live
    return Dispatcher(
        policies={name: PublishPolicy(publish.policy or default_rule(live=is_live)) for name, is_live in live.items()},
        live=live,
        sequences=host.sequences,
        sinks=sinks,
        stop=made.stop,
        limit=publish.frames,
        observers=(report.observe,),
    )


def _sinks(config: Config, stop: Stop, *, device: str, terminal: bool) -> Iterator[tuple[str, Sink]]:
    """Yield what may wait for a disk or a terminal, each for a thread of its own."""
    if path := config.publish.jsonl:
        from edge_runtime.sinks.jsonl import JsonlSink

        yield "jsonl", JsonlSink(path, device=device, on_reader_gone=stop.set)
    if terminal:
        from edge_runtime.sinks.terminal import TerminalSink

        yield "terminal", TerminalSink(stdout_taken=config.publish.jsonl == "-")


def _status(made: Run) -> int:
    counters = made.counters
    if counters.fatal is not None:
        log.error("%s", counters.fatal)
        return counters.fatal.exit_status
    for stream, error in counters.never_opened.items():
        log.error("%s: %s", stream, error)
    if counters.never_opened and not made.stop.hurried:
        return 1
    bad = sum(counts.bad for name, counts in counters.streams.items() if not made.sources[name].live)
    if bad:
        log.warning("%d of the inputs could not be read and were skipped", bad)
    # A camera goes on after a lost frame; of a folder one was asked to see every picture.
    lost = 0 if all(made.live.values()) else counters.engine_failures
    return 1 if bad or lost else 0
