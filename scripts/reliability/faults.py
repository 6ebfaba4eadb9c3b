"""The faults of a chaos run. Each waits until the daemon has recovered and returns how long that took.

Recovery is counted from the moment at which the fault ended (the broker is back, the disk has room) to the first
prediction made after it that reaches the reader, and so, by the order of delivery, to the end of the backlog. What the
daemon must mend by itself (its own death, a hung delegate) is counted from the moment at which it was caused.
"""

import signal
import time
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from rtsp_server import SPOILED
from scene import CAMERA, RTSP, STEADY, Scene

STUCK_S = 90.0
SAY_S = 5.0
Outcome = tuple[float, dict[str, Any]]


class Fault(NamedTuple):
    """A name for the table, and what happens."""

    name: str
    cause: Callable[[Scene, Random], Outcome]
    needs_small_disk: bool = False
    needs_rtsp: bool = False


def _until_arrived(scene: Scene, since_s: float, stream: str = STEADY) -> float:
    """Wait for a prediction of a stream made after ``since_s`` at the reader; return how long after it that was."""
    scene.wait(lambda: stream in scene.streams_since(since_s), timeout_s=STUCK_S, what=f"a new prediction of {stream}")
    return time.time() - since_s


def _until_predicted(scene: Scene, since_s: float, stream: str = STEADY) -> float:
    """Wait for a prediction in the ledger, broker or not."""
    scene.wait(lambda: scene.predicted_since(since_s)[stream], timeout_s=STUCK_S, what=f"a new prediction of {stream}")
    return time.time() - since_s


def broker_killed(scene: Scene, chance: Random) -> Outcome:
    scene.broker.kill()
    time.sleep(chance.uniform(0.5, 10.0))
    scene.broker.start()
    return _until_arrived(scene, time.time()), {}


def broker_stopped(scene: Scene, chance: Random) -> Outcome:
    scene.broker.stop()
    time.sleep(chance.uniform(0.5, 10.0))
    scene.broker.start()
    return _until_arrived(scene, time.time()), {}


def broker_frozen(scene: Scene, chance: Random) -> Outcome:
    scene.broker.freeze()
    time.sleep(chance.uniform(0.5, 25.0))
    scene.broker.thaw()
    return _until_arrived(scene, time.time()), {}


def network_cut(scene: Scene, _chance: Random) -> Outcome:
    scene.wire.cut()
    return _until_arrived(scene, time.time()), {}


def network_frozen(scene: Scene, chance: Random) -> Outcome:
    scene.wire.freeze()
    time.sleep(chance.uniform(0.5, 25.0))
    scene.wire.thaw()
    return _until_arrived(scene, time.time()), {}


def daemon_killed(scene: Scene, _chance: Random) -> Outcome:
    at_s = time.time()
    scene.kill_daemon()
    return _until_arrived(scene, at_s), {}


def daemon_killed_broker_away(scene: Scene, chance: Random) -> Outcome:
    scene.broker.kill()
    for _ in range(chance.randint(1, 3)):
        time.sleep(chance.uniform(0.5, 4.0))
        at_s = time.time()
        scene.kill_daemon()
        recovered_s = _until_predicted(scene, at_s)
    scene.broker.start()
    _until_arrived(scene, time.time())
    return recovered_s, {}


def daemon_killed_broker_frozen(scene: Scene, chance: Random) -> Outcome:
    scene.broker.freeze()
    time.sleep(chance.uniform(0.2, 6.0))
    at_s = time.time()
    scene.kill_daemon()
    recovered_s = _until_predicted(scene, at_s)
    scene.broker.thaw()
    _until_arrived(scene, time.time())
    return recovered_s, {}


def disk_full(scene: Scene, chance: Random) -> Outcome:
    """Fill the disk while the broker is away: what does not fit into the outbox's own file waits in memory.

    Then free it and take the broker away again, until the outbox is used and the statistics say no more.

    ``said``: whether the statistics told of it afterwards; a short outage may fit into room that the file had.
    """
    scene.disk.fill()
    try:
        scene.broker.stop()
        time.sleep(chance.uniform(2.0, 15.0))
        scene.broker.start()
        returned_s = time.time()
        recovered_s = _until_arrived(scene, returned_s)
        while not (said := bool(scene.outbox_error())) and time.time() - returned_s < SAY_S:
            time.sleep(0.1)
    finally:
        scene.disk.free()
    # A full disk is tried again after pauses of up to 5 s; what would be killed in one of them waits in memory.
    scene.broker.stop()
    time.sleep(SAY_S + 2.0)
    scene.broker.start()
    _until_arrived(scene, time.time())
    scene.wait(lambda: not scene.outbox_error(), timeout_s=STUCK_S, what="an end of outbox.error")
    return recovered_s, {"said": said}


