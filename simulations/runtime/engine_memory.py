"""Which engine was faster for a job on this machine: a small file beside the features that runs keep."""

import json
import logging
import platform
from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError

from common.components import Options
from common.config import RunConfig
from common.files import write_atomically
from common.machine import instructions, processor
from common.metrics.feature_cache import cache_folder
from common.threads import available_cores

log = logging.getLogger("fedgan.simulations")

FILE = "engines.json"
_MOST = 200  # choices in the file; the oldest go first
_KEYS = ("model", "objective", "optimiser", "algorithm", "transforms", "weighting", "data.name")
_LOCAL = ("steps", "batch-size", "num-threads", "moments", "mixed-precision")


class Choice(Options):
    """What a trial has found."""

    job: dict[str, str | int | float | bool] = Field(description="what was tried, and where")
    engine: Literal["threads", "processes", "batched"]
    ratio: float = Field(gt=0, description="how many times as fast as threads the other engine was")
    seconds: float = Field(
        0.0, ge=0, description="that a client of a round takes in threads, the round's divided by it"
    )
    date: str


def job_of(config: RunConfig, num_workers: int, device: str) -> dict[str, str | int | float | bool]:
    """Returns all that the speed of engines depends on: of a run, and of this machine.

    Args:
        config: The run's.
        num_workers: Clients at a time.
        device: Where they train.
    """
    flat = config.flat()
    return {
        **{key: flat[key] for key in (*_KEYS, *(f"local.{name}" for name in _LOCAL))},
        "cohort": config.federation.cohort_size,
        "workers": num_workers,
        "device": device,
        "processor": processor(),
        "instructions": instructions(),
        "cores": available_cores(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def recall(job: Mapping[str, Any]) -> Choice | None:
    """Returns what was found for this very job; None if it was not tried, or nothing is kept."""
    return next((choice for choice in reversed(_choices()) if choice.job == job), None)


def remember(job: dict[str, str | int | float | bool], engine: str, ratio: float, seconds: float = 0.0) -> Choice:
    """Keeps what a trial has found, where anything can be kept, and returns it."""
    folder = cache_folder()
    found = Choice.model_validate(
        {"job": job, "engine": engine, "ratio": ratio, "seconds": seconds, "date": str(date.today())}
    )
    if folder is None:
        return found
    kept = [*(choice for choice in _choices() if choice.job != job), found][-_MOST:]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        content = {"choices": [choice.model_dump() for choice in kept]}
        write_atomically(folder / FILE, json.dumps(content, indent=1).encode())
    except OSError as error:
        log.debug("the choice of an engine is not kept: %s", error)
    return found


def _choices() -> list[Choice]:
    """Returns what is kept, oldest first; a file that cannot be read is as none."""
    folder = cache_folder()
    try:
        content = json.loads((folder / FILE).read_bytes()) if folder else {"choices": []}
        return [Choice.model_validate(choice) for choice in content["choices"]]
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        log.debug("no choice of an engine is known: %s", error)
        return []
