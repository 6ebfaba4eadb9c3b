"""A step for child processes that fails in the ways native libraries do."""

import os
import signal
import tempfile
import time
from pathlib import Path

from converters.steps import counting
from edge_runtime.errors import UsageError


class Session:
    def crash(self) -> None:
        print("about to touch bad memory", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)

    def refuse(self) -> None:
        raise UsageError("give another file")

    def stumble(self) -> None:
        raise RuntimeError("something\nof a library")

    def leave(self) -> None:
        raise SystemExit(3)

    def grow(self) -> dict[str, int]:
        return {"size": len(bytearray(64 * 1024 * 1024))}

    def temporary_folder(self) -> dict[str, str]:
        return {"folder": tempfile.gettempdir()}

    def count_to(self, total: int) -> None:
        for done in range(1, total + 1):
            counting.count(done, total)

    def meet(self, folder: str, name: str, count: int) -> dict[str, int]:
        """Wait until as many others are here too."""
        (Path(folder) / f"{name}.here").touch()
        given_up_s = time.monotonic() + 20.0
        while len(list(Path(folder).glob("*.here"))) < count and time.monotonic() < given_up_s:
            time.sleep(0.01)
        return {"met": len(list(Path(folder).glob("*.here")))}
