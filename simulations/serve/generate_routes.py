"""The address that makes images."""

from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import Response

from common.errors import CheckpointError, ConfigError, DivergenceError
from simulations.runs.record import Record
from simulations.serve import answers
from simulations.serve.batching import BusyError, StoppedError
from simulations.serve.generate_requests import GenerateRequest
from simulations.serve.images import ENDINGS, MEDIA
from simulations.serve.run_routes import INVALID, NOT_FOUND, RunName, find
from simulations.serve.service import Service

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the images; headers X-Fedgan-Round, -Rejected and -Model-Sha256 say more",
        "content": {media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA.values()},
    },
    400: {"model": answers.Problem, "description": "the body cannot be read as JSON"},
    408: {"model": answers.Problem, "description": "the body took too long"},
    409: {"model": answers.Problem, "description": "there is no generator yet, or it has diverged"},
    413: {"model": answers.Problem, "description": "the body is too long"},
    429: {"model": answers.Problem, "description": "too much is under way: come again after Retry-After seconds"},
    503: {"model": answers.Problem, "description": "the server is stopping, or the images took too long"},
}


def make_generate_routes(service: Service) -> APIRouter:
    """Returns what makes images with the generators of ``service``."""
    router = APIRouter(prefix="/api/runs", tags=["images"], responses={**INVALID, **NOT_FOUND})

    @router.post("/{run}/generate", response_class=Response, responses=_ANSWERS)
    async def generate(run: RunName, wanted: GenerateRequest) -> Response:
        """Makes images with a run's generator. The same request gives the same bytes."""
        record = find(service, run)
        try:
            content, facts = await service.generate(record, wanted)
        except ConfigError as error:
            raise HTTPException(422, _told(error, record)) from None
        except (CheckpointError, DivergenceError) as error:
            raise HTTPException(409, _told(error, record)) from None
        except BusyError:
            raise HTTPException(429, "too many images are being made: try again later", {"Retry-After": "1"}) from None
        except StoppedError:
            raise HTTPException(503, "the server is stopping") from None
        except TimeoutError:
            said = f"the images were not made within {service.limits.seconds:g} seconds: ask for fewer"
            raise HTTPException(503, said, {"Retry-After": "5"}) from None
        name = f"{record.name}-round-{facts['round']}-seed-{facts['seed']}.{ENDINGS[wanted.format]}"
        headers = {
            "Content-Disposition": f'inline; filename="{name}"',
            "X-Fedgan-Round": str(facts["round"]),
            "X-Fedgan-Rejected": str(facts["rejected"]),
            "X-Fedgan-Model-Sha256": facts["model-sha256"],
        }
        return Response(content, media_type=MEDIA[wanted.format], headers=headers)

    return router


def _told(error: Exception, record: Record) -> str:
    """Returns an error's words for somebody who does not know this machine's folders."""
    return str(error).replace(str(record.run.path), record.name)
