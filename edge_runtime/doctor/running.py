"""The daemon that runs now, by what it wrote about itself: what lasts, why, and what to do about it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_runtime.doctor.check import Check, check
from edge_runtime.supervision import health


def running(state: Path, *, holder: str | None) -> Iterator[Check]:
    """Yield a check for each part of the running daemon; one that says so when none runs.

    ``holder`` names the process that holds the state directory, None when nobody does.
    """
    if holder is None:
        yield check("run", "none", "edge-infer does not run as this device now: nothing to tell of it")
        return
    try:
        found = health.read(state)
    except PermissionError:
        yield check(
            "run", "warn", f"{holder} runs; how it is may only be read by its own user", "sudo edge-infer doctor"
        )
        return
    if found is None:
        yield check("run", "none", f"{holder} runs, and has not yet written how it is; ask again in a minute")
        return
    yield _progress(found, holder)
    yield _configuration(found)
    yield _streams(found)
    yield _engine(found)
    yield _outbox(found)
    yield _restart(found)
    if (stepped := _clock(found)) is not None:
        yield stepped


def _progress(found: dict[str, Any], holder: str) -> Check:
    watched = (
        f"systemd watches it (every {found['watchdog_s']:g} s)" if found.get("watchdog_s") else "nobody watches it"
    )
    if stuck := found.get("stuck"):
        message = f"{holder} is stuck: {stuck} does not come back; {watched}"
        return check("run", "fail", message, "sudo systemctl restart edge-infer")
    return check("run", "ok", f"{holder} makes progress; {watched}")


def _configuration(found: dict[str, Any]) -> Check:
    if error := found.get("config_error"):
        message = f"the newest one was refused and the one before is used: {error}"
        return check("run-config", "fail", message, "edge-infer config check FILE.toml")
    return check("run-config", "ok", "the configuration that was read last is used")


def _streams(found: dict[str, Any]) -> Check:
    streams: dict[str, str] = found.get("streams") or {}
    away = [f"{name} is {state}" for name, state in streams.items() if state != "online"]
    if away:
        return check("run-streams", "warn", f"{', '.join(away)}: tried again and again", "edge-infer --list-cameras")
    return check("run-streams", "ok", f"{len(streams)} online" if streams else "none has given a frame yet")


def _engine(found: dict[str, Any]) -> Check:
    engine = found.get("engine")
    if not engine:
        return check("run-engine", "none", "no model: a preview")
    where = f"on {engine['delegate']} ({engine['delegate_reason']})"
    if not engine["restarts"]:
        return check("run-engine", "ok", where)
    message = f"{where}; started again {engine['restarts']} times, last because {engine['restart_reason']}"
    return check("run-engine", "warn", message)


def _outbox(found: dict[str, Any]) -> Check:
    if error := found.get("outbox_error"):
        message = f"{error}; what is unsent waits in memory and is lost when the power goes"
        return check("run-outbox", "fail", message, "df -h; dmesg | tail")
    return check("run-outbox", "ok", "what the broker has not acknowledged is on the disk")


def _restart(found: dict[str, Any]) -> Check:
    limit = f"the limit is {found['memory_limit_mb']:g} MiB" if found.get("memory_limit_mb") else "there is no limit"
    if restart := found.get("last_restart"):
        message = f"started anew at {restart['at']} because {restart['reason']}; if that comes again, report it"
        return check("run-memory", "warn", message)
    return check("run-memory", "ok", f"never above its limit; {limit}")


def _clock(found: dict[str, Any]) -> Check | None:
    clock = found.get("clock") or {}
    if not clock.get("steps"):
        return None
    message = (
        f"it was set {clock['steps']} times while running, last at {clock['stepped_at']} by {clock['step_s']:+g} s"
    )
    return check("run-clock", "warn", f"{message}: times before are off by that")
