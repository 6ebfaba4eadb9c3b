"""From the inference thread to the sinks: what is published, under which number, and when it is enough."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from edge_runtime.errors import StoreError
from edge_runtime.outlets import Outlet, hand_to
from edge_runtime.protocols import Handed
from edge_runtime.sinks.policy import PublishPolicy
from edge_runtime.store.sequence import SequenceStore
from edge_runtime.types import Prediction

log = logging.getLogger(__name__)


class Dispatcher:
    """Hands each prediction to every sink, and to the observers with its frame. Belongs to the inference thread."""

    def __init__(
        self,
        *,
        policies: Mapping[str, PublishPolicy],
        live: Mapping[str, bool],
        sequences: SequenceStore,
        sinks: Sequence[Outlet],
        stop: threading.Event,
        limit: int | None = None,
        observers: Sequence[Callable[[Prediction], None]] = (),
    ) -> None:
        self._policies = policies
        self._live = live
        self._sequences = sequences
        self._sinks = sinks
        self._stop = stop
        self._limit = limit
        self._observers = observers
        self._count = 0
        self.unnumbered = 0
        """Predictions kept back because no number could be reserved for them."""

    def hand_over(self, prediction: Prediction) -> None:
        """Number a prediction if it is published, and queue it for every sink."""
        if self._limit is not None and self._count >= self._limit:
            return
        stream = prediction.stream
        seq = self._number(stream) if self._policies[stream].wants(prediction) else None
        # Without its frame: a queue of predictions must not hold a queue of pictures.
        handed = Handed(replace(prediction, frame=None), seq, self._sequences.start_of(stream))
        hand_to(self._sinks, handed, live=self._live[stream], stop=self._stop)
        for observe in self._observers:
            observe(prediction)
        self._count += 1
        if self._count == self._limit:
            self._stop.set()

    def _number(self, stream: str) -> int | None:
        """Return the next ``seq``; None, and counted, when the disk has refused so long that a number might repeat."""
        try:
            return self._sequences.next(stream)
        except StoreError as error:
            if self.unnumbered == 0:
                log.error("predictions are not published: %s", error)
            self.unnumbered += 1
            return None

    def forget(self, stream: str) -> None:
        """Let the next prediction of a stream be published whatever it says: the stream was away. Any thread."""
        self._policies[stream].forget(stream)
