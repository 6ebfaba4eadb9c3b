"""What this device has and what is missing: one check per part, each with one sentence and the next command."""

from collections.abc import Iterator
from pathlib import Path

from edge_runtime import config as configuration
from edge_runtime.config import Config
from edge_runtime.doctor import devices, machine, running, software, surroundings
from edge_runtime.doctor.check import Check
from edge_runtime.engines.litert import EngineConfig
from edge_runtime.store.models import ModelStore
from edge_runtime.store.state import state_path
from edge_runtime.telemetry.resources import Resources
from edge_runtime.telemetry.throttling import Throttling

__all__ = ["Check", "examine", "examine_installed"]

CAMERA_SOURCES = frozenset({"camera", "picamera", "v4l2"})


def examine(config: Config, *, root: Path = Path("/")) -> Iterator[Check]:
    """Yield the checks one after the other, as they are done; some take seconds.

    ``root`` holds the /proc, /sys, /dev and /etc that are looked at. Raises ConfigError for a wrong section; what is
    wrong with the device is in the checks.
    """
    device = configuration.device_id(config)
    engine = configuration.section(EngineConfig, config.engine, where="engine")
    state = state_path(device)
    resources = Resources(root, disk=next(path for path in (state, *state.parents) if path.exists()))
    yield machine.system(root)
    yield software.interpreter(engine)
    yield software.numpy()
    yield software.jpeg()
    model, spec = surroundings.model(config.model, ModelStore(state))
    yield model
    types = {str(source.get("type")) for source in config.source}
    pi_camera = devices.pi_camera(root)
    yield pi_camera
    yield from devices.cameras(
        wanted=bool(types & CAMERA_SOURCES) if types else None, pi_camera=pi_camera.status == "ok"
    )
    compiled = spec.path if spec is not None and spec.edgetpu and ".so" not in engine.delegate else None
    yield devices.edge_tpu(root, model=compiled, runtime=engine.runtime)
    if ".so" in engine.delegate:
        loaded = None if spec is None else spec.path
        yield devices.delegate(engine.delegate, model=loaded, runtime=engine.runtime)
    yield surroundings.broker(config.broker, device=device)
    yield machine.clock()
    yield machine.power(Throttling(root))
    yield machine.temperature(resources)
    yield machine.memory(resources)
    yield surroundings.disk(resources, state)
    yield surroundings.state(state, root=root)
    yield from running.running(state, holder=surroundings.holder(state, root=root))
    yield software.video()
    yield software.dashboard()


def examine_installed(config: Config) -> Iterator[Check]:
    """Yield the checks of the environment itself: does what is installed work together? Nothing outside is touched."""
    engine = configuration.section(EngineConfig, config.engine, where="engine")
    yield software.interpreter(engine)
    yield software.numpy()
    yield software.jpeg()
    yield software.picamera2()
