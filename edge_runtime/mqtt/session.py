"""What the connection's thread does with the broker: attempts, greetings, sending, answers, and giving up.

Attempts to connect (name resolution, TCP, TLS) may block and run in a short-lived thread of their own, so that
messages go on being committed meanwhile.
"""

import logging
import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edge_runtime.errors import BrokerError
from edge_runtime.mqtt.backoff import Backoff
from edge_runtime.mqtt.delivery import Delivery, Message
from edge_runtime.mqtt.link import Link
from edge_runtime.mqtt.routes import Routes
from edge_runtime.mqtt.settings import Endpoint

ONLINE, OFFLINE = b"online", b"offline"
ANSWER_TIMEOUT_S = 10.0
"""How long a broker may take over CONNECT: a frozen one still accepts connections."""
ACKNOWLEDGE_TIMEOUT_S = 20.0
"""A connection on which nothing is acknowledged for this long is given up."""
_LASTED_S = 5.0  # a connection shorter than this does not count as a success
_QUIET_START_S = 0.5  # failures this early are not worth a line: the broker may be starting too
_REPEAT_WARNING_S = 600.0
_CAREFUL_AFTER, _GIVE_UP_AFTER = 2, 5  # connections in a row that ended over the same message
_MISC_S = 1.0
_ATTENTIVE_S = 5.0  # after a message arrived the next one is not kept waiting

log = logging.getLogger("edge_runtime.mqtt")


@dataclass(slots=True)
class Counters:
    """Counted since the start; read by anybody, written by the connection's thread."""

    published: int = 0
    acknowledged: int = 0
    dropped: int = 0
    """QoS 0 while disconnected or behind a full socket, refused by the broker, or in an overflowing queue."""
    connects: int = 0


