"""When the pictures of a recording are due."""


class Pacer:
    """Tells when a picture of a file is due, so that the file runs as fast as it was recorded."""

    def __init__(self) -> None:
        self._base_s: float | None = None
        self._last_s = 0.0
        self._step_s = 0.0
        self._number = 0

    def due_s(self, position_s: float, *, number: int, now_s: float) -> float:
        """Return the moment on ``now_s``'s clock; a new ``number`` (a repetition) follows on without a gap."""
        if self._base_s is None:
            self._base_s = now_s - position_s
        elif number != self._number:
            self._base_s = self._last_s + self._step_s - position_s
        due_s = self._base_s + position_s
        self._step_s = max(0.0, due_s - self._last_s) if self._last_s else 0.0
        self._last_s, self._number = due_s, number
        return due_s
