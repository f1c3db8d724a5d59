"""What an audit found, as ``audit.json`` has it: what clients answered of what their models give away."""

from collections.abc import Mapping, Sequence
from typing import Any

from common.audit import CONFIDENCE, DELTA, FALSE_POSITIVES
from common.config import RunConfig
from common.metrics.membership import canary_scores
from common.privacy import ExamplePrivacy
from common.queries.base import ClientQuery, Figures
from common.queries.membership import Membership
from common.queries.memorisation_ratio import MemorisationRatio

AUDITS: dict[str, ClientQuery[Any]] = {"memorisation-ratio": MemorisationRatio(), "membership": Membership()}
"""The queries that an audit asks."""


def findings(
    answers: Mapping[str, Mapping[int, Any]],
    config: RunConfig,
    round: int,
    missing: Sequence[str],
    num_clients: int,
) -> dict[str, Any]:
    """Returns what an audit found, as JSON has it.

    Args:
        answers: What clients' answers to each of ``AUDITS`` mean, by partition.
        config: The run's.
        round: That of the networks.
        missing: What could not be found out, and why, in sentences.
        num_clients: In the federation.
    """
    promise = config.privacy_component
    promised, delta = (promise.epsilon, promise.delta) if isinstance(promise, ExamplePrivacy) else (None, DELTA)
    clients: dict[int, dict[str, Any]] = {}
    for name, query in AUDITS.items():
        for partition, answer in answers.get(name, {}).items():
            clients.setdefault(partition, {}).update(query.findings(answer))
    scores: Figures = {}
    for name, query in AUDITS.items():
        if found := answers.get(name):
            scores |= query.scores(found, num_clients)
    bound = Membership.bound(answers.get("membership", {}), delta)
    return {
        "round": round,
        "num-samples": config.evaluation.num_samples,
        "confidence": CONFIDENCE,
        "false-positives": FALSE_POSITIVES,
        "privacy": config.privacy,
        "promised-epsilon": promised,
        "refuted": promised is not None and bound is not None and bound.epsilon > promised,
        "clients": [{"partition": k, **clients[k]} for k in sorted(clients) if clients[k]],
        "canaries": bound and bound.record(),
        "missing": list(missing),
        "scores": {**scores, **(canary_scores(bound.epsilon) if bound else {})},
    }
