"""MLflow: the server that ``MLFLOW_TRACKING_URI`` names, else files in the run directory, which ``mlflow ui`` shows."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from server.records.tracking.base import Tracked, Tracker

_MOST_PARAMS, _MOST_METRICS = 100, 1000  # of one call
_LONGEST_PARAM = 500
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # of its own, a server that is down is tried for four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


class MLflow(Tracker):
    """A run of the experiment ``MLFLOW_EXPERIMENT_NAME``, by default ``fedgan``; a step is a round.

    It keeps what it was sent: a round that is done again is there twice, and the later one counts.
    """

    def __init__(self, run: Tracked) -> None:
        super().__init__(run)
        for key, value in _DEFAULTS.items():
            os.environ.setdefault(key, value)
        place = os.environ.get("MLFLOW_TRACKING_URI")
        if not place:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # files need neither a server nor a database
            place = run.place.absolute().as_uri()
        self._client = MlflowClient(tracking_uri=place)
        self.where = place
        if self.identity:
            self._client.update_run(self.identity, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "fedgan")
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)
        self.identity = self._client.create_run(experiment, run_name=run.name).info.run_id
        params = [Param(key, str(value)[:_LONGEST_PARAM]) for key, value in run.config.items()]
        for start in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(self.identity, params=params[start : start + _MOST_PARAMS])

    def figures(self, round: int, values: Mapping[str, float]) -> None:
        now = _now()
        metrics = [Metric(name, value, now, round) for name, value in values.items()]
        for start in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(self.identity, metrics=metrics[start : start + _MOST_METRICS])

    def picture(self, round: int, path: Path) -> None:
        self._client.log_artifact(self.identity, str(path), "samples")

    def page(self, round: int, path: Path) -> None:
        self.picture(round, path)

    def finish(self, scores: Mapping[str, float], ended: bool) -> None:
        now = _now()
        metrics = [Metric(f"final/{key}", value, now, 0) for key, value in scores.items()]
        self._client.log_batch(self.identity, metrics=metrics)
        self._client.set_terminated(self.identity, "FINISHED" if ended else "FAILED")


def _now() -> int:
    """Returns the time in milliseconds, which MLflow wants with each figure."""
    return int(time.time() * 1000)
