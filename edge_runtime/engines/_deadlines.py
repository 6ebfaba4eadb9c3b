"""How long an isolated engine may take to start and to invoke, learned from how long it took before."""

from typing import Final

START_S: Final = 30.0
"""For loading and a first invoke. A Coral on USB takes its firmware at the first use, which takes seconds."""
LEAST_START_S: Final = 5.0
STARTS: Final = 2
"""While nothing serves, a restart may take so many times what the first start took."""
FIRST_INVOKES_S: Final = 10.0
LEAST_INVOKE_S: Final = 2.0
MEDIANS: Final = 20
SAMPLE: Final = 16


class InvokeDeadline:
    """How long an invoke may take: ``fixed_s``; else 10 s until 16 were timed, then 20 medians, at least 2 s."""

    def __init__(self, fixed_s: float | None) -> None:
        self._fixed_s = fixed_s
        self.seconds = FIRST_INVOKES_S if fixed_s is None else fixed_s
        self._took_s: list[float] = []

    def add(self, took_s: float) -> None:
        """Take the duration of an invoke."""
        if self._fixed_s is not None:
            return
        self._took_s.append(took_s)
        if len(self._took_s) == SAMPLE:
            self.seconds = max(LEAST_INVOKE_S, MEDIANS * sorted(self._took_s)[SAMPLE // 2])
            self._took_s.clear()


class StartDeadline:
    """How long a start may take: 30 s until one went well; then twice what that took, at least 5 s, at most 30 s.

    Each start that hangs doubles it, so that a machine that has become slow gets its engine all the same.
    """

    def __init__(self) -> None:
        self._least_s: float | None = None
        self._hung = 0

    @property
    def seconds(self) -> float:
        """Return how long the next start may take."""
        return START_S if self._least_s is None else min(START_S, self._least_s * 2.0 ** min(self._hung, 5))

    def add_good(self, took_s: float) -> None:
        """Take the duration of a start that went well."""
        self._hung = 0
        if self._least_s is None:
            self._least_s = max(LEAST_START_S, STARTS * took_s)

    def add_hung(self) -> None:
        """Take a start that did not answer in time."""
        self._hung += 1
