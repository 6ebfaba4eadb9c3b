"""Run the dashboard: a socket, the subscription and the web server, until somebody ends it."""

import errno
import signal
import socket
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Final

from edge_runtime.dashboard.settings import DashboardSettings, bracketed, is_loopback, with_token
from edge_runtime.dashboard.state import Fleet
from edge_runtime.dashboard.subscriber import Subscriber
from edge_runtime.errors import EdgeRuntimeError, UsageError

BACKLOG: Final = 64
CONNECTIONS: Final = 128
ANYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on


def serve(
    settings: DashboardSettings,
    *,
    flag: str = "--dashboard",
    stop: threading.Event | None = None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> None:
    """Serve until SIGINT, SIGTERM or ``stop``; says ``dashboard: http://...`` once it listens.

    Raises UsageError for wrong settings, EdgeRuntimeError for an address that cannot be listened on (``flag`` names the
    option to change it with) or when the ``[dashboard]`` extra is not installed, KeyboardInterrupt after a clean end.
    """
    for library in ("starlette", "uvicorn"):
        if find_spec(library) is None:
            raise UsageError(f"the dashboard needs {library}: pip install 'edge-infer[dashboard]'")
    settings, generated = with_token(settings)
    endpoint = settings.broker.endpoint()
    _end_on_sigterm()
    with listen(settings.host, settings.port, flag=flag) as listener:
        shown = address(settings, port=listener.getsockname()[1], show_token=generated)
        _run(settings, listener, Subscriber(endpoint, Fleet()), stop=stop, ready=lambda: say(f"dashboard: {shown}"))


def _run(
    settings: DashboardSettings,
    listener: socket.socket,
    subscriber: Subscriber,
    *,
    stop: threading.Event | None,
    ready: Callable[[], None],
) -> None:
    import uvicorn

    from edge_runtime.dashboard.security import Policy
    from edge_runtime.dashboard.server import Application

    app = Application(subscriber.fleet, subscriber, closing=lambda: server.should_exit)
    config = uvicorn.Config(
        app.guarded(Policy.of(settings, port=listener.getsockname()[1])),
        log_config=None,
        access_log=False,  # it would write the token
        server_header=False,
        lifespan="off",
        ws="none",
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    if stop is not None:
        threading.Thread(target=_end, args=(server, stop), name="dashboard-stop", daemon=True).start()
    subscriber.start()
    try:
        ready()
        server.run(sockets=[listener])
    finally:
        subscriber.stop()


def _end_on_sigterm() -> None:
    """Make SIGTERM a clean end; the server sends itself the signal again once it has closed."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def _end(server: object, stop: threading.Event) -> None:
    stop.wait()
    server.should_exit = True  # type: ignore[attr-defined]


def listen(host: str, port: int, *, flag: str) -> socket.socket:
    """Return a listening socket. Raises EdgeRuntimeError that says what to do."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise UsageError(f"{flag} {host}:{port}: {error.strerror}") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise EdgeRuntimeError(f"port {port} is in use; choose another with {flag} HOST:PORT") from error
        raise EdgeRuntimeError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another address with {flag} HOST:PORT"
        ) from error
    return listener


def address(settings: DashboardSettings, *, port: int, show_token: bool) -> str:
    """Return the address to open: with the token in it only when nobody but us knows it yet."""
    host = _reachable() if settings.host in ANYWHERE else settings.host
    url = f"http://{bracketed(host)}:{port}/"
    if show_token:
        return f"{url}?token={settings.token}"
    return url if is_loopback(settings.host) else f"{url} (with your token)"


def _reachable() -> str:
    """Return this machine's address on the way out of the network (nothing is sent), else its name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
