"""``--broker none``: a bus that takes everything and sends it nowhere."""

from collections.abc import Callable
from typing import Any


class NullBus:
    """A ``Bus`` without a broker."""

    connected = False

    def publish(self, topic: str, payload: bytes | str, *, qos: int = 0, retain: bool = False) -> None:
        """Take a message."""

    def subscribe(self, topic: str, handler: Callable[[str, bytes], None], *, retained: bool = True) -> None:
        """Take a handler that will never be called."""

    def unsubscribe(self, topic: str, handler: Callable[[str, bytes], None]) -> None:
        """Forget a handler that is never called."""

    def flush(self, timeout_s: float) -> int:  # noqa: ARG002 - there is nothing to wait for
        """Return 0: nothing is ever unsent."""
        return 0

    def stats(self) -> dict[str, Any]:
        """Return nothing: there is no broker and no outbox to tell of."""
        return {}

    def close(self, timeout_s: float = 0.0) -> None:
        """Do nothing."""
