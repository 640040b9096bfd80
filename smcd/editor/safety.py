"""Who may talk to the editor: the page that it serves, and nobody else's."""

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOCAL = ("127.0.0.1", "localhost", "[::1]")
_COOKIE = "smcd_token"
_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob: data:",
            "media-src 'self' blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class OnlyOwnPage:
    """Middleware that refuses requests which another site's page makes, or names the server by another host.

    Without a token the server is for this machine: the Host header must say so, so that no name of another site that
    resolves to this machine is served (DNS rebinding). With a token, which is in the URL that the user opens and then
    in a cookie of the browser, any name does, since another site does not have it.
    """

    def __init__(self, app: ASGIApp, token: str | None = None):
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        if refusal := _foreign(headers, scope) or self._unknown(headers):
            await JSONResponse({"error": refusal}, 403)(scope, receive, send_safely)
        elif self._token is None or self._same(_cookie(headers)):
            await self._app(scope, receive, send_safely)
        elif self._same(parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]):
            response = RedirectResponse("/", 303)
            response.set_cookie(_COOKIE, self._token, httponly=True, samesite="strict")
            await response(scope, receive, send_safely)
        else:
            refusal = "this needs the token: open the whole address that smcd edit has printed"
            await JSONResponse({"error": refusal}, 403)(scope, receive, send_safely)

    def _same(self, token: str) -> bool:
        return self._token is not None and secrets.compare_digest(token.encode(), self._token.encode())

    def _unknown(self, headers: Headers) -> str | None:
        """Why the name by which the server is called is refused."""
        name = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
        if self._token is None and name not in _LOCAL:
            return "this server is for its own machine: open it as localhost, or start it with --host"
        return None


def _foreign(headers: Headers, scope: Scope) -> str | None:
    """Why a request is refused that comes from another site's page; browsers say where a request comes from."""
    refusal = "a page of another site may not use the editor"
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return refusal
    followed_a_link = scope["method"] == "GET" and scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not followed_a_link:
        return refusal
    return None


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(_COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""