def delegate_hangs(scene: Scene, chance: Random) -> Outcome:
    return _delegate(scene, chance, "hang")


def delegate_crashes(scene: Scene, chance: Random) -> Outcome:
    return _delegate(scene, chance, "segfault")


def device_lost(scene: Scene, chance: Random) -> Outcome:
    return _delegate(scene, chance, "invoke-fails")


def _delegate(scene: Scene, chance: Random, what: str) -> Outcome:
    """Fail one invoke, or for some seconds, in which a restart fails too; counted from the end of the order."""
    scene.delegate.order(what)
    at_s = time.time()
    try:
        time.sleep(0.4)  # four frames: one invoke at least
        if chance.random() < 0.3:
            time.sleep(chance.uniform(1.0, 4.0))
    finally:
        scene.delegate.order("")
    mended_s = time.time()
    return _until_predicted(scene, mended_s), {"for_s": round(mended_s - at_s, 1)}


def camera_frozen(scene: Scene, chance: Random) -> Outcome:
    return _camera(scene, chance, lambda: scene.camera.send(signal.SIGSTOP), lambda: scene.camera.send(signal.SIGCONT))


def camera_killed(scene: Scene, chance: Random) -> Outcome:
    return _camera(scene, chance, scene.camera.kill, scene.camera.start)


def rtsp_frozen(scene: Scene, chance: Random) -> Outcome:
    assert scene.rtsp is not None
    send = scene.rtsp.send
    return _camera(scene, chance, lambda: send(signal.SIGSTOP), lambda: send(signal.SIGCONT), stream=RTSP)


def rtsp_killed(scene: Scene, chance: Random) -> Outcome:
    assert scene.rtsp is not None
    return _camera(scene, chance, scene.rtsp.kill, scene.rtsp.start, stream=RTSP)


def rtsp_spoiled(scene: Scene, chance: Random) -> Outcome:
    """Let the packets be garbage, cut short, or noise between them, for some seconds."""
    assert scene.rtsp is not None
    spoil, packets = scene.rtsp.spoil, chance.choice([name for name in SPOILED if name != "sound"])
    recovered_s, more = _camera(scene, chance, lambda: spoil(packets), lambda: spoil("sound"), stream=RTSP)
    return recovered_s, {"packets": packets, **more}


def rtsp_resized(scene: Scene, chance: Random) -> Outcome:
    """Change the size of the picture in the middle of the stream, to and fro; counted from the change back."""
    assert scene.rtsp is not None
    resize = scene.rtsp.resize
    return _camera(scene, chance, lambda: resize(large=True), lambda: resize(large=False), stream=RTSP)


def _camera(
    scene: Scene, chance: Random, take: Callable[[], None], give: Callable[[], None], *, stream: str = CAMERA
) -> Outcome:
    """Also tell how many predictions of the steady source came meanwhile: one dead source must not slow another.

    ``states``: what was said of the stream over MQTT meanwhile; for a stream that was away it ends with ``online``.
    """
    take()
    at_s = time.time()
    time.sleep(chance.uniform(1.0, 12.0))
    away_s = time.time() - at_s
    meanwhile = scene.predicted_since(at_s)[STEADY]
    give()
    recovered_s = _until_arrived(scene, time.time(), stream)
    more: dict[str, Any] = {"other_fps": round(meanwhile / away_s, 1)}
    if states := scene.states_since(stream, at_s):
        said = f"online of {stream}"
        scene.wait(lambda: scene.states_since(stream, at_s)[-1] == "online", timeout_s=STUCK_S, what=said)
        more["states"] = states
    return recovered_s, more


FAULTS = (
    Fault("broker killed", broker_killed),
    Fault("broker stopped", broker_stopped),
    Fault("broker frozen", broker_frozen),
    Fault("network cut", network_cut),
    Fault("network frozen", network_frozen),
    Fault("daemon killed", daemon_killed),
    Fault("daemon killed, broker away", daemon_killed_broker_away),
    Fault("daemon killed, broker frozen", daemon_killed_broker_frozen),
    Fault("disk full, broker away meanwhile", disk_full, needs_small_disk=True),
    Fault("delegate hangs", delegate_hangs),
    Fault("delegate crashes", delegate_crashes),
    Fault("device lost", device_lost),
    Fault("camera frozen", camera_frozen),
    Fault("camera killed", camera_killed),
    Fault("RTSP camera frozen", rtsp_frozen, needs_rtsp=True),
    Fault("RTSP camera killed", rtsp_killed, needs_rtsp=True),
    Fault("RTSP packets spoiled", rtsp_spoiled, needs_rtsp=True),
    Fault("RTSP picture resized", rtsp_resized, needs_rtsp=True),
)
