"""Who may look, from where, and what a browser is told never to do.

One layer around the whole application, so that no route can be forgotten:

- the ``Host`` header must be an address or a name of this machine (else a page elsewhere could rebind its name to us);
- what a browser asks for another site's page is refused (``Sec-Fetch-Site``), and a POST must carry our ``Origin``;
- with a token, every request needs it: once as ``?token=``, from then on as a cookie that scripts cannot read;
- every answer carries a content security policy that allows nothing but our own files.
"""

import hashlib
import hmac
import ipaddress
import socket
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_runtime.dashboard.settings import DashboardSettings

COOKIE_AGE_S: Final = 30 * 24 * 3600
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
LOGIN_PATHS: Final = frozenset({"/static/style.css", "/static/theme.js", "/static/favicon.svg"})
"""What the page that asks for the token needs to be drawn."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules, as pure functions of a request's headers."""

    token: str | None
    names: frozenset[str]
    cookie: str
    """Browsers share cookies between ports, so the port is part of its name."""

    @classmethod
    def of(cls, settings: DashboardSettings, *, port: int) -> "Policy":
        """Return the rules for settings that listen on ``port``."""
        own = socket.gethostname().lower()
        names = {"localhost", own, f"{own}.local", own.partition(".")[0], settings.host, *settings.names}
        return cls(settings.token, frozenset(name.lower() for name in names if name), f"edge_infer_{port}")

    def knows_host(self, header: str) -> bool:
        """Whether a ``Host`` header is an address (which nobody can rebind) or a name of this machine."""
        host = header.rpartition(":")[0] if header.rpartition(":")[2].isdecimal() else header
        host = host.lower().rstrip(".")
        if host in self.names:
            return True
        try:
            ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True

    def knows_token(self, token: str) -> bool:
        """Compare with the token in constant time."""
        return self.token is not None and hmac.compare_digest(token.encode(), self.token.encode())

    @property
    def cookie_value(self) -> str:
        """What the cookie holds: derived from the token, so that the cookie does not give the token away."""
        key = (self.token or "").encode()
        return hmac.new(key, self.cookie.encode(), hashlib.sha256).hexdigest()

    @property
    def set_cookie(self) -> str:
        """The header that gives the cookie to a browser."""
        return f"{self.cookie}={self.cookie_value}; Max-Age={COOKIE_AGE_S}; Path=/; HttpOnly; SameSite=Strict"

    def admits(self, headers: Headers) -> bool:
        """Whether a request without ``?token=`` may pass: no token is set, or its cookie or bearer token is right."""
        if self.token is None:
            return True
        cookie = cookie_parser(headers.get("cookie", "")).get(self.cookie, "")
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        return hmac.compare_digest(cookie.encode(), self.cookie_value.encode()) or (
            scheme.lower() == "bearer" and self.knows_token(bearer.strip())
        )


class Guard:
    """The layer itself; plain ASGI, so that event streams pass through it unbuffered."""

    def __init__(self, app: ASGIApp, *, policy: Policy, login_page: bytes) -> None:
        self._app = app
        self._policy = policy
        self._login_page = login_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request itself where it must not pass; else pass it on and add the headers."""
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
                if self._brings_token(scope):
                    headers.append("set-cookie", self._policy.set_cookie)
            await send(message)

        answer = self._refusal(scope) or self._turned_away(scope) or self._app
        await answer(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._policy.knows_host(host):
            text = (
                "This is not a name of the machine that serves the dashboard; use its address, or start it with --name."
            )
            return PlainTextResponse(text, HTTPStatus.MISDIRECTED_REQUEST)
        if scope["method"] not in {"GET", "HEAD", "POST"}:
            return PlainTextResponse("Not allowed.", HTTPStatus.METHOD_NOT_ALLOWED)
        site = headers.get("sec-fetch-site", "none")
        navigation = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
        if site not in {"same-origin", "none"} and not navigation:
            return PlainTextResponse("Another site may not ask for this.", HTTPStatus.FORBIDDEN)
        if scope["method"] == "POST" and headers.get("origin") not in {f"http://{host}", f"https://{host}"}:
            return PlainTextResponse("Another site may not ask for this.", HTTPStatus.FORBIDDEN)
        return None

    def _turned_away(self, scope: Scope) -> Response | None:
        if scope["path"] in LOGIN_PATHS or self._brings_token(scope) or self._policy.admits(Headers(scope=scope)):
            return None
        if scope["path"] == "/":
            return Response(self._login_page, HTTPStatus.UNAUTHORIZED, media_type="text/html")
        return PlainTextResponse("The token is missing or wrong.", HTTPStatus.UNAUTHORIZED)

    def _brings_token(self, scope: Scope) -> bool:
        """Whether this is ``/?token=`` with the right token.

        It is answered with the page itself (which takes the token out of the address bar), not with a redirect: a
        browser that followed a link from another site would not send a ``SameSite=Strict`` cookie after a redirect.
        """
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        return scope["path"] == "/" and self._policy.knows_token(given)
