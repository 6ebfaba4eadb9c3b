"""The connection to the broker: one thread that owns the socket, the window and the outbox.

Other threads only append to a queue and, when that thread sleeps, wake it.
"""

import logging
import math
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from edge_runtime.errors import BrokerError
from edge_runtime.mqtt.delivery import Delivery, Message
from edge_runtime.mqtt.link import Link
from edge_runtime.mqtt.outbox import Outbox
from edge_runtime.mqtt.routes import Routes
from edge_runtime.mqtt.session import Session
from edge_runtime.mqtt.settings import Endpoint

_INBOX_LIMIT = 20_000
_IDLE_S = 1.0
GROUP_S = 0.02
"""At more than about 30 messages a second they travel in groups, and wait this long at most for it."""
_PATIENCE_S = 0.1  # below that an acknowledgement waits for the next message, this long at most
_SLOW_DISK_S = 5.0  # how long the commit at the end may take before it is not waited for any more

log = logging.getLogger("edge_runtime.mqtt")


@dataclass(slots=True)
class _Waiter:
    deadline_s: float
    left: int = 0
    answered: threading.Event = field(default_factory=threading.Event)


class MqttBus:
    """The ``Bus`` of `edge_runtime.protocols` over one broker. ``open`` starts it; it never dies of the broker.

    ``status_topic``, where given, says ``online`` after each connect and ``offline`` after a clean stop or, as the
    will, when the connection breaks. ``outbox`` None keeps unacknowledged messages in memory only. ``clock`` is
    monotonic, in nanoseconds. Every public method may be called from any thread.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        client_id: str,
        status_topic: str | None = None,
        outbox: Outbox | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.endpoint = endpoint
        self._clock = clock
        self._delivery = Delivery(outbox)
        self._routes = Routes()
        self._session = Session(
            endpoint,
            client_id=client_id,
            status_topic=status_topic,
            delivery=self._delivery,
            routes=self._routes,
            wake=self._wake,
            now_s=self._now_s(),
        )
        self._lock = threading.Lock()
        self._inbox: deque[Message] = deque()
        self._overflowed = 0
        self._waiters: list[_Waiter] = []
        self._sleeping = False
        self._in_groups = False
        self._taken_s = 0.0
        self._closed = False
        self._stop_by_s: float | None = None
        self._goodbye_at_s = 0.0
        self._thread: threading.Thread | None = None
        self._wake_fd = -1
        self._poll = select.poll()
        self._watched = (-1, 0)
        self.seen_ns = clock()
        """When its thread last came round, in nanoseconds of ``clock``."""

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted this client now."""
        return self._session.online

    def open(self) -> None:
        """Start connecting. Raises UsageError for TLS files that cannot be used; does not wait for the broker."""
        self.endpoint.tls_context()
        if self.endpoint.in_the_clear:
            log.warning("the broker's password crosses the network unencrypted; use mqtts:// for %s", self.endpoint.url)
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self._thread.start()

    def publish(self, topic: str, payload: bytes | str, *, qos: int = 0, retain: bool = False) -> None:
        """Queue a message; see `edge_runtime.protocols.Bus`. Raises ValueError for a topic with a wildcard or QoS 2."""
        if not topic or "+" in topic or "#" in topic or qos not in (0, 1):
            raise ValueError(f"cannot publish on {topic!r} with QoS {qos}: no wildcards, and QoS 0 or 1")
        data = payload.encode() if isinstance(payload, str) else payload
        message = Message(topic, data, qos, retain, self._now_s())
        with self._lock:
            if self._closed:
                self._overflowed += 1
                return
            if len(self._inbox) >= _INBOX_LIMIT:  # the thread is stuck on a disk: keep the newest
                self._inbox.popleft()
                self._overflowed += 1
            self._inbox.append(message)
            if self._sleeping:
                self._sleeping = False
                os.eventfd_write(self._wake_fd, 1)

    def subscribe(self, topic: str, handler: Callable[[str, bytes], None], *, retained: bool = True) -> None:
        """Call ``handler(topic, payload)`` from the connection's thread; see `edge_runtime.protocols.Bus`."""
        self._routes.add(topic, handler, retained=retained)
        self._wake()

    def unsubscribe(self, topic: str, handler: Callable[[str, bytes], None]) -> None:
        """Call ``handler`` no more, but for a message that is being handed over now."""
        self._routes.remove(topic, handler)

    def flush(self, timeout_s: float) -> int:
        """Wait until the broker has everything; return how many messages it has not, which are stored then."""
        waiter = _Waiter(self._now_s() + timeout_s)
        with self._lock:
            if self._wake_fd < 0:
                return self._delivery.unacknowledged
            self._waiters.append(waiter)
        self._wake()
        waiter.answered.wait(timeout_s + _SLOW_DISK_S)
        return waiter.left

    def close(self, timeout_s: float = 1.0) -> None:
        """Send what can be sent within ``timeout_s``, say ``offline``, store the rest. May be called twice."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        now_s = self._now_s()
        self._goodbye_at_s = now_s + timeout_s * 0.7
        self._stop_by_s = now_s + timeout_s
        self._wake()
        thread.join(timeout_s + _SLOW_DISK_S)

    def __enter__(self) -> Self:
        """Open."""
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def stats(self) -> dict[str, dict[str, Any]]:
        """Return the contract's ``broker`` and ``outbox`` parts of ``stats``, with more counters."""
        counters = self._session.counters
        return {
            "broker": {
                "connected": self.connected,
                "reconnects": max(0, counters.connects - 1),
                "published": counters.published,
                "acknowledged": counters.acknowledged,
                "dropped": counters.dropped + self._overflowed,
            },
            "outbox": dict(self._delivery.stats()),
        }

    def _now_s(self) -> float:
        return self._clock() / 1e9

    def _wake(self) -> None:
        with self._lock:
            self._sleeping = False
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)

    # Everything below belongs to the connection's thread.

    def _run(self) -> None:
        session = self._session
        readable = False
        opened = False
        self._poll.register(self._wake_fd, select.POLLIN)
        while not self._is_finished():
            self.seen_ns = self._clock()
            now_s = self.seen_ns / 1e9
            try:
                if opened:
                    self._take_inbox(now_s)
                session.step(now_s, readable=readable)
                if not opened:  # while the first attempt is under way, and before any message is taken
                    opened = True
                    self._delivery.open()
                self._delivery.store(now_s, connected=session.counts_as_connected(now_s))
            except BrokerError as error:
                session.drop(error, now_s)
            except Exception as error:  # the worker's top: whatever went wrong, the connection is made anew
                log.exception("the connection to %s failed", self.endpoint.url)
                session.drop(BrokerError(f"the connection to {self.endpoint.url} failed: {error!r}"), now_s)
            self._answer_waiters(now_s)
            readable = self._wait(now_s)
        self._finish()

    def _take_inbox(self, now_s: float) -> None:
        if not self._inbox:
            return
        with self._lock:
            taken, self._inbox = self._inbox, deque()
        self._in_groups = now_s - self._taken_s < GROUP_S * 1.5
        self._taken_s = now_s
        for message in taken:
            self._session.take(message)

    def _wait(self, now_s: float) -> bool:
        """Sleep until there is something to do; return whether the socket may have something to say.

        While acknowledgements are all that is expected, the socket is not watched for a moment: the next message
        finds them waiting, and one wake-up does for both. At high rates ``publish`` does not wake this thread either
        during that moment, so that one wake-up does for several messages.
        """
        session = self._session
        patient = session.is_patient(now_s) and not self._waiters and self._stop_by_s is None
        grouping = patient and self._in_groups
        timeout_s = GROUP_S if grouping else self._due_in_s(now_s)
        if patient:
            timeout_s = min(timeout_s, _PATIENCE_S)
        self._watch(session.link if session.link is not None and not patient else None)
        with self._lock:
            has_work = bool(self._inbox) or (session.online and self._routes.has_new)
            self._sleeping = not has_work and not grouping
        events = self._poll.poll(0 if has_work else math.ceil(timeout_s * 1000))
        self._sleeping = False
        readable = patient
        for descriptor, flags in events:
            if descriptor == self._wake_fd:
                os.eventfd_read(self._wake_fd)
            else:
                readable |= flags != select.POLLOUT
        return readable

    def _due_in_s(self, now_s: float) -> float:
        session = self._session
        due = [_IDLE_S, session.due_in_s(now_s), *(waiter.deadline_s - now_s for waiter in self._waiters)]
        store_in_s = self._delivery.due_in_s(now_s, connected=session.counts_as_connected(now_s))
        if store_in_s is not None:
            due.append(store_in_s)
        if self._stop_by_s is not None:
            due.append(0.0 if session.said_goodbye else 0.02)
        return max(0.0, min(due))

    def _watch(self, link: Link | None) -> None:
        """Have the socket of ``link`` polled, and no other; poll objects are not remade for each message."""
        descriptor = -1 if link is None else link.fileno()
        flags = select.POLLIN | (select.POLLOUT if link is not None and link.wants_write else 0)
        if (descriptor, flags) != self._watched:
            if self._watched[0] >= 0:
                self._poll.unregister(self._watched[0])
            if descriptor >= 0:
                self._poll.register(descriptor, flags)
            self._watched = (descriptor, flags)

    def _answer_waiters(self, now_s: float) -> None:
        if not self._waiters or self._inbox:
            return
        idle = self._session.is_idle()
        with self._lock:
            ready = [waiter for waiter in self._waiters if idle or now_s >= waiter.deadline_s]
            self._waiters = [waiter for waiter in self._waiters if waiter not in ready]
        if ready and not idle:
            self._delivery.store(now_s, connected=self._session.online, force=True)
        for waiter in ready:
            waiter.left = self._delivery.unacknowledged
            waiter.answered.set()

    def _is_finished(self) -> bool:
        if self._stop_by_s is None:
            return False
        session, now_s = self._session, self._now_s()
        if self._inbox and now_s < self._stop_by_s:
            return False
        if not session.online or now_s >= self._stop_by_s:
            return True
        if session.is_idle() or now_s >= self._goodbye_at_s:
            session.begin_goodbye()
            return session.said_goodbye
        return False

    def _finish(self) -> None:
        with self._lock:
            self._closed = True
        self._take_inbox(self._now_s())
        self._session.end()
        left = self._delivery.close(self._now_s())
        with self._lock:
            wake_fd, self._wake_fd = self._wake_fd, -1
            waiters, self._waiters = self._waiters, []
        os.close(wake_fd)
        for waiter in waiters:
            waiter.left = left
            waiter.answered.set()
