"""What a run works with: the broker, the state directory, the model."""

import importlib.util
import os
import select
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edge_runtime import assemble
from edge_runtime import config as configuration
from edge_runtime.config import ModelSection
from edge_runtime.doctor.check import Check, Status, check
from edge_runtime.errors import BrokerError, EdgeRuntimeError, UsageError
from edge_runtime.manifest import resolve
from edge_runtime.mqtt.link import Link
from edge_runtime.mqtt.settings import BrokerConfig, Endpoint
from edge_runtime.store.models import ModelStore
from edge_runtime.telemetry.files import read_text
from edge_runtime.telemetry.resources import Resources
from edge_runtime.types import ImageInput, ModelSpec

ANSWER_S: Final = 5.0
LITTLE_DISK_MB: Final = 200.0
TOO_LITTLE_DISK_MB: Final = 20.0


def broker(section: Mapping[str, Any], *, device: str) -> Check:
    """Connect, log in and leave again, under a client id of its own so that a running daemon stays connected.

    A broker that nobody configured and that is not there is a warning: there may be no use for one yet.
    """
    try:
        settings = configuration.section(BrokerConfig, section, where="broker")
        if settings.url == "none":
            return check("broker", "none", "none is used")
        if settings.url == "embedded":
            return _embedded()
        endpoint = settings.endpoint()
    except UsageError as error:
        return check("broker", "fail", str(error))
    try:
        took_ms = _log_in(endpoint, client_id=f"edge-infer-{device}-doctor")
    except BrokerError as error:
        return _away(endpoint, str(error), configured="url" in section)
    who = f" as {endpoint.url.username}" if endpoint.url.username else ""
    if endpoint.in_the_clear:
        return check("broker", "warn", f"{endpoint.url} takes the password{who} in the clear: use mqtts://")
    return check("broker", "ok", f"{endpoint.url} accepts this device{who} ({took_ms:.0f} ms)")


def _log_in(endpoint: Endpoint, *, client_id: str) -> float:
    """Return how long a connection and its answer took, in ms. Raises BrokerError; blocks for some seconds at most."""
    started_s = time.monotonic()
    link = Link(endpoint, client_id=client_id, will=None)
    try:
        link.connect()
        while not link.accepted:
            left_s = started_s + ANSWER_S - time.monotonic()
            if left_s <= 0:
                raise BrokerError(f"{endpoint.url} accepts connections and does not answer: is it an MQTT broker?")
            link.write()
            readable, _, _ = select.select([link.fileno()], [link.fileno()] if link.wants_write else [], [], left_s)
            if readable:
                link.read()
        link.disconnect()
    finally:
        link.close()
    return (time.monotonic() - started_s) * 1000


def _away(endpoint: Endpoint, reason: str, *, configured: bool) -> Check:
    local = endpoint.url.host in ("localhost", "127.0.0.1", "::1")
    nobody_listens = "no broker listens" in reason
    do = None
    if local and nobody_listens:
        installed = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        do = "sudo systemctl start mosquitto" if installed else "sudo apt install mosquitto"
    elif not local:
        do = f"ping -c 3 {endpoint.url.host}"
    return check("broker", "warn" if nobody_listens and not configured else "fail", reason, do)


def _embedded() -> Check:
    if shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin"):
        return check("broker", "ok", "embedded: mosquitto is installed")
    if importlib.util.find_spec("amqtt"):
        message = "embedded: amqtt is installed, which is for demonstration only"
        return check("broker", "warn", message, "sudo apt install mosquitto")
    return check("broker", "fail", "embedded: neither mosquitto nor amqtt is installed", "sudo apt install mosquitto")


def state(path: Path, *, root: Path = Path("/")) -> Check:
    """Say whether the state directory can be used, and who holds it; nothing is made or changed."""
    nearest = next(folder for folder in (path, *path.parents) if folder.exists())
    if not nearest.is_dir():
        return check("state", "fail", f"{nearest} is not a directory", f"ls -ld {nearest}")
    if not os.access(nearest, os.W_OK | os.X_OK):
        message = f"{path} cannot be written by this user, or its file system is read-only"
        return check(
            "state", "fail", message, f"sudo chown -R $USER {nearest}" if nearest == path else f"ls -ld {nearest}"
        )
    holder = _lock_holder(path / "lock", root)
    if holder is not None:
        return check("state", "ok", f"{path} is in use: edge-infer runs as {holder}")
    return check("state", "ok", f"{path} can be {'written' if nearest == path else 'made'}; edge-infer does not run")


def holder(path: Path, *, root: Path = Path("/")) -> str | None:
    """Name the process that runs with a state directory; None when none does."""
    return _lock_holder(path / "lock", root)


def _lock_holder(lock: Path, root: Path) -> str | None:
    """Name the process that holds the lock; read from the kernel's list, since trying it might stop a start."""
    try:
        inode = str(lock.stat().st_ino)
        pid = lock.read_text(errors="replace").strip()
    except OSError:
        return None
    # "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF"; the device may be another one than stat says (btrfs, overlay).
    locks = (line.split() for line in (read_text(root / "proc/locks") or "").splitlines())
    if any("FLOCK" in words and words[-3].rpartition(":")[2] == inode for words in locks if len(words) >= 6):
        return f"process {pid}" if pid.isdecimal() else "another process"
    return None


def disk(resources: Resources, path: Path) -> Check:
    """Say how much room the outbox and pulled models have."""
    free = resources.disk_free_mb()
    if free is None:
        return check("disk", "none", f"the free space of {path} is not known")
    status: Status = "ok" if free >= LITTLE_DISK_MB else "warn" if free >= TOO_LITTLE_DISK_MB else "fail"
    message = f"{free / 1024:.1f} GiB free" if free >= 1024 else f"{free:.0f} MiB free"
    return check("disk", status, message, None if status == "ok" else "sudo apt clean; df -h")


def model(section: ModelSection, store: ModelStore) -> tuple[Check, ModelSpec | None]:
    """Say which model a run would take and whether it can be read; nothing is fetched. Return what is known of it."""
    if section.path == "none":
        return check("model", "none", "none: a preview"), None
    try:
        path = _model_file(section.path, store)
        if path is None and section.path is None:
            message = "no model is active yet: pull one, or name one with --model"
            return check("model", "none", message, "edge-infer models pull mobilenet_v2"), None
        if path is None:
            do = f"edge-infer models pull {section.path}"
            return check("model", "none", f"{section.path} is not here yet; the first run fetches it", do), None
        spec = resolve(path, assemble.overrides(section))
    except EdgeRuntimeError as error:
        return check("model", "fail", str(error), "edge-infer models list"), None
    takes = f"{spec.input.size[0]}x{spec.input.size[1]} pictures" if isinstance(spec.input, ImageInput) else "windows"
    labels = f"{len(spec.labels)} labels" if spec.labels else "no labels"
    return check("model", "ok", f"{spec.identity.name}: {spec.task}, {takes}, {labels}"), spec


def _model_file(name: str | None, store: ModelStore) -> Path | None:
    if name is None:
        return store.active()
    if name.endswith(".tflite") or os.sep in name or Path(name).is_file():
        if not Path(name).is_file():
            raise UsageError(f"{name}: no such model file")
        return Path(name)
    return next((model.path for model in store.installed() if model.name == name), None)
