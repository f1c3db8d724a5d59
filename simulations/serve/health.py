"""Whether the server is well, and what it counts."""

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel

from simulations.serve.counters import family
from simulations.serve.service import Service
from simulations.serve.summaries import told_of


class Health(BaseModel):
    """That the server answers, and its thread that makes images is alive."""

    status: str


def make_health_routes(service: Service) -> APIRouter:
    """Returns ``/healthz`` and ``/metrics``."""
    router = APIRouter(tags=["server"])

    @router.get("/healthz", response_model=Health, responses={503: {"model": Health}})
    def healthz(response: Response) -> Health:
        """Whether the server is well: 200 or 503. Needs no token."""
        if service.batcher.is_alive:
            return Health(status="ok")
        response.status_code = 503
        return Health(status="the thread that makes images has ended")

    @router.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> PlainTextResponse:
        """What Prometheus reads."""
        text = service.counters.text() + _of_service(service) + _of_runs(service)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def _of_service(service: Service) -> str:
    batcher = service.batcher
    rows = (
        ("fedgan_images_total", "counter", "Images made.", batcher.images),
        ("fedgan_passes_total", "counter", "Passes through a generator.", batcher.passes),
        ("fedgan_joined_passes_total", "counter", "Passes that served several requests.", batcher.joined),
        ("fedgan_refused_total", "counter", "Requests for images that were refused as too much.", service.refused),
        ("fedgan_model_loads_total", "counter", "Generators loaded.", service.models.loads),
        ("fedgan_waiting_images", "gauge", "Images that are waited for.", batcher.waiting),
        ("fedgan_streams", "gauge", "Journals that are streamed.", service.streams),
    )
    return "".join(family(name, kind, meaning, [({}, value)]) for name, kind, meaning, value in rows)


def _of_runs(service: Service) -> str:
    runs = [told_of(record) for record in service.library.all().values()]
    states = [({"run": run.id, "state": run.state}, 1) for run in runs]
    rounds = [({"run": run.id}, run.round) for run in runs]
    fids = [({"run": run.id}, run.best.fid) for run in runs if run.best is not None]
    return (
        family("fedgan_run_state", "gauge", "The state of each run.", states)
        + family("fedgan_run_round", "gauge", "Rounds done.", rounds)
        + family("fedgan_run_best_fid", "gauge", "The best fid so far.", fids)
    )
