"""The addresses of searches: their trials, what their scores depend on, and the best settings."""

from pathlib import PurePath
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Path
from fastapi.responses import Response
from pydantic import Field

from common.errors import CheckpointError
from simulations.runs.search_record import FinalistRow, ParameterRow, SearchReader, SearchRecord, TrialRow
from simulations.serve import answers
from simulations.serve.answer_base import Answer
from simulations.serve.figure_tables import ScoreInfo, score_table
from simulations.serve.run_routes import INVALID, NOT_FOUND, UNCHANGED, Known, as_json
from simulations.serve.service import Service

SearchName = Annotated[str, Path(max_length=500, description="a search's id, as /api/searches lists it")]


class SearchSummary(Answer):
    """A search at a glance."""

    id: str = Field(description="in addresses")
    at_work: bool | None = Field(description="whether a process is at work on it; null: the system does not tell")
    problem: str = Field(description="why its record cannot be read; empty: it can")
    metric: str = Field(description="the score that is searched for; empty where the record cannot be read")
    better: Literal["lower", "higher"]
    made: int = Field(description="trials, those under way among them")
    trials: int = Field(description="trials that were requested")
    best: int | None = Field(description="the trial with the best settings; null: none yet")
    value: float | None = Field(description="its score: the mean of its repetitions where there are some")
    seconds: float = Field(description="how long it was at work")
    ended: str = Field(description="why no further trial is made; empty while there are some to make")
    updated: float = Field(description="when its record last changed, seconds since 1970")


class SearchDetail(SearchSummary):
    """A search in full."""

    preset: str = Field(description="what is not searched")
    sampler: str
    pruner: str
    budget: float | None = Field(description="seconds that it may take; null: any number")
    left_out: int = Field(description="draws that were no trial: no configuration, or settings that were tried before")
    parameters: list[ParameterRow] = Field(description="what is drawn, with what each tells of the score")
    rows: list[TrialRow] = Field(description="the trials; `run` is a run's id, empty if it is not there any more")
    finalists: list[FinalistRow] = Field(description="trials that were repeated with other seeds, best first")
    settings: dict[str, bool | int | float | str] = Field(description="the best ones, by key of the configuration")
    score_table: list[ScoreInfo] = Field(description="the scores that there are, in the order in which to show them")


class Searches(Answer):
    """All searches."""

    searches: list[SearchSummary]


def make_search_routes(service: Service) -> APIRouter:
    """Returns the addresses of searches."""
    router = APIRouter(prefix="/api/searches", tags=["searches"], responses=INVALID)

    @router.get("", response_model=Searches, responses=UNCHANGED)
    def list_searches(if_none_match: Known = None) -> Response:
        """All searches at a glance."""
        found = [_summary(reader) for reader in service.library.searches().values()]
        return as_json(Searches(searches=found), if_none_match)

    @router.get(
        "/{search}",
        response_model=SearchDetail,
        responses={**NOT_FOUND, **UNCHANGED, 409: {"model": answers.Problem, "description": "its record is not whole"}},
    )
    def show_search(search: SearchName, if_none_match: Known = None) -> Response:
        """A search in full: trials, finalists, what the score depends on."""
        reader = service.library.searches().get(search)
        if reader is None:
            raise HTTPException(404, "there is no search of that name: GET /api/searches lists them")
        try:
            record = reader.record()
        except CheckpointError as error:
            raise HTTPException(409, _without_folder(reader, error)) from None
        return as_json(_detail(service, reader, record), if_none_match)

    return router


def _summary(reader: SearchReader) -> SearchSummary:
    try:
        record, problem = reader.record(), ""
    except CheckpointError as error:
        problem = _without_folder(reader, error)
        record = SearchRecord(metric="", better="lower", preset="", config={}, sampler="", pruner="", trials=0)
    return _at_a_glance(reader, record, problem)


def _at_a_glance(reader: SearchReader, record: SearchRecord, problem: str = "") -> SearchSummary:
    best = next((row for row in record.rows if row.number == record.best), None)
    repeated = next((row for row in record.finalists if row.trial == record.best), None)
    mean = repeated.mean if repeated else None
    return SearchSummary(
        id=reader.name,
        at_work=reader.at_work(),
        problem=problem,
        metric=record.metric,
        better=record.better,
        made=len(record.rows),
        trials=record.trials,
        best=record.best,
        value=mean if mean is not None else best.value if best else None,
        seconds=record.seconds,
        ended=record.ended,
        updated=reader.updated(),
    )


def _detail(service: Service, reader: SearchReader, record: SearchRecord) -> SearchDetail:
    best = next((row for row in record.rows if row.number == record.best), None)
    return SearchDetail(
        **dict(_at_a_glance(reader, record)),
        preset=PurePath(record.preset).name,
        sampler=record.sampler,
        pruner=record.pruner,
        budget=record.budget,
        left_out=record.left_out,
        parameters=record.parameters,
        rows=[
            row.model_copy(update={"run": service.library.id_of(reader.folder.trial(row.number).path)})
            for row in record.rows
        ],
        finalists=record.finalists,
        settings=best.settings if best else {},
        score_table=score_table(),
    )


def _without_folder(reader: SearchReader, error: CheckpointError) -> str:
    """Returns an error in words that name none of the host's folders."""
    return str(error).replace(f"{reader.folder.path}/", "")
