"""The addresses of samples: a picture or a page of text a round."""

import json
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path
from fastapi.responses import Response

from common.examples.pages import sections_of
from common.files import read_file
from simulations.runs.run_reader import RunReader
from simulations.serve import answers
from simulations.serve.run_routes import INVALID, NOT_FOUND, UNCHANGED, Known, RunName, as_json, find, tagged
from simulations.serve.service import Service

_LONGEST_PICTURE = 64 * 2**20
_PNG = b"\x89PNG\r\n\x1a\n"

Round = Annotated[int, Path(ge=0, le=10**9, description="one of sample-rounds")]


def make_sample_routes(service: Service) -> APIRouter:
    """Returns the addresses of samples; functions without ``async`` run in threads, as they read files."""
    router = APIRouter(prefix="/api/runs", tags=["runs"], responses=INVALID)

    @router.get(
        "/{run}/samples/{round}.png",
        response_class=Response,
        responses={**NOT_FOUND, **UNCHANGED, 200: {"content": {"image/png": {}}}},
    )
    def show_samples(run: RunName, round: Round, if_none_match: Known = None) -> Response:
        """The picture of samples after a round: the same noise at every round, a row a class."""
        path = find(service, run).run.sample(round)
        try:
            content = read_file(path, _LONGEST_PICTURE)
        except OSError as error:
            why = "" if isinstance(error, FileNotFoundError) else f": {path.name} cannot be read: {error.strerror}"
            raise HTTPException(404, f"there are no samples of round {round}{why}") from None
        if not content.startswith(_PNG):
            raise HTTPException(404, f"there are no samples of round {round}: {path.name} is no PNG")
        return tagged(content, "image/png", if_none_match)  # a run that went back draws a round again

    @router.get(
        "/{run}/samples/{round}.txt",
        response_class=Response,
        responses={**NOT_FOUND, **UNCHANGED, 200: {"content": {"text/plain": {}}}},
    )
    def show_text_samples(run: RunName, round: Round, if_none_match: Known = None) -> Response:
        """The page of samples after a round of a run that makes text: the same noise at every round, by class."""
        return tagged(_page(find(service, run), round), "text/plain", if_none_match)

    @router.get(
        "/{run}/samples/{round}.json", response_model=answers.SamplesAsText, responses={**NOT_FOUND, **UNCHANGED}
    )
    def show_samples_as_texts(run: RunName, round: Round, if_none_match: Known = None) -> Response:
        """The samples after a round as texts, with the latest at lower temperatures, and real ones beside them."""
        record = find(service, run)
        content, ways = _page(record, round), {path.stem.replace("-", " ", 1): path for path in record.run.variants()}
        found = answers.SamplesAsText(
            way=_way(content),
            sections=_sections(content),
            ways={way: _sections(_read(path)) for way, path in ways.items()},
            real=_sections(_read(record.run.real)),
        )
        return as_json(found, if_none_match)

    return router


def _page(record: RunReader, round: int) -> bytes:
    """Returns the page of samples of a round.

    Raises:
        HTTPException: 404: there is none.
    """
    path = record.run.sample(round)
    if path.suffix != ".txt":
        raise HTTPException(404, f"there are no samples of round {round} that are text")
    return _read(path)


def _read(path: FilePath) -> bytes:
    """Returns a page of samples; empty where it is gone, or cannot be read."""
    try:
        return read_file(path, _LONGEST_PICTURE)
    except OSError:
        return b""


def _way(content: bytes) -> str:
    """Returns how a page of samples says that they were made; empty where it does not say."""
    try:
        facts = json.loads(content.partition(b"\n")[0])
    except ValueError:
        return ""
    return str(facts.get("way", "")) if isinstance(facts, dict) else ""


def _sections(content: bytes) -> list[answers.TextSection]:
    """Returns the texts of a page; of another kind of text, all that comes after its first line as one."""
    page = content.decode(errors="replace")
    found = sections_of(page) or [("", [text]) for text in (page.partition("\n")[2].strip("\n"),) if text]
    return [answers.TextSection(heading=heading, texts=texts) for heading, texts in found]
