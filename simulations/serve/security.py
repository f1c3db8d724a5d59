"""Access: who may send requests, how large they may be, and what a browser may do with the answers."""

import asyncio
import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.errors import ConfigError

COOKIE = "fedgan"
SHORTEST_TOKEN = 16
MOST_BYTES = 4 * 2**20
"""Of a request's body."""
_BODY_SECONDS = 20.0
_LOCAL_NAMES = {"localhost", "127.0.0.1", "[::1]"}
_OPEN = {"/healthz"}

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def is_loopback(host: str) -> bool:
    """Returns whether only this machine reaches a server on ``host``."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def check_access(host: str, token: str) -> None:
    """Checks that a server which others can reach has a token that cannot be guessed.

    Raises:
        ConfigError: Another host without a token, or a token that is short or cannot be sent in a header.
    """
    if not token and not is_loopback(host):
        raise ConfigError(
            f"--host {host}: others could use this server, so it needs a --token (or FEDGAN_TOKEN), such as the output "
            "of: openssl rand -hex 16"
        )
    if token and (len(token) < SHORTEST_TOKEN or not all("!" <= c <= "~" for c in token)):
        raise ConfigError(
            f"--token: take {SHORTEST_TOKEN} characters or more, ASCII without spaces: openssl rand -hex 16"
        )


class AccessMiddleware:
    """Lets in requests with the token; without one, those that name this machine and come from its own page.

    A page of another site that is open in a browser on this machine is refused: its requests carry another ``Host`` (a
    name that was made to point here) or another ``Origin``.

    Args:
        app: What is behind it.
        token: Empty: none is needed, as only this machine reaches the server.
        page: Its files by path below ``/``, with their media types. They hold no figure, and are shown to everybody, as
            the page asks for the token.
    """

    def __init__(self, app: ASGIApp, token: str, page: Mapping[str, tuple[bytes, str]]) -> None:
        self._app = app
        self._page = page
        self._token = _hashed(token) if token else None
        self._cookie = hashlib.sha256(f"fedgan cookie {token}".encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 401 or 403, or passes the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answer = self._own(headers) if self._token is None else self._known(scope, headers)
        answer = answer or self._same_origin(headers)
        if answer is None:
            await self._app(scope, receive, send)
        else:
            await answer(scope, receive, send)

    def _own(self, headers: Headers) -> Response | None:
        name = headers.get("host", "").lower()
        name = name[: name.rfind("]") + 1] if name.startswith("[") else name.partition(":")[0]
        if name in _LOCAL_NAMES:
            return None
        return JSONResponse(
            {"detail": "use the name localhost: without a token this server answers its own machine only"}, 403
        )

    def _known(self, scope: Scope, headers: Headers) -> Response | None:
        if scope["path"] in _OPEN or scope["path"][1:] in self._page:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip()):
            return None
        if hmac.compare_digest(_cookie_in(headers).encode(), self._cookie.encode()):
            return None
        if scope["path"] == "/":
            query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
            if self._is_token(query.get("token", [""])[0]):
                answer = RedirectResponse("./", 303)
                # Without a path a browser takes that of the page: the prefix, where a proxy has given it one.
                answer.set_cookie(COOKIE, self._cookie, path=None, httponly=True, samesite="strict")
                return answer
            content, kind = self._page["index.html"]
            return Response(content, 401, media_type=kind)
        return JSONResponse(
            {"detail": "send the token: Authorization: Bearer ..."}, 401, {"WWW-Authenticate": "Bearer"}
        )

    def _is_token(self, given: str) -> bool:
        assert self._token is not None
        return hmac.compare_digest(_hashed(given), self._token)

    def _same_origin(self, headers: Headers) -> Response | None:
        origin = headers.get("origin")
        if origin is None or _place(origin) == headers.get("host", "").lower():
            return None
        return JSONResponse({"detail": "requests of other sites' pages are refused"}, 403)


class ResponsePolicyMiddleware:
    """Puts security headers on every answer, and refuses bodies that are too long or too slow."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str] = HEADERS) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads the body, and hands the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for key, value in self._headers.items():
                    headers.setdefault(key, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            body = await asyncio.wait_for(_body(scope, receive), _BODY_SECONDS)
        except TimeoutError:
            refused: str | bytes = f"the request was not sent within {_BODY_SECONDS:.0f} seconds"
        else:
            refused = body if isinstance(body, str) else ""
        if refused:
            status = 413 if "bytes" in str(refused) else 408
            answer = JSONResponse({"detail": refused}, status, {"Connection": "close"})
            await answer(scope, receive, send_with_headers)
            return
        sent = False

        async def read() -> Message:
            nonlocal sent
            if sent:
                return await receive()  # that the client has gone
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, read, send_with_headers)


async def _body(scope: Scope, receive: Receive) -> bytes | str:
    """Returns the body of a request, or why it is not taken."""
    too_long = f"a request may have {MOST_BYTES:,} bytes"
    length = Headers(scope=scope).get("content-length", "0")
    if not length.isdecimal() or len(length) > 12 or int(length) > MOST_BYTES:
        return too_long
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > MOST_BYTES:
            return too_long
        if message["type"] != "http.request" or not message.get("more_body", False):
            return b"".join(chunks)


def _hashed(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _cookie_in(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