class Session:
    """Keeps one broker connected, one link after the other. ``wake`` makes the connection's thread call ``step``."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        client_id: str,
        status_topic: str | None,
        delivery: Delivery,
        routes: Routes,
        wake: Callable[[], None],
        now_s: float,
    ) -> None:
        self.counters = Counters()
        self.online = False
        """Whether the broker has accepted this client now. Read by every thread."""
        self.link: Link | None = None
        self._endpoint = endpoint
        self._client_id = client_id
        self._status_topic = status_topic
        self._delivery = delivery
        self._routes = routes
        self._wake = wake
        self._backoff = Backoff()
        self._attempt: Link | None = None
        self._outcome: tuple[Link, BrokerError | None] | None = None
        self._retained: dict[str, Message] = {}
        self._state: deque[Message] = deque()
        self._goodbye: Message | None = None
        self._opened_s = self._attempt_at_s = now_s
        self._since_s = self._progress_s = self._misc_at_s = now_s
        self._heard_s = -math.inf
        self._suspected: Message | None = None
        self._strikes = 0
        self._untried = True
        self._warned = ""
        self._warned_at_s = -math.inf

    def take(self, message: Message) -> None:
        """Take a message over from ``publish``, in order."""
        if message.retain:
            self._retained[message.topic] = message
            if self.online:
                self._state.append(message)
        elif message.qos:
            self._delivery.add(message)
        elif self.link is not None and self.online and self.link.publish(message):
            self.counters.published += 1
        else:
            self.counters.dropped += 1

    def counts_as_connected(self, now_s: float) -> bool:
        """Whether the longer commit interval holds; so it does during the first moments, which usually end well."""
        return self.online or (self._untried and now_s - self._opened_s < _QUIET_START_S)

    def is_patient(self, now_s: float) -> bool:
        """Whether acknowledgements are all that is waited for, and may be read a little later."""
        link = self.link
        return (
            self.online
            and link is not None
            and 0 < link.in_flight < link.window
            and not link.wants_write
            and now_s - self._heard_s > _ATTENTIVE_S
        )

    def is_idle(self) -> bool:
        """Whether the broker has all it can get: everything, or while it is away everything that is not retained."""
        if not self._delivery.idle:
            return False
        return not self.online or not (self._state or (self.link is not None and self.link.in_flight))

    def due_in_s(self, now_s: float) -> float:
        """Return after how many seconds ``step`` must be called although nothing arrives."""
        if self.link is None and self._attempt is None:
            return max(0.0, self._attempt_at_s - now_s)
        return max(0.0, self._misc_at_s - now_s) if self.link is not None else _MISC_S

    def step(self, now_s: float, *, readable: bool) -> None:
        """Do what there is to do. Raises BrokerError when the connection is over: call ``drop`` with it."""
        if self.link is None:
            self._look_at_attempt(now_s)
            return
        link = self.link
        if readable:
            link.read()
        if link.accepted and not self.online:
            self._welcome(link, now_s)
        self._take_answers(link, now_s)
        if self.online:
            if self._routes.has_new:
                link.subscribe(self._routes.take_new())
            self._send(link, now_s)
        link.write()
        self._check(link, now_s)

    def drop(self, error: BrokerError, now_s: float) -> None:
        """Give the link up for ``error``, and plan the next attempt."""
        link, self.link = self.link, None
        if link is not None:
            self._note_acknowledged(link)  # what was answered before the end
            self._suspect(link)
            link.close()
        if self.online and now_s - self._since_s >= _LASTED_S:
            self._backoff.reset()
        self.online = False
        self._state.clear()
        self._delivery.rewind()
        self._attempt_at_s = now_s + self._backoff.next_s(slow=not error.retryable)
        self._complain(error, now_s)

    def _suspect(self, link: Link) -> None:
        """Give a message up when connection after connection ends over it: some brokers close on what they refuse.

        Only what was sent alone (see ``_welcome``), over a connection on which others were acknowledged, is given up.
        """
        message = link.oldest_unacknowledged
        if message is None or not link.has_acknowledged:
            return
        self._strikes = self._strikes + 1 if message is self._suspected else 1
        self._suspected = message
        if self._strikes >= _GIVE_UP_AFTER:
            log.warning(
                "%s closes the connection whenever a message of %d bytes on %s is sent; it is dropped: "
                "check the broker's size limit and log",
                *(self._endpoint.url, len(message.payload), message.topic),
            )
            self.counters.dropped += 1
            if message.retain:
                self._retained.pop(message.topic, None)
            else:
                self._delivery.finish(message, dropped=True)
            self._suspected, self._strikes = None, 0

    def begin_goodbye(self) -> None:
        """Queue ``offline``, retained, so that the broker need not use the will."""
        if self._goodbye is None and self._status_topic is not None:
            self._goodbye = Message(self._status_topic, OFFLINE, 1, retain=True, handed_s=0.0)
            self._state.append(self._goodbye)

    @property
    def said_goodbye(self) -> bool:
        """Whether the broker has acknowledged ``offline``, or there is nothing to be said."""
        return self._status_topic is None or (self._goodbye is not None and self._goodbye.done)

    def end(self) -> None:
        """Close the link: politely if ``offline`` arrived, else so that the broker uses the will."""
        link, self.link = self.link, None
        if link is not None:
            self._note_acknowledged(link)
            if self.said_goodbye:
                link.disconnect()
            else:
                link.close()
        self.online = False

    def _look_at_attempt(self, now_s: float) -> None:
        if self._outcome is not None:
            self._untried = False
            (link, error), self._outcome, self._attempt = self._outcome, None, None
            if error is not None:
                raise error
            self.link = link
            self._since_s = self._misc_at_s = now_s
            link.write()
        elif self._attempt is None and now_s >= self._attempt_at_s:
            will = None if self._status_topic is None else (self._status_topic, OFFLINE)
            self._attempt = Link(self._endpoint, client_id=self._client_id, will=will)
            threading.Thread(target=self._connect, args=(self._attempt,), name="broker-connect", daemon=True).start()

    def _connect(self, link: Link) -> None:
        """Run one attempt, in its own thread."""
        error: BrokerError | None = None
        try:
            link.connect()
        except BrokerError as failure:
            error = failure
        except Exception as failure:  # a thread's top: an attempt that is never answered would be the last
            log.exception("the attempt to connect to %s failed", self._endpoint.url)
            error = BrokerError(str(failure))
        self._outcome = (link, error)
        self._wake()

    def _welcome(self, link: Link, now_s: float) -> None:
        """Tell the broker everything it must know: subscriptions, state, and only then what waited."""
        self.online = True
        self.counters.connects += 1
        self._since_s = self._progress_s = now_s
        self._warned = ""
        if self._strikes >= _CAREFUL_AFTER:
            link.window = 1
        self._delivery.window = link.window
        log.info("connected to the broker %s as %s", self._endpoint.url, self._client_id)
        if filters := self._routes.take_all():
            link.subscribe(filters)
        if self._status_topic is not None:
            self._state.append(Message(self._status_topic, ONLINE, 1, retain=True, handed_s=now_s))
        self._state.extend(self._retained.values())

    def _send(self, link: Link, now_s: float) -> None:
        if not link.in_flight:
            self._progress_s = now_s
        while link.in_flight < link.window:
            message = self._state.popleft() if self._state else self._delivery.next()
            if message is None:
                break
            link.publish(message)
            self.counters.published += 1

    def _take_answers(self, link: Link, now_s: float) -> None:
        if link.acknowledged:
            self._progress_s = now_s
            self._note_acknowledged(link)
            if self._suspected is not None and self._suspected.done:
                self._suspected, self._strikes = None, 0
        while link.received:
            self._heard_s = now_s
            topic, payload, retained = link.received.popleft()
            self._routes.dispatch(topic, payload, retained=retained)
        if link.refused_subscriptions:
            log.warning("%s refuses %d subscriptions: check its ACL", self._endpoint.url, link.refused_subscriptions)
            link.refused_subscriptions = 0

    def _note_acknowledged(self, link: Link) -> None:
        while link.acknowledged:
            message, refused = link.acknowledged.popleft()
            if refused is None:
                self.counters.acknowledged += 1
            else:
                self.counters.dropped += 1
                self._warn(f"{self._endpoint.url} refuses messages on {message.topic}: {refused}; check its ACL", 0.0)
            if message.retain:
                message.done = True
                if not message.payload and self._retained.get(message.topic) is message:
                    del self._retained[message.topic]  # a topic that was cleared need not be cleared again
            else:
                self._delivery.finish(message, dropped=refused is not None)

    def _check(self, link: Link, now_s: float) -> None:
        url = self._endpoint.url
        if not link.accepted and now_s - self._since_s > ANSWER_TIMEOUT_S:
            raise BrokerError(f"{url} accepts connections and does not answer; is it frozen, or no MQTT broker?")
        if link.in_flight and now_s - self._progress_s > ACKNOWLEDGE_TIMEOUT_S:
            raise BrokerError(f"{url} has acknowledged nothing for {ACKNOWLEDGE_TIMEOUT_S:g} s; connecting anew")
        if now_s >= self._misc_at_s:
            self._misc_at_s = now_s + _MISC_S
            link.misc()

    def _complain(self, error: BrokerError, now_s: float) -> None:
        if self.counters.connects == 0 and error.retryable and now_s - self._opened_s < _QUIET_START_S:
            return
        going_on = "trying again" if error.retryable else "trying again every half minute"
        self._warn(f"{error} ({going_on})", now_s)

    def _warn(self, text: str, now_s: float) -> None:
        """Log a line, the same one at most every ten minutes."""
        if text != self._warned or now_s - self._warned_at_s >= _REPEAT_WARNING_S:
            self._warned, self._warned_at_s = text, now_s
            log.warning("%s", text)
