"""What ``inspect --device this`` stands for: this machine's profile, corrected by what its daemon has measured."""

from dataclasses import dataclass
from pathlib import Path

from edge_runtime.analysis.boards import board_profile, own_profile, this_profile
from edge_runtime.analysis.inspection import Correction
from edge_runtime.analysis.operator_cache import FILE_NAME, OperatorCache
from edge_runtime.analysis.profile import Profile
from edge_runtime.config import Config, device_id
from edge_runtime.errors import UsageError
from edge_runtime.model_file import read_model
from edge_runtime.store.speeds import read_speeds, setup_threads
from edge_runtime.store.state import state_path


@dataclass(frozen=True, slots=True)
class ThisDevice:
    """``correction`` and its ``threads`` are None where the daemon has not run the model."""

    profile: Profile
    correction: Correction | None
    threads: int | None
    operators: OperatorCache | None = None
    """What was timed here; None where there is a correction, which is of predictions without it."""


def this_device(model: Path, *, threads: int | None) -> ThisDevice:
    """Return what is known here of a model, with ``threads`` where they are given.

    Raises UsageError, which says what to run, for a machine that is not measured and has not run the model.
    """
    state = state_path(device_id(Config()))
    own = own_profile(state)
    profile = own or this_profile(state)
    sha256 = read_model(model).sha256
    known = [one for one in read_speeds(state) if one.sha256 == sha256 and profile and one.profile == profile.name]
    known = [one for one in known if threads is None or setup_threads(one.setup) == threads]
    if profile is None or (own is None and not known):
        board = board_profile()
        kind = f"its kind of board is --device {board}" if board else "or name a board, see edge-infer inspect --help"
        raise UsageError(
            f"this machine has not been measured and has not run this model: edge-infer bench --calibrate; {kind}"
        )
    if not known:
        return ThisDevice(profile, None, threads, _operators(state, profile))
    speed = known[-1]
    return ThisDevice(profile, Correction(speed.ratio, speed.setup, speed.at), setup_threads(speed.setup) or threads)


def _operators(state: Path, profile: Profile) -> OperatorCache | None:
    """Return the operators timed with the runtime and on the machine that the profile is of."""
    made = profile.calibration
    return OperatorCache.read(state / FILE_NAME, runtime=made.runtime, machine=made.machine) if made else None
