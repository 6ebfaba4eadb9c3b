"""One run of the daemon: sources, pipeline, sinks and broker put together, run, and ended in good order."""

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_runtime.assemble import StreamPlan
from edge_runtime.captures import Inlet
from edge_runtime.config import Config
from edge_runtime.connect import BrokerLink
from edge_runtime.dispatch import Dispatcher
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.flow import Flow
from edge_runtime.links import Links
from edge_runtime.outlets import DirectSink, Outlet, SinkWorker
from edge_runtime.pipeline import Pipeline
from edge_runtime.protocols import Sink, Source
from edge_runtime.reload import RELOAD_STOP_S, Current, Plan, Reload, views
from edge_runtime.report import Report
from edge_runtime.sinks.policy import PublishPolicy, default_rule
from edge_runtime.stopping import Stop
from edge_runtime.store.sequence import SequenceStore
from edge_runtime.supervision.anew import Overdraft
from edge_runtime.supervision.health import HealthFile, Vitals
from edge_runtime.supervision.memory import default_limit_mb
from edge_runtime.supervision.signals import Signals
from edge_runtime.supervision.supervisor import Supervisor
from edge_runtime.supervision.watchdog import Watchdog, describe
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


def put_together(
    plan: Plan, streams: Sequence[StreamPlan], pipeline: Pipeline | None, broker: BrokerLink, stop: Stop
) -> Run:
    """Make the sources of a plan; ``pipeline`` and ``broker`` are there already."""
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


def run(made: Run, host: Host) -> int:
    """Run until every source has ended or the run is to stop; return the exit status."""
    config, counters, stop = made.plan.config, made.counters, made.stop
    report = _report(made, host)
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


def _report(made: Run, host: Host) -> Report:
    return Report(
        made.plan.config,
        made.broker,
        device=host.device,
        state=host.state,
        views=views(made.streams),
        sources=made.sources,
        pipeline=made.pipeline,
        counters=made.counters,
        end=lambda: made.stop.hurry(RELOAD_STOP_S),
        restart=host.reload.now,
        vitals=host.vitals,
        config_error=made.plan.error,
    )


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
