"""What the server counts, as Prometheus reads it."""

import time
from collections.abc import Iterator

from prometheus_client import Counter, Histogram, Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds


class Counters:
    """Counts of requests, by route and status, and how long answers took to begin.

    A collector for a registry of ``prometheus_client``; it is in no global one, so that each application has its own.
    """

    def __init__(self) -> None:
        self._requests = Counter("fedgan_requests", "Answers.", ["method", "route", "status"], registry=None)
        self._seconds = Histogram(
            "fedgan_request_seconds", "Time until an answer begins.", ["route"], registry=None, buckets=_BOUNDS
        )

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answer."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """Yields the counts, without when each began, which the library can turn off for a whole process only."""
        for kind in (self._requests, self._seconds):
            for metric in kind.collect():
                metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
                yield metric


class CountingMiddleware:
    """Counts what goes through it; the route is the pattern, never the path, which anybody may make up."""

    def __init__(self, app: ASGIApp, counters: Counters) -> None:
        self._app = app
        self._counters = counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands the request on, and counts its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "other")
                method = scope["method"] if scope["method"] in ("GET", "POST") else "other"
                self._counters.count(method, route, message["status"], time.perf_counter() - start)
            await send(message)

        await self._app(scope, receive, counted)
