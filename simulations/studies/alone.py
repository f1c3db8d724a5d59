"""Clients of text who train alone: each has a model of its own, which is scored on its own held-out text and dropped.

OUT/t1-cpu/local-only/seed-0/
    settings.json   the configuration, with the settings of one client's training
    clients.jsonl   a line a client: its sums on held-out text, and the seconds since the line before it
    alone.json      the row's figures, once all clients are done
"""

import json
import math
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from client import data
from client.batches import Assignment
from client.site import Site
from client.trainer import Trainer
from client.trainer_spec import TrainerSpec
from common.config import RunConfig, Scalar, upgraded
from common.errors import ConfigError
from common.files import write_atomically
from common.generation import load_sampler
from common.metrics.next_token import scores_of, tally
from common.threads import available_cores

SETTINGS, CLIENTS, FIGURES = "settings.json", "clients.jsonl", "alone.json"

_SAID = 20  # lines of progress
_THREAD = threading.local()  # the networks of a worker, loaded in place


def settings(base: RunConfig) -> dict[str, Scalar]:
    """Returns what to change in a protocol so that its rounds are one client's steps, each a round of its own.

    A client takes as many steps as the protocol's rounds give one on average, under the same course of rates.
    """
    federation, local = base.federation, base.local
    steps = max(1, round(federation.num_rounds * federation.cohort_size * local.steps / federation.num_clients))
    warmup = round(local.warmup_rounds * steps / federation.num_rounds)
    return {"federation.num-rounds": steps, "local.steps": 1, "local.warmup-rounds": warmup}


def train_alone(config: RunConfig, folder: Path, num_workers: int | None, stream: TextIO) -> dict[str, Any]:
    """Trains and scores each client that is not done already, and returns the row's figures.

    The figures of a client do not depend on how many are trained at a time, nor on which were done before.

    Args:
        config: With ``settings``.
        folder: Where what is known of clients is kept; it exists.
        num_workers: Clients at a time; None: one a core.
        stream: Where it is said how far it is.

    Raises:
        ConfigError: The configuration promises privacy, which these clients' training does not keep.
        DataError: Nothing is held out of any client's texts.
        DivergenceError: A client's losses or probabilities are not finite.
    """
    if config.privacy_component.private:
        raise ConfigError(
            f"privacy={config.privacy!r}: clients that train alone are scored without noise: leave out local-only"
        )
    num_clients, workers = config.federation.num_clients, num_workers or available_cores()
    write_atomically(folder / SETTINGS, json.dumps(config.flat(), indent=1).encode())
    file = folder / CLIENTS
    known = _read(file)
    left = [k for k in range(num_clients) if k not in known]
    with file.open("a", encoding="utf-8") as lines, ThreadPoolExecutor(workers, "fedgan-alone", _begin) as pool:
        before = time.perf_counter()
        try:
            for number, found in enumerate(pool.map(partial(_client, config), left), num_clients - len(left) + 1):
                before, since = time.perf_counter(), before
                line = {**found, "seconds": before - since}
                known[found["partition"]] = line
                lines.write(json.dumps(line) + "\n")
                lines.flush()
                if number == num_clients or number % max(1, num_clients // _SAID) == 0:
                    stream.write(f"{number}/{num_clients} clients have trained alone\n")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    figures = _figures(config, known)
    write_atomically(folder / FIGURES, json.dumps(figures, indent=1).encode())
    return figures


def settings_of(folder: Path) -> RunConfig | None:
    """Returns the configuration that clients in a folder train with; None if none has begun."""
    file = folder / SETTINGS
    return RunConfig.from_flat(upgraded(json.loads(file.read_text(encoding="utf-8")))) if file.exists() else None


def figures_in(folder: Path) -> dict[str, Any] | None:
    """Returns the row's figures of a folder; None before all clients are done."""
    file = folder / FIGURES
    found: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    return found


def nats_of(sums: Tensor) -> dict[str, float]:
    """Returns nats a character, pooled and in the mean over clients, of sums (N, 3) as ``tally`` returns them."""
    each = [nats / characters for characters, _, nats in sums.tolist() if characters]
    characters, _, nats = sums.sum(0).tolist()
    return {"nats-per-character": nats / characters, "mean-clients-nats": math.fsum(each) / len(each)}


def _figures(config: RunConfig, known: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    sums = torch.tensor([known[k]["sums"] for k in range(config.federation.num_clients)], dtype=torch.float64)
    return {
        "final": {**scores_of(sums, sums), **nats_of(sums)},
        "best": None,
        "scored-with": {"final": None, "between": None},
        "examples-seen": sum(found["examples"] for found in known.values()),
        "seconds": sum(found["seconds"] for found in known.values()),
        "rollbacks": 0,
        "refused": 0,
        "curve": [],
        "weights-sha256": "",
    }


def _begin() -> None:
    torch.set_num_threads(1)


def _client(config: RunConfig, partition: int) -> dict[str, Any]:
    """Trains one client from the common start, and returns what its model expects of its held-out text."""
    shard = data.shard(config, Site(partition_id=partition, num_partitions=config.federation.num_clients))
    spec = TrainerSpec.of(config, shard.spec, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if getattr(_THREAD, "spec", None) != spec:
        _THREAD.spec, _THREAD.trainer = spec, Trainer(spec)
    trainer: Trainer = _THREAD.trainer
    trainer.load(trainer.initial())
    moments, examples, rounds = None, 0.0, config.federation.num_rounds
    for round in range(1, rounds + 1):
        trainer.assign(Assignment(shard.examples, config.seed, partition, round, rounds), moments)
        examples += trainer.fit()["examples"]
        moments = trainer.moments()
    sums = torch.zeros(3, dtype=torch.float64)
    if shard.test is not None and len(shard.test):
        sampler = load_sampler(config.model_component, shard.spec, trainer.parameters(), spec.device)
        sums = tally(sampler, shard.test.stored, shard.test.labels).sum(0)
    return {"partition": partition, "sums": sums.tolist(), "examples": int(examples)}


def _read(file: Path) -> dict[int, dict[str, Any]]:
    """Returns the lines of clients that are whole, by partition; what a dead process wrote of another is cut off."""
    if not file.exists():
        return {}
    whole, _, cut_off = file.read_text(encoding="utf-8").rpartition("\n")
    if cut_off:
        write_atomically(file, (whole + "\n" if whole else "").encode())
    return {found["partition"]: found for found in _lines(whole)}


def _lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        yield json.loads(line)
