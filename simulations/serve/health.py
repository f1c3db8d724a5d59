"""Whether the server is well, and what it counts."""

from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from pydantic import BaseModel

from simulations.serve.service import Service


class Health(BaseModel):
    """That the server answers, and what makes images is alive."""

    status: str


def make_health_routes(service: Service) -> APIRouter:
    """Returns ``/healthz`` and ``/metrics``."""
    router = APIRouter(tags=["server"])
    registry = CollectorRegistry()
    registry.register(service.counters)
    registry.register(_Figures(service))

    @router.get("/healthz", response_model=Health, responses={503: {"model": Health}})
    def healthz(response: Response) -> Health:
        """Whether the server is well: 200 or 503. Needs no token."""
        if service.making.is_alive:
            return Health(status="ok")
        response.status_code = 503
        return Health(status="what makes images has ended")

    @router.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> PlainTextResponse:
        """What Prometheus reads."""
        return PlainTextResponse(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router


class _Figures:
    """What the server and its runs are like at the moment, for a registry of ``prometheus_client``."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Yields figures of the server, then of each run."""
        service, count = self._service, self._service.counts.get
        yield CounterMetricFamily("fedgan_images", "Images made.", count("images"))
        yield CounterMetricFamily("fedgan_passes", "Passes through a generator.", count("passes"))
        yield CounterMetricFamily("fedgan_joined_passes", "Passes that served several requests.", count("joined"))
        yield CounterMetricFamily("fedgan_refused", "Requests for images refused as too much.", service.refused)
        yield CounterMetricFamily("fedgan_model_loads", "Generators loaded.", count("loads"))
        yield GaugeMetricFamily("fedgan_waiting_images", "Images that are waited for.", count("waiting"))
        yield GaugeMetricFamily("fedgan_streams", "Journals that are streamed.", service.streams)
        state = GaugeMetricFamily("fedgan_run_state", "The state of each run.", labels=["run", "state"])
        rounds = GaugeMetricFamily("fedgan_run_round", "Rounds done.", labels=["run"])
        what = "The score that rounds are compared by, of the best so far."
        best = GaugeMetricFamily("fedgan_run_best_score", what, labels=["run", "score"])
        for run in map(service.summaries.of, service.library.all().values()):
            state.add_metric([run.id, run.state], 1)
            rounds.add_metric([run.id], run.round)
            if run.best is not None:
                best.add_metric([run.id, run.distance], run.best.value)
        yield from (state, rounds, best)
