"""Damaged model files through the loader, which invokes them once in a process of its own.

The files are damaged as `scripts/fuzz_models` damages them for `edge-infer inspect`. Without the reference set only the
bundled model is.
"""

import os
import signal
import sys
from pathlib import Path
from random import Random

from campaign import REPOSITORY, Campaign, verdict

sys.path.insert(0, str(REPOSITORY / "scripts"))
from fuzz_damage import damage, read_original

from edge_runtime.engines import trial
from edge_runtime.engines._child_limits import limit_memory
from edge_runtime.engines._memory_ceiling import half_of_memory_bytes
from edge_runtime.engines._trial_child import attempt
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.manifest import Overrides, resolve

LARGEST_MODEL_BYTES = 1_000_000
DEADLINE_S = 10
WHOLE_EVERY = 200
"""Every so many cases the trial is the product's own, with a fresh interpreter; the others are forks of this one."""


def originals(paths: list[Path]) -> list[Path]:
    if paths:
        return paths
    folder = Path(os.environ.get("EDGE_REFERENCE", REPOSITORY.parent / "shared" / "reference")) / "models"
    found = [*(REPOSITORY / "edge_runtime" / "demo").glob("*.tflite"), *sorted(folder.rglob("*.tflite"))]
    return [path for path in found if path.stat().st_size <= LARGEST_MODEL_BYTES]


def loaded(folder: Path, paths: list[Path]) -> Campaign:
    """Through what a model passes before it runs: read here, then loaded and invoked once in a process of its own.

    There a crash and a hang are answers like any other; what counts is that this process gets one.
    """
    sound, path = [read_original(original) for original in originals(paths)], folder / "damaged.tflite"

    def look(number: int, chance: Random) -> str:
        path.write_bytes(damage(chance.choice(sound), chance))
        try:
            resolve(path, Overrides())
        except EdgeRuntimeError as error:
            return verdict(error)
        if number % WHOLE_EVERY == 0:
            return trial.try_model(str(path), deadline_s=DEADLINE_S).outcome
        return forked(path)

    fine = frozenset({"refused", "works", "fails", "crashes", "hangs"})
    return Campaign(f"damaged models, loaded and invoked, from {len(sound)} originals", fine, look)


def forked(path: Path) -> str:
    """Do what the trial's child does in a fork of this process, which has everything imported: ten times as fast."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _be_child(path, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        output = pipe.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 1 and not output:
        return "an error that is not of the tree"
    return trial._judge(code, output, limit_bytes=half_of_memory_bytes()).outcome  # noqa: SLF001 - what is tested


def _be_child(path: Path, writer: int) -> None:
    import json
    import resource
    import traceback

    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        limit_memory(half_of_memory_bytes())
        signal.alarm(DEADLINE_S)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        answer = json.dumps(attempt(str(path), "", "auto"))
        os.write(writer, answer.encode())
        status = 0
    except Exception:  # noqa: BLE001 - told by the status
        traceback.print_exc()
    finally:
        os._exit(status)
