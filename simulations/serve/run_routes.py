"""The addresses of runs: overview, details, journal and partition."""

import hashlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Path, Query
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send

from simulations.runs.run_reader import RunReader
from simulations.serve import answers, stream
from simulations.serve.answer_base import Answer, finite
from simulations.serve.figure_tables import score_table
from simulations.serve.front import HEAD
from simulations.serve.service import Service
from simulations.serve.summaries import partition_of

JSON = "application/json"
_MOST_LINES = 10_000

RunName = Annotated[str, Path(max_length=500, description="a run's id, as /api/runs lists it")]
Known = Annotated[str | None, Header(max_length=500, description="the ETag of what you have")]
FirstLine = Annotated[int, Query(ge=0, le=10**9, description="lines to leave out at the beginning")]
NumLines = Annotated[int, Query(ge=1, le=_MOST_LINES, description="lines at most")]
Accept = Annotated[str, Header(description="text/event-stream for a live stream")]
LastEventId = Annotated[str, Header(pattern=r"^[0-9]{0,15}$", description="of a stream: the last id that you have")]
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "as you have it"}}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": answers.Problem, "description": "no such thing"}}
INVALID: dict[int | str, dict[str, Any]] = {
    401: {"model": answers.Problem, "description": "the token is missing"},
    403: {"model": answers.Problem, "description": "sent to another host name, or by a page of another site"},
    422: {"model": answers.Problem, "description": "what is not allowed, in words"},
}


def make_run_routes(service: Service) -> APIRouter:
    """Returns the addresses of runs; functions without ``async`` run in threads, as they read files."""
    router = APIRouter(prefix="/api/runs", tags=["runs"], responses=INVALID)
    _add_overview(router, service)
    _add_journal(router, service)
    return router


def _add_overview(router: APIRouter, service: Service) -> None:
    @router.get("", response_model=answers.Runs, responses=UNCHANGED)
    def list_runs(if_none_match: Known = None) -> Response:
        """All runs at a glance."""
        runs = [service.summaries.of(record) for record in service.library.all().values()]
        return as_json(answers.Runs(runs=runs, score_table=score_table()), if_none_match)

    @router.get("/{run}", response_model=answers.RunDetail, responses={**NOT_FOUND, **UNCHANGED})
    def show_run(run: RunName, if_none_match: Known = None) -> Response:
        """A run in full: curves, clients, what goes wrong."""
        return tagged(service.details.of(find(service, run)), JSON, if_none_match)

    @router.get("/{run}/partition", response_model=answers.Partition, responses=NOT_FOUND)
    def show_partition(run: RunName) -> answers.Partition:
        """How many examples of each class each client holds."""
        view = find(service, run).view()
        if not view.roster:
            of_it = [problem for problem in view.problems if problem.startswith("partition.json")]
            raise HTTPException(404, of_it[0] if of_it else "the clients have not answered yet")
        return partition_of(view)


def _add_journal(router: APIRouter, service: Service) -> None:
    @router.get(
        "/{run}/journal",
        response_model=answers.Journal,
        responses={
            **NOT_FOUND,
            **UNCHANGED,
            200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
            204: {"description": "the run has ended, and you have its whole stream: do not reconnect"},
            429: {"model": answers.Problem, "description": "too many streams"},
        },
    )
    def show_journal(
        run: RunName,
        first: FirstLine = 0,
        num: NumLines = 1000,
        accept: Accept = "application/json",
        last_event_id: LastEventId = "",
        if_none_match: Known = None,
    ) -> Response:
        """The journal: lines of rounds and of events. With `Accept: text/event-stream` live, from the first line on.

        A stream ends with the event `end` when the run has ended. To poll instead, use `first`.
        """
        record = find(service, run)
        if "text/event-stream" in accept:
            return _streamed(service, record, int(last_event_id or 0))
        view = record.view()
        lines = [finite(line) for line in view.journal[first : first + num]]
        total = len(view.journal)
        found = answers.Journal(lines=lines, unreadable=view.unreadable, total=total, cuts=view.cuts)
        return as_json(found, if_none_match)


def find(service: Service, run: str) -> RunReader:
    """Returns the record of a run.

    Raises:
        HTTPException: 404: there is no such run.
    """
    record = service.library.get(run)
    if record is None:
        raise HTTPException(404, "there is no run of that name: GET /api/runs lists them")
    return record


def as_json(found: Answer, known: str | None) -> Response:
    """Returns an answer as JSON, see ``tagged``."""
    return tagged(found.model_dump_json(by_alias=True).encode(), JSON, known)


def tagged(content: bytes, media: str, known: str | None) -> Response:
    """Returns an answer with a tag of its content, and without its content to whoever has it already."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if known is not None and (tag in known or known.strip() == "*"):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media, headers=headers)


def _streamed(service: Service, record: RunReader, offset: int) -> Response:
    if offset and stream.is_over(record) and offset == record.offset:
        return Response(status_code=204)  # upon which a browser does not reconnect
    if not service.open_stream():
        raise HTTPException(429, "too many streams are open", {"Retry-After": "10"})
    return _Stream(service, stream.events(record, offset, service.is_stopping))


class _Stream(EventSourceResponse):
    """A stream that is counted until it has ended, also where it never began.

    It is returned, not declared for the route: FastAPI would then make a stream of every answer of the address.
    """

    def __init__(self, service: Service, lines: AsyncIterator[bytes]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(lines, headers=headers)
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends until the run has ended, the server stops or the reader has gone."""
        try:
            if scope.get(HEAD):
                await Response(headers=dict(self.headers))(scope, receive, send)
            else:
                await super().__call__(scope, receive, send)
        finally:
            self._service.close_stream()
