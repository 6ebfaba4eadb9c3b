"""The web application: a page, a stream of events, pictures, and one command."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, Protocol

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from edge_runtime._version import __version__
from edge_runtime.dashboard.security import Guard, Policy
from edge_runtime.dashboard.snapshots import Pace
from edge_runtime.dashboard.state import Fleet
from edge_runtime.dashboard.subscriber import wall_ms

STATIC: Final = Path(__file__).parent / "static"
TYPES: Final = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
TICK_S: Final = 0.15
HEARTBEAT_S: Final = 10.0
SEND_S: Final = 15.0
CLIENTS: Final = 16


class Snapshooter(Protocol):
    """Who can ask a device for a picture."""

    def request_snapshot(self, device: str, stream: str) -> bool:
        """Ask; False when the broker is away."""
        ...


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page, read once at the start. No request ever opens a file."""

    content: bytes
    media_type: str
    etag: str


def load_assets(folder: Path = STATIC) -> dict[str, Asset]:
    """Read the page's files, by their path below ``folder``."""
    assets = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in TYPES:
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
            assets[path.relative_to(folder).as_posix()] = Asset(content, TYPES[path.suffix], etag)
    return assets


def page_version(assets: Mapping[str, Asset]) -> str:
    """Return a name for exactly these files, so that a page left open notices that it was replaced."""
    digest = hashlib.sha256("".join(asset.etag for asset in assets.values()).encode())
    return f"{__version__}-{digest.hexdigest()[:8]}"


class Application:
    """The routes and what they look at. All of it runs in the server's one thread."""

    def __init__(self, fleet: Fleet, snapshooter: Snapshooter, *, closing: Callable[[], bool]) -> None:
        self._fleet = fleet
        self._snapshooter = snapshooter
        self._closing = closing
        self._assets = load_assets()
        self._page = page_version(self._assets)
        self._pace = Pace()
        self._clients = 0

    def guarded(self, policy: Policy) -> ASGIApp:
        """Return the application behind its guard."""
        stream = "/api/devices/{device}/streams/{stream}"
        routes = [
            Route("/", self._index),
            Route("/favicon.ico", self._favicon),
            Route("/static/{path:path}", self._static),
            Route("/api/state", self._state),
            Route("/api/events", self._events),
            Route(f"{stream}/snapshot.jpg", self._picture),
            Route(f"{stream}/snapshot", self._ask, methods=["POST"]),
        ]
        return Guard(Starlette(routes=routes), policy=policy, login_page=self._assets["login.html"].content)

    async def _index(self, request: Request) -> Response:
        return self._asset("index.html", request)

    async def _favicon(self, request: Request) -> Response:
        return self._asset("favicon.svg", request)

    async def _static(self, request: Request) -> Response:
        return self._asset(request.path_params["path"], request)

    def _asset(self, name: str, request: Request) -> Response:
        asset = self._assets.get(name)
        if asset is None:
            return PlainTextResponse("No such file.", HTTPStatus.NOT_FOUND)
        headers = {"etag": asset.etag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == asset.etag:
            return Response(None, HTTPStatus.NOT_MODIFIED, headers)
        return Response(asset.content, headers=headers, media_type=asset.media_type)

    async def _state(self, _request: Request) -> Response:
        return Response(self._patch(0)[1], media_type="application/json")

    async def _picture(self, request: Request) -> Response:
        jpeg = self._fleet.snapshot(request.path_params["device"], request.path_params["stream"])
        if jpeg is None:
            return PlainTextResponse("No picture yet.", HTTPStatus.NOT_FOUND)
        return Response(jpeg, media_type="image/jpeg")

    async def _ask(self, request: Request) -> Response:
        """Ask the device for a picture: only a device and a stream that were heard, and at most once a second."""
        device, stream = request.path_params["device"], request.path_params["stream"]
        if not self._fleet.has_stream(device, stream):
            return PlainTextResponse("No such stream.", HTTPStatus.NOT_FOUND)
        due = self._pace.allows((device, stream), now_s=time.monotonic())
        if due and not self._snapshooter.request_snapshot(device, stream):
            return PlainTextResponse("The broker is away.", HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(status_code=HTTPStatus.ACCEPTED)

    def _patch(self, since: int) -> tuple[int, bytes]:
        version, changes = self._fleet.patch(since)
        if changes.get("full"):
            changes["page"] = self._page
        return version, msgspec.json.encode(changes | {"now_ms": wall_ms()})

    async def _events(self, _request: Request) -> Response:
        if self._clients >= CLIENTS:
            text = f"{CLIENTS} pages are open already; close one."
            return PlainTextResponse(text, HTTPStatus.SERVICE_UNAVAILABLE, {"retry-after": "10"})
        return _EventStream(self._follow)

    async def _follow(self, receive: Receive, send: Send) -> None:
        """Send one page the state, then what changes, at most every ``TICK_S``.

        The version the page has is all that is kept for it. While it does not read, nothing is sent and nothing piles
        up; after ``SEND_S`` it is let go, and its browser comes back by itself.
        """
        self._clients += 1
        gone = asyncio.ensure_future(_gone(receive))
        try:
            version, sent_s = 0, time.monotonic() - HEARTBEAT_S
            while not gone.done() and not self._closing():
                due = time.monotonic() - sent_s >= HEARTBEAT_S
                # Polling a number, while a page is open, is cheaper than waking this thread for each MQTT message.
                if due or self._fleet.version != version:
                    version, data = self._patch(version)
                    async with asyncio.timeout(SEND_S):
                        await send(_chunk(b"data: " + data + b"\n\n"))
                    sent_s = time.monotonic()
                await asyncio.wait({gone}, timeout=TICK_S)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            return  # the server closes a connection whose answer was left unfinished
        finally:
            gone.cancel()
            self._clients -= 1


class _EventStream(Response):
    """A response that is written for as long as the page listens."""

    media_type = "text/event-stream"

    def __init__(self, follow: Callable[[Receive, Send], Awaitable[None]]) -> None:
        super().__init__()
        self._follow = follow
        del self.headers["content-length"]
        self.headers["x-accel-buffering"] = "no"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, then hand over."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "GET":
            await self._follow(receive, send)
        else:
            await send({"type": "http.response.body", "body": b""})


def _chunk(body: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
