"""Requests as the routes know them: without a proxy's prefix, and GET instead of HEAD."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEAD = "fedgan-head"
"""In a request's scope: it was a HEAD request, so only the headers of the answer are sent."""


class PrefixMiddleware:
    """Takes the prefix from a request's path, and answers HEAD with the head of what GET would get.

    Links of the page and of ``/docs`` are relative, so behind a proxy that takes its prefix away nothing needs to know
    of it. For one that leaves it there (and for an application that this one is mounted in) it is taken away here.

    Args:
        app: What is behind it.
        prefix: ``/fedgan``; empty: none. Requests without it are answered as well.
    """

    def __init__(self, app: ASGIApp, prefix: str = "") -> None:
        self._app = app
        self._prefix = prefix.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = _without(_without(scope["path"], scope.get("root_path", "").rstrip("/")), self._prefix)
        if not path:  # the prefix without its slash, below which relative links would lead elsewhere
            await _to_the_folder(scope, send)
            return
        inner = {**scope, "path": path, "raw_path": path.encode("utf-8", "surrogateescape"), "root_path": ""}
        if scope["method"] != "HEAD":
            await self._app(inner, receive, send)
            return
        ended = False

        async def send_head(message: Message) -> None:
            nonlocal ended
            if message["type"] == "http.response.start":
                await send(message)
            elif not ended and not message.get("more_body", False):
                ended = True
                await send({"type": "http.response.body", "body": b""})

        await self._app({**inner, "method": "GET", HEAD: True}, receive, send_head)


async def _to_the_folder(scope: Scope, send: Send) -> None:
    last = scope["path"].rpartition("/")[2]
    query = scope.get("query_string", b"")
    place = f"{last}/".encode() + (b"?" + query if query else b"")
    await send({"type": "http.response.start", "status": 307, "headers": [(b"location", place)]})
    await send({"type": "http.response.body", "body": b""})


def _without(path: str, prefix: str) -> str:
    if prefix and (path == prefix or path.startswith(f"{prefix}/")):
        return path[len(prefix) :]
    return path
