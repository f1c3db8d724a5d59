"""What whoever holds the networks can tell of a client's examples, and of its canaries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from common.audit import DELTA, Attack, Bound, attack, guess_bound, signals, why_no_signal
from common.config import RunConfig
from common.errors import DataError
from common.examples import ExampleSet, ImageSpec, TextSpec
from common.generation import MIXTURE
from common.metrics.membership import NETWORKS, attack_scores, canary_scores
from common.queries.base import ClientQuery, Figures, Known, RefusalError, Respondent
from common.seeding import derive_seed, numpy_generator
from common.tree import Tree

FEWEST = 10
"""Examples on each side of an attack on a site's own: of fewer it would say what single ones are."""

_MOST_COMPARED = 1000  # of the training examples, and of those held out
_MOST_CANARIES = 100_000


@dataclass(frozen=True, eq=False)
class Exposure:
    """What a client's answer means.

    Attributes:
        networks: What the attack by the networks achieves; None: nothing is held out to compare with.
        canary_scores: Of the client's canaries, float64 (m,); empty: it has none.
        included: Which of them were trained on, bool (m,).
    """

    networks: Attack | None
    canary_scores: Tensor
    included: Tensor


class Membership(ClientQuery[Exposure]):
    """Asks for ``attack``, float64 (8,), see ``Attack.values``; and of canaries ``scores`` and ``included``, (m,) each.

    The question is all that a curious server holds; where a mixture has a generator of the client's own, that stands
    for the shared one. Of the examples at most 1000 that were trained on are looked at, and as many held out.
    """

    title: ClassVar[str] = "membership by the networks"
    kinds: ClassVar[frozenset[str]] = frozenset({ImageSpec.kind, TextSpec.kind})
    looks_at: ClassVar[Literal["published", "shared"]] = "shared"

    def needed(self, config: RunConfig) -> bool:
        return config.evaluation.holds_out or config.evaluation.canaries > 0

    def answer(self, question: Tree, client: Respondent) -> Tree:
        config, held_out, trained = client.config, client.held_out, client.natural
        fewest, canaries = FEWEST if client.own else 2, client.canaries
        enough = held_out is not None and min(len(held_out), len(trained)) >= fewest
        if not enough and canaries is None:
            num = 0 if held_out is None else len(held_out)
            raise RefusalError(f"{len(trained)} training and {num} held-out example(s) are too few: {fewest} each")
        own = {
            key.removeprefix(prefix): value
            for key, value in question.items()
            if key.startswith(prefix := f"{MIXTURE}.{client.partition}.")
        }
        weights = {key: value for key, value in question.items() if not key.startswith(f"{MIXTURE}.")} | own
        if reason := why_no_signal(config.model_component, config.objective_component, weights):
            raise RefusalError(f"what the server holds tells nothing of single examples, as {reason}")
        seed = derive_seed(config.seed, "audit", client.partition)
        draw = numpy_generator(seed, "chosen")

        def scored(examples: ExampleSet) -> Tensor:
            rows = draw.choice(len(examples), min(len(examples), _MOST_COMPARED), replace=False)
            return self._scores(weights, examples.subset(rows), client, seed)

        found: dict[str, Tensor] = {}
        if enough and held_out is not None:
            found["attack"] = attack(scored(trained), scored(held_out)).values()
        if canaries is not None:
            found["scores"] = self._scores(weights, canaries.examples, client, seed)
            found["included"] = canaries.included
        return found

    def _scores(self, weights: Tree, examples: ExampleSet, client: Respondent, seed: int) -> Tensor:
        config = client.config
        return signals(
            config.model_component,
            config.objective_component,
            client.spec,
            weights,
            examples.stored,
            examples.labels,
            seed,
            client.device,
        )

    def read(self, answer: Tree, known: Known) -> Exposure:
        if not answer.keys() & {"attack", "scores"}:
            raise DataError("it tells nothing of membership")
        scores = answer.get("scores", torch.zeros(0, dtype=torch.float64))
        included = answer.get("included", torch.zeros(0, dtype=torch.bool))
        fits = scores.dtype == torch.float64 and included.dtype == torch.bool and scores.shape == included.shape
        if not (fits and scores.ndim == 1 and len(scores) <= _MOST_CANARIES and bool(scores.isfinite().all())):
            raise DataError(f"{tuple(scores.shape)} scores and {tuple(included.shape)} coins are of no canaries")
        return Exposure(Attack.read(answer["attack"]) if "attack" in answer else None, scores, included)

    def scores(self, answers: Mapping[int, Exposure], num_clients: int) -> Figures:
        found = {k: it.networks for k, it in answers.items() if it.networks is not None}
        scores = attack_scores(NETWORKS, found, num_clients)
        bound = self.bound(answers)
        return scores | (canary_scores(bound.epsilon) if bound else {})

    def findings(self, answer: Exposure) -> dict[str, Any]:
        return {} if answer.networks is None else {NETWORKS: answer.networks.record()}

    @staticmethod
    def bound(answers: Mapping[int, Exposure], delta: float = DELTA) -> Bound | None:
        """Returns the lower bound of epsilon that the canaries of all clients give; None: there are none.

        All of a federation keeps the largest epsilon of its clients, as each example is one client's alone.
        """
        scores = [answer.canary_scores for answer in answers.values()]
        if not sum(map(len, scores)):
            return None
        return guess_bound(torch.cat(scores), torch.cat([answer.included for answer in answers.values()]), delta)
