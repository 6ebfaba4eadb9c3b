"""The daemon: a process that makes one run after the other, each from the configuration of its time."""

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from edge_runtime import assemble, one_run
from edge_runtime import config as configuration
from edge_runtime.assemble import StreamPlan
from edge_runtime.config import Config, Origin
from edge_runtime.engines.litert import EngineConfig
from edge_runtime.errors import EdgeRuntimeError, UsageError
from edge_runtime.links import Links
from edge_runtime.one_run import Host, Run
from edge_runtime.pipeline import Pipeline
from edge_runtime.reload import Plan, Reload, sensor, views
from edge_runtime.stopping import Stop
from edge_runtime.store.sequence import SequenceStore
from edge_runtime.store.state import StateDir, state_path
from edge_runtime.supervision.anew import Overdraft, last_restart, may_start_anew, start_anew
from edge_runtime.supervision.health import Vitals
from edge_runtime.supervision.memory import MemoryWatch
from edge_runtime.supervision.notify import Notifier
from edge_runtime.supervision.signals import INTERRUPTED, Signals
from edge_runtime.supervision.supervisor import Supervisor
from edge_runtime.supervision.wall_clock import ClockWatch
from edge_runtime.supervision.watchdog import Watchdog
from edge_runtime.validation import NO_SOURCE

log = logging.getLogger(__name__)


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
                made, ended = _run_once(plan, host)
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


def _run_once(plan: Plan, host: Host) -> tuple[Run, int]:
    stop = Stop()
    host.signals.attach(stop)
    host.watchdog.between_runs("loading")
    config = plan.config
    streams = plan.streams or assemble.plan_streams(config.source, where="configuration")
    # The connection is made in its own thread while the model loads here.
    broker = host.links.use(config, stop, anew=plan.anew)
    pipeline = plan.pipeline or _open_pipeline(config, streams, host.state)
    try:
        made = one_run.put_together(plan, streams, pipeline, broker, stop)
        status = one_run.run(made, host)
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
