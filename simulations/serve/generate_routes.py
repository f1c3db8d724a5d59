"""The address that makes images and texts."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException
from fastapi.responses import Response

from common.errors import CheckpointError, ConfigError, DivergenceError
from simulations.runs.run_reader import RunReader
from simulations.serve import answers
from simulations.serve.batching import BusyError, StoppedError
from simulations.serve.generate_requests import GenerateRequest
from simulations.serve.links import EndedError
from simulations.serve.run_routes import INVALID, NOT_FOUND, RunName, find
from simulations.serve.service import Service
from simulations.serve.ways import ImageWay, TextWay

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the images or texts; headers X-Fedgan-Round, -Rejected and -Model-Sha256 say more",
        "content": {
            **{media: {"schema": {"type": "string", "format": "binary"}} for media in ImageWay.media.values()},
            **{media: {"schema": {"type": "string"}} for media in TextWay.media.values()},
            "application/json": {"schema": {"$ref": "#/components/schemas/Texts"}},
        },
        "model": answers.Texts,
    },
    400: {"model": answers.Problem, "description": "the body cannot be read as JSON"},
    408: {"model": answers.Problem, "description": "the body took too long"},
    409: {"model": answers.Problem, "description": "there is no generator yet, or it has diverged"},
    413: {"model": answers.Problem, "description": "the body is too long"},
    429: {"model": answers.Problem, "description": "too much is under way: come again after Retry-After seconds"},
    503: {"model": answers.Problem, "description": "the server is stopping, or it took too long"},
}


def make_generate_routes(service: Service) -> APIRouter:
    """Returns what makes images with the generators of ``service``."""
    router = APIRouter(prefix="/api/runs", tags=["images"], responses={**INVALID, **NOT_FOUND})

    @router.post("/{run}/generate", response_class=Response, responses=_ANSWERS)
    async def generate(
        run: RunName,
        request: GenerateRequest,
        accept: Annotated[str, Header(max_length=1000, description="of text, where no format is given")] = "",
    ) -> Response:
        """Makes images or texts with a run's generator. The same request gives the same bytes."""
        record = find(service, run)
        try:
            made = await service.generate(record, request, accept)
        except ConfigError as error:
            raise HTTPException(422, _in_words(error, record)) from None
        except (CheckpointError, DivergenceError) as error:
            raise HTTPException(409, _in_words(error, record)) from None
        except BusyError:
            raise HTTPException(429, "too much is being made: try again later", {"Retry-After": "1"}) from None
        except StoppedError:
            raise HTTPException(503, "the server is stopping") from None
        except EndedError:
            said = "the process that makes images has ended, and another one begins: ask again"
            raise HTTPException(503, said, {"Retry-After": "5"}) from None
        except TimeoutError:
            said = f"this was not made within {service.limits.seconds:g} seconds: ask for fewer"
            raise HTTPException(503, said, {"Retry-After": "5"}) from None
        name = f"{record.name}-round-{made.facts['round']}-seed-{made.facts['seed']}.{made.ending}"
        headers = {
            "Content-Disposition": f'inline; filename="{name}"',
            "X-Fedgan-Round": str(made.facts["round"]),
            "X-Fedgan-Rejected": str(made.facts["rejected"]),
            "X-Fedgan-Model-Sha256": made.facts["model-sha256"],
        }
        return Response(made.content, media_type=made.media, headers=headers)

    return router


def _in_words(error: Exception, record: RunReader) -> str:
    """Returns an error's words for somebody who does not know this machine's folders."""
    return str(error).replace(str(record.run.path), record.name)
