"""The server's application: addresses, limits and the page, put together."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from mimetypes import guess_type
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from simulations.runs import provenance
from simulations.serve import documentation
from simulations.serve.counters import CountingMiddleware
from simulations.serve.front import PrefixMiddleware
from simulations.serve.generate_routes import make_generate_routes
from simulations.serve.health import make_health_routes
from simulations.serve.library import Library
from simulations.serve.limits import Limits
from simulations.serve.run_routes import make_run_routes
from simulations.serve.sample_routes import make_sample_routes
from simulations.serve.search_routes import make_search_routes
from simulations.serve.security import AccessMiddleware, ResponsePolicyMiddleware
from simulations.serve.service import Service

_LONGEST_DETAIL = 2000
_NO_JSON = "the body cannot be read as JSON"
_NO_OBJECT = 'the body is to be a JSON object, such as {"num": 4}, sent with Content-Type: application/json'
_ABOUT = "Runs of fedgan: what they do, and images of their generators. It reads run directories, and writes none."


def make_app(
    library: Library,
    token: str = "",
    limits: Limits | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
    prefix: str = "",
    in_processes: bool = False,
) -> FastAPI:
    """Returns the application.

    Args:
        library: The runs.
        token: Without which nothing is answered; empty: for this machine only, see ``security.AccessMiddleware``.
        limits: How much is taken on.
        is_stopping: Whether streams are to end.
        prefix: That a proxy leaves before each path, such as ``/fedgan``; see ``front.PrefixMiddleware``.
        in_processes: Whether images are made in processes of their own, and not in threads of this one.
    """
    service = Service(library, limits or Limits(), in_processes)
    service.is_stopping = is_stopping
    page = {path: _content(path, data) for path, data in _page_files()}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.making.start()
        yield
        await service.making.close()

    app = FastAPI(
        title="fedgan",
        version=provenance.software().removeprefix("fedgan").strip() or "0",
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        servers=[{"url": "."}],  # beside this document, whatever the prefix
        lifespan=lifespan,
        middleware=[
            Middleware(PrefixMiddleware, prefix=prefix),
            Middleware(CountingMiddleware, counters=service.counters),
            Middleware(ResponsePolicyMiddleware),
            Middleware(AccessMiddleware, token=token, page=page),
        ],
        exception_handlers={RequestValidationError: _refused, HTTPException: _problem, Exception: _defect},
    )
    app.state.service = service
    app.include_router(make_run_routes(service))
    app.include_router(make_sample_routes(service))
    app.include_router(make_generate_routes(service))
    app.include_router(make_search_routes(service))
    app.include_router(make_health_routes(service))
    _add_pages(app, page)
    return app


def _add_pages(app: FastAPI, contents: Mapping[str, tuple[bytes, str]]) -> None:
    """Adds ``/docs`` and the files of the page, read once: a request's path is looked up, and opens nothing."""

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(documentation.page(app.openapi()))

    @app.get("/docs.css", include_in_schema=False)
    def docs_style() -> Response:
        return Response(documentation.style(), media_type="text/css")

    @app.get("/docs.js", include_in_schema=False)
    def docs_script() -> Response:
        return Response(documentation.script(), media_type="text/javascript")

    @app.get("/{path:path}", include_in_schema=False)
    def page(path: str) -> Response:
        found = contents.get(path or "index.html")
        if found is None:
            raise HTTPException(404, "there is nothing here: see /docs")
        return Response(found[0], media_type=found[1], headers={"Cache-Control": "no-cache"})


def _page_files() -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    waiting = [("", files("simulations.serve") / "page")]
    while waiting:
        before, folder = waiting.pop()
        for entry in folder.iterdir():
            if entry.is_dir():
                waiting.append((f"{before}{entry.name}/", entry))
            else:
                found.append((f"{before}{entry.name}", entry.read_bytes()))
    return found


def _content(path: str, data: bytes) -> tuple[bytes, str]:
    kind = guess_type(path)[0] or "application/octet-stream"
    return data, f"{kind}; charset=utf-8" if kind.startswith("text/") or kind.endswith("javascript") else kind


async def _refused(request: Request, error: Exception) -> JSONResponse:
    """Answers what cannot be: names each value, of bounded length, in words."""
    assert isinstance(error, RequestValidationError)
    items = error.errors()
    for item in items:
        if item["type"] == "json_invalid":
            why = item.get("ctx", {}).get("error", "")
            return JSONResponse({"detail": f"{_NO_JSON}: character {item['loc'][-1]}: {why}"}, 400)
    words = "; ".join(_explained(item) for item in items[:10])
    return JSONResponse({"detail": words[:_LONGEST_DETAIL]}, 422)


def _explained(item: dict[str, Any]) -> str:
    if tuple(item["loc"]) == ("body",) and item["type"] in ("missing", "model_attributes_type"):
        return _NO_OBJECT
    place: Sequence[Any] = [part for part in item["loc"] if part not in ("body", "query", "path", "header")]
    where = ascii(".".join(map(str, place)))[1:-1][:200]
    message = str(item["msg"]).removeprefix("Value error, ")
    given = item.get("input")
    shown = f"={ascii(given)[:80]}" if where and not isinstance(given, dict | list) else ""
    return f"{where}{shown}: {message}" if where else message


async def _problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    said = _NO_JSON if error.status_code == 400 else str(error.detail)  # that of bytes which are no text
    return JSONResponse({"detail": said}, error.status_code, error.headers)


async def _defect(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "a defect of the server: its log says more"}, 500)
