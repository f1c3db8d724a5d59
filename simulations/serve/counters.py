"""What the server counts, as Prometheus reads it."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
Rows = Iterable[tuple[Mapping[str, str], float]]


class Counters:
    """Counts of requests, by route and status, and how long answers took to begin."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._buckets: Counter[tuple[str, int]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._answers: Counter[str] = Counter()

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answer."""
        with self._lock:
            self._requests[method, route, str(status)] += 1
            self._answers[route] += 1
            self._seconds[route] += seconds  # type: ignore[assignment]
            for index, bound in enumerate(_BOUNDS):
                self._buckets[route, index] += seconds <= bound

    def text(self) -> str:
        """Returns the counts as Prometheus text."""
        with self._lock:
            requests = [({"method": m, "route": r, "status": s}, n) for (m, r, s), n in sorted(self._requests.items())]
            name = "fedgan_request_seconds"
            lines = [f"# HELP {name} Time until an answer begins.", f"# TYPE {name} histogram"]
            for route in sorted(self._answers):
                for index, bound in enumerate(_BOUNDS):
                    labels = {"route": route, "le": f"{bound:g}"}
                    lines.append(_row(f"{name}_bucket", labels, self._buckets[route, index]))
                lines.append(_row(f"{name}_bucket", {"route": route, "le": "+Inf"}, self._answers[route]))
                lines.append(_row(f"{name}_sum", {"route": route}, self._seconds[route]))
                lines.append(_row(f"{name}_count", {"route": route}, self._answers[route]))
        return family("fedgan_requests_total", "counter", "Answers.", requests) + "\n".join(lines) + "\n"


class Counted:
    """Counts what goes through it; the route is the pattern, never the path, which anybody may make up."""

    def __init__(self, app: ASGIApp, counters: Counters) -> None:
        self._app = app
        self._counters = counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, and counts its answer."""
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


def family(name: str, kind: str, meaning: str, rows: Rows) -> str:
    """Returns one metric with its rows, as text."""
    lines = [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", *(_row(name, *row) for row in rows)]
    return "\n".join(lines) + "\n"


def _row(name: str, labels: Mapping[str, str], value: float) -> str:
    inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{inner}}} {value!r}" if inner else f"{name} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
