"""Scores of attacks on what a model was trained on; the attacks are those of ``common/audit``."""

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, Protocol

from common.metrics.base import Metric, Names, Score, Scores

NEAREST, NETWORKS = "nearest", "networks"
"""The attacks: by the generated example nearest to one, which whoever has the generator can do; and by what the
networks that the server holds say of it."""

_WHO = {
    NEAREST: ("the nearest of many generated images", "Whoever has the generator"),
    NETWORKS: ("what the networks say of an example", "Whoever has the server's networks"),
}
_QUANTILE = 1.959963984540054  # of the standard normal: how many of them the lower end of a 95 % interval is off


def far(num_clients: int) -> float:
    """Returns how many standard errors off the worst of so many clients must be, so that chance seldom explains it.

    3 of up to ten; of more, such that it is as unlikely as with ten (Bonferroni).
    """
    return max(3.0, NormalDist().inv_cdf(1 - NormalDist().cdf(-3.0) * 10 / max(num_clients, 1)))


class Achieved(Protocol):
    """What an attack achieves on a client's examples; see ``common.audit.Attack``."""

    @property
    def auc(self) -> float:
        """Probability that a member's score is above another's."""

    @property
    def auc_low(self) -> float:
        """The lower end of its interval."""

    @property
    def rate(self) -> float:
        """Share of the members that are found at 1 % false positives."""


def attack_scores(which: str, achieved: Mapping[int, Achieved], num_clients: int) -> Scores:
    """Returns the scores of an attack, by the names in ``MEMBERSHIP``; empty if no client has any.

    Args:
        which: ``NEAREST`` or ``NETWORKS``.
        achieved: By partition.
        num_clients: In the federation.
    """
    if not achieved:
        return {}
    every = [achieved.get(partition) for partition in range(num_clients)]
    return {
        f"{which}-auc": [None if it is None else it.auc for it in every],
        f"{which}-auc-low": [None if it is None else it.auc_low for it in every],
        f"{which}-rate": [None if it is None else it.rate for it in every],
        f"worst-{which}-auc": max(it.auc for it in achieved.values()),
    }


def copying_scores(z_scores: Mapping[int, float], num_clients: int) -> Scores:
    """Returns the score of the test of copies, of z-scores by partition; empty if no client has any."""
    return {"copying-z": [z_scores.get(partition) for partition in range(num_clients)]} if z_scores else {}


def canary_scores(epsilon: float) -> Scores:
    """Returns the score of the canaries, of the lower bound of epsilon that they give."""
    return {"epsilon-bound": epsilon}


def _worst(scores: Mapping[str, Any], names: Names) -> list[str]:
    found = []
    for which, (_, who) in _WHO.items():
        lows = dict(enumerate(scores.get(f"{which}-auc-low", ())))
        known = [(auc, k) for k, auc in enumerate(scores.get(f"{which}-auc", ())) if auc is not None and lows.get(k)]
        if known:
            auc, k = max(known)
            error = (auc - lows[k]) / _QUANTILE
            sign = "it is exposed" if auc - 0.5 > far(len(known)) * error else "chance explains that"
            found.append(
                f"{who} tells an example that client {names.of_client(k)} trained on from one that it held out with an "
                f"AUC of {auc:.2f} ± {error:.2f}, where chance is 0.5: {sign}. No other client's is higher."
            )
    copies = [(z, k) for k, z in enumerate(scores.get("copying-z", ())) if z is not None]
    if copies and min(copies)[0] < -far(len(copies)):
        z, k = min(copies)
        found.append(
            f"Generated images lie nearer to those that client {names.of_client(k)} trained on than held-out ones do "
            f"(z = {z:.1f}; below {-far(len(copies)):.2g} is a sign of copies)."
        )
    if (epsilon := scores.get("epsilon-bound")) is not None:
        found.append(
            f"The canaries show that no promise of privacy with an epsilon below {epsilon:.2f} is true of this run "
            "(95 % confidence)."
            if epsilon > 0
            else "The canaries show no leak: any epsilon may be true of this run (95 % confidence)."
        )
    return found


def _of_attack(which: str) -> tuple[Score, ...]:
    by, _ = _WHO[which]
    of_clients: dict[str, Any] = {"form": "figures", "of": "client"}
    return (
        Score(
            f"{which}-auc",
            f"membership by {which}, AUC",
            f"how often {by} ranks a training example above a held-out one: 0.5 is chance, 1 tells all",
            "lower",
            **of_clients,
            heading=f"Membership by {by}: AUC of each client",
        ),
        Score(
            f"{which}-auc-low",
            f"membership by {which}, AUC at least",
            "the lower end of its 95 % interval; above 0.5 it is no chance",
            "lower",
            **of_clients,
            heading=f"Membership by {by}: lower end of the AUC's interval",
        ),
        Score(
            f"{which}-rate",
            f"membership by {which}, at 1 % false",
            "share of the training examples that are found at 1 % false positives: 0.01 is chance",
            "lower",
            **of_clients,
            heading=f"Membership by {by}: training examples found at 1 % false positives",
        ),
        Score(
            f"worst-{which}-auc",
            f"membership by {which}, worst client",
            f"the highest AUC of any client, by {by}: 0.5 is chance, 1 tells all",
            "lower",
            benchmark="",
        ),
    )


MEMBERSHIP = Metric(
    "membership",
    (
        Score(
            "copying-z",
            "test of copies",
            "z-score of generated images being further from training ones than held-out ones are; below -3: copies",
            "higher",
            "figures",
            "client",
            heading="Test of copies of each client's images (z-score)",
        ),
        *_of_attack(NEAREST),
        *_of_attack(NETWORKS),
        Score(
            "epsilon-bound",
            "epsilon, at least",
            "what the canaries show: no promise of privacy with a lower epsilon is true of the run (95 % confidence)",
            "lower",
            benchmark="",
        ),
    ),
    needs=frozenset({"clients"}),
    kinds=frozenset({"images", "text"}),
    weak_spots=_worst,
)
