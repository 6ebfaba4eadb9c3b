"""The connection to the broker and the dashboard beside it: kept from one run to the next while nobody changes them."""

import logging
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from edge_runtime.config import Config
from edge_runtime.connect import BrokerLink, connect
from edge_runtime.stopping import Stop

log = logging.getLogger(__name__)

FLUSH_S: Final = 5.0
"""How long a run that has ended waits for the broker before it leaves the rest in the outbox."""
GOODBYE_S: Final = 1.0
DASHBOARD_S: Final = 3.0
FLUSH_KEEP_S, GOODBYE_KEEP_S, DASHBOARD_KEEP_S = 0.45, 0.15, 0.05
"""Of the time left to a process that was told to end: what flushing, saying goodbye and the dashboard leave over."""


class Links:
    """Opens what a configuration asks for, and opens it anew when another one asks for something else.

    A context manager; belongs to the main thread.
    """

    def __init__(self, *, device: str, state: Path) -> None:
        self._device = device
        self._state = state
        self._stack = ExitStack()
        self._opened: tuple[Any, Any] | None = None
        self._link: BrokerLink | None = None
        self._stop = Stop()

    def use(self, config: Config, stop: Stop, *, anew: bool = False) -> BrokerLink:
        """Return the connection for a configuration; closing it later has the time that ``stop`` leaves.

        Never waits for the broker. Raises ConfigError, UsageError, EdgeRuntimeError for a port in use.
        """
        wanted = (config.broker, config.dashboard)
        if anew or wanted != self._opened or self._link is None:
            self.close()
            self._link = self._open(config)
            self._opened = wanted
        self._stop = stop
        return self._link

    def close(self) -> None:
        """Send what can be sent in time, store the rest, say goodbye."""
        self._link = self._opened = None
        self._stack.close()

    def __enter__(self) -> Self:
        """Open nothing yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close."""
        self.close()

    def _open(self, config: Config) -> BrokerLink:
        with ExitStack() as undo:
            link = undo.enter_context(connect(config.broker, device=self._device, state=self._state))
            undo.callback(lambda: link.bus.close(self._stop.patience_s(GOODBYE_S, keep_s=GOODBYE_KEEP_S)))
            if config.dashboard.listen:
                self._open_dashboard(config, link, undo)
            undo.callback(lambda: self._flush(link))
            self._stack = undo.pop_all()
        return link

    def _open_dashboard(self, config: Config, link: BrokerLink, undo: ExitStack) -> None:
        from edge_runtime.dashboard.process import DashboardProcess
        from edge_runtime.dashboard.settings import DashboardSettings, parse_listen, read_token

        host, port = parse_listen(config.dashboard.listen or "", flag="--dashboard")
        token = read_token(config.dashboard.token_file)
        settings = DashboardSettings(host=host, port=port, token=token, broker=link.config)
        dashboard = undo.enter_context(DashboardProcess(settings))
        undo.callback(lambda: dashboard.close(self._stop.patience_s(DASHBOARD_S, keep_s=DASHBOARD_KEEP_S)))

    def _flush(self, link: BrokerLink) -> None:
        hopeless = self._stop.hurried and not link.bus.connected
        if unsent := link.bus.flush(0.0 if hopeless else self._stop.patience_s(FLUSH_S, keep_s=FLUSH_KEEP_S)):
            log.warning("the broker does not answer: %d messages stay in the outbox for the next run", unsent)
