"""Audits a simulated run from its directory: attacks its last networks with the examples of each of its clients."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from client import data
from client.app import device_of
from client.data import Shard
from client.queries import respondent
from client.site import Site
from common.algorithms.fedavg import PERSONAL
from common.config import RunConfig
from common.datasets.base import listed
from common.errors import ConfigError
from common.examples import spec_from
from common.files import write_atomically
from common.queries import Known, RefusalError
from common.queries.findings import AUDITS, findings
from common.seeding import numpy_generator
from common.tree import Tree, select
from server.checkpoint import Checkpoint
from server.records.report import write_report
from simulations.runs.generator import Round, open_checkpoint

_OWN = "evaluation.holdout"
_FEWEST = 10


def audit(
    path: Path, round: Round = None, num_samples: int | None = None, tell: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Returns what an audit of a run finds, see ``findings``; it stands in the run's ``audit.json``, and in its report.

    Args:
        path: The run directory of a simulation whose data are where its configuration says.
        round: A round with a checkpoint, or ``"best"``; None: the last.
        num_samples: Generated examples that a client's are held against; None: the run's ``evaluation.num-samples``.
        tell: Called with how many clients are done, and how many there are.

    Raises:
        ConfigError: No run, no such round, data that are not those of the run, or nothing to hold them against.
        CheckpointError: No checkpoint yet, or none that is whole.
    """
    run, config, found = open_checkpoint(path, round)
    if num_samples:
        config = config.replaced({"evaluation.num-samples": num_samples})
    rows, spec = found.roster["clients"], spec_from(found.roster["shape"])
    audits = {name: query for name, query in AUDITS.items() if spec.kind in query.kinds}
    if not audits:
        raise ConfigError(f"there is no attack on {spec.kind}")
    answers: dict[str, dict[int, Any]] = {name: {} for name in audits}
    refused: dict[tuple[str, str], list[int]] = {}
    missing: list[str] = []
    for done, row in enumerate(rows):
        partition, site = row["partition"], Site(partition_id=row["partition"], num_partitions=len(rows))
        shard = _shard(config, site, row["data-digest"])
        if shard.held_out is None:
            shard = _against_test(config, shard, partition, missing)
        client, known = respondent(config, site, shard, device_of(site), spec), Known(len(shard.examples), 0)
        weights = _weights(found, config, partition)
        for name, query in audits.items():
            try:
                answers[name][partition] = query.read(query.answer(weights[query.looks_at], client), known)
            except RefusalError as refusal:
                refused.setdefault((query.title, str(refusal)), []).append(partition)
        if tell is not None:
            tell(done + 1, len(rows))
    missing += [f"{title} of client {listed(those)}: {why}" for (title, why), those in refused.items()]
    result = findings(answers, config, found.snapshot.state.round, missing, len(rows))
    write_atomically(run.audit, json.dumps(result, indent=2).encode())
    if run.summary.exists():
        write_report(run)
    return result


def _shard(config: RunConfig, site: Site, digest: str) -> Shard:
    """Returns what a client trained on.

    Raises:
        ConfigError: The data give it other examples now.
    """
    shard = data.shard(config, site)
    if digest and shard.digest() != digest:
        raise ConfigError(
            f"client {site.partition_id} of this run trained on other examples than data.name={config.data.name!r} "
            f"gives it from data.root={config.data.root!r}: put the data back; of sites' own data only the run itself "
            f"makes an audit, at its end ({_OWN})"
        )
    return shard


def _weights(found: Checkpoint, config: RunConfig, partition: int) -> Mapping[str, Tree]:
    """Returns the weights that queries look at, as at a run's end; where clients keep generators, this client's."""
    state, roles = found.snapshot.state, config.model_component.roles
    published = state.published(roles)
    if not published:
        published = select(found.snapshot.clients.get(partition, {}).get(PERSONAL, {}), roles.published)
    return {"published": published, "shared": {**published, **state.parameters}}


def _against_test(config: RunConfig, shard: Shard, partition: int, missing: list[str]) -> Shard:
    """Returns the shard with test examples of the data as held out, of classes as the client's, which is said.

    Raises:
        ConfigError: The data hold none out.
    """
    test, own = shard.test or data.load(config.data).test, shard.examples.labels
    classes = sorted(set(own.tolist()))
    draw = numpy_generator(config.seed, "audit", partition, "test")
    places = [np.flatnonzero(test.labels.numpy() == label) for label in classes]
    shares = [float((own == label).float().mean()) for label in classes]
    num = int(min((len(rows) / share for rows, share in zip(places, shares, strict=True)), default=0))
    rows = [draw.choice(these, int(num * share), replace=False) for these, share in zip(places, shares, strict=True)]
    chosen = np.sort(np.concatenate([*rows, np.zeros(0, np.int64)])).astype(np.int64)
    if len(chosen) < _FEWEST:
        raise ConfigError(
            f"client {partition} holds nothing out, and the data have {len(chosen)} test example(s) of its classes: "
            f"start the run again with -c {_OWN}=0.1, as an audit needs examples like the client's that were not "
            "trained on"
        )
    sentence = (
        f"the run held nothing out ({_OWN}=0): clients' examples are held against test examples of the data, of the "
        f"same classes; whatever else differs between the two counts as a leak"
    )
    if not config.privacy_component.private:  # under a promise nothing can be held out
        sentence += f". For a sound audit start the run with -c {_OWN}=0.1"
    if sentence not in missing:
        missing.append(sentence)
    return replace(shard, held_out=test.subset(chosen))
