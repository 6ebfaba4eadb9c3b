"""Commands from the broker: few, small, at a human pace, and each one answered."""

import json
import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from edge_runtime import clock
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.protocols import Bus

log = logging.getLogger(__name__)

MAX_BYTES: Final = 4096
MAX_ID: Final = 128
MAX_NAME: Final = 64
PER_SECOND: Final = 5.0
BURST: Final = 10
TOO_MANY: Final = f"too many commands; at most {PER_SECOND:g} a second"
_WAITING: Final = 16
_REMEMBERED: Final = 64

Handler = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes the request and returns what is said beside ``id``, ``ok`` and ``error``; raises EdgeRuntimeError."""
Answer = dict[str, Any]


class CommandServer:
    """Takes ``<root>/command/<name>`` and answers on ``<root>/command/<name>/result``.

    Whoever may publish on the broker may send commands, so only those in ``allowed`` are carried out. Handlers run one
    after the other in a thread of their own; a request that comes again with the same ``id`` (QoS 1 delivers once or
    more) gets the same answer and is not carried out again. Requests that come too fast are refused, and told so once;
    when too many wait, they are dropped and counted.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        device: str,
        handlers: Mapping[str, Handler],
        allowed: Collection[str],
        monotonic_ns: Callable[[], int] = clock.monotonic_ns,
    ) -> None:
        self._bus = bus
        self._prefix = f"edge-infer/{device}/command/"
        self._handlers = dict(handlers)
        self._allowed = frozenset(allowed)
        self._clock = monotonic_ns
        self._tokens = float(BURST)
        self._filled_ns: int | None = None
        self._told = False
        self._waiting: queue.Queue[tuple[str, bytes] | None] = queue.Queue(_WAITING)
        self._answered: OrderedDict[tuple[str, str], Answer] = OrderedDict()
        self._thread: threading.Thread | None = None
        self.handled = 0
        """Commands carried out."""
        self.refused = 0
        """Commands answered with an error before a handler saw them."""
        self.dropped = 0
        """Commands that found the queue full."""

    def open(self) -> None:
        """Begin to take commands."""
        self._thread = threading.Thread(target=self._work, name="commands", daemon=True)
        self._thread.start()
        # One level: a result, which lies one deeper, never comes back as a command.
        self._bus.subscribe(f"{self._prefix}+", self.receive, retained=False)

    def close(self, timeout_s: float = 2.0) -> None:
        """Finish what waits, and take no more; a handler that takes longer than ``timeout_s`` is left behind."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._bus.unsubscribe(f"{self._prefix}+", self.receive)
        try:
            self._waiting.put(None, timeout=timeout_s)
        except queue.Full:
            return
        if thread is not threading.current_thread():
            thread.join(timeout_s)

    def receive(self, topic: str, payload: bytes) -> None:
        """Queue a message; called from the connection's thread, returns at once."""
        name = topic.removeprefix(self._prefix)
        if self._thread is None or not topic.startswith(self._prefix) or "/" in name:
            return
        if len(name) > MAX_NAME:
            self.dropped += 1
            return
        try:
            # An oversized one is cut here, so that the queue stays small, and refused where it is answered.
            self._waiting.put_nowait((name, payload[: MAX_BYTES + 1]))
        except queue.Full:
            self.dropped += 1

    def _work(self) -> None:
        while (message := self._waiting.get()) is not None:
            name, payload = message
            answer = self._answer(name, payload)
            if answer is None:
                continue
            document = {"schema": 1, **answer}
            self._bus.publish(f"{self._prefix}{name}/result", json.dumps(document), qos=1)

    def _answer(self, name: str, payload: bytes) -> Answer | None:
        request, error = _parse(payload)
        identity = request.get("id")
        key = (name, json.dumps(identity))
        if identity is not None and key in self._answered:
            return self._answered[key]
        if not self._has_token():
            self.refused += 1
            # Told once: answers to a flood would be a flood themselves, and fill the outbox.
            told, self._told = self._told, True
            return None if told else {"id": identity, "ok": False, "error": TOO_MANY}
        self._told = False
        error = error or self._objection(name)
        if error is not None:
            self.refused += 1
            return {"id": identity, "ok": False, "error": error}
        answer = self._carry_out(name, request)
        if identity is not None:
            self._answered[key] = answer
            if len(self._answered) > _REMEMBERED:
                self._answered.popitem(last=False)
        return answer

    def _objection(self, name: str) -> str | None:
        if name not in self._handlers:
            return f"there is no command '{name[:MAX_ID]}'; there are {', '.join(sorted(self._handlers))}"
        if name not in self._allowed:
            return f"the command '{name}' is not allowed here; add it to allow in [commands] of the configuration"
        return None

    def _carry_out(self, name: str, request: dict[str, Any]) -> Answer:
        identity = request.get("id")
        self.handled += 1
        try:
            return {**self._handlers[name](request), "id": identity, "ok": True, "error": None}
        except EdgeRuntimeError as error:
            return {"id": identity, "ok": False, "error": str(error)}
        except Exception as error:  # the top of this worker: one bad command must not end the others
            log.exception("the command %s failed", name)
            return {"id": identity, "ok": False, "error": f"internal error: {type(error).__name__}; see the log"}

    def _has_token(self) -> bool:
        now_ns = self._clock()
        if self._filled_ns is not None:
            self._tokens = min(float(BURST), self._tokens + (now_ns - self._filled_ns) / 1e9 * PER_SECOND)
        self._filled_ns = now_ns
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _parse(payload: bytes) -> tuple[dict[str, Any], str | None]:
    """Return the request, empty where there is none to be read, and what is wrong with it."""
    if len(payload) > MAX_BYTES:
        return {}, f"the request is larger than {MAX_BYTES} bytes"
    if not payload.strip():
        return {}, None
    try:
        request = json.loads(payload)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else "too deep"
        return {}, f"the request is not JSON: {reason}"
    if not isinstance(request, dict):
        return {}, 'the request is not a JSON object such as {"id": "1"}'
    identity = request.get("id")
    if identity is not None and (not isinstance(identity, str | int) or len(str(identity)) > MAX_ID):
        return {}, f"the id is neither a text of at most {MAX_ID} characters nor a whole number"
    return request, None
