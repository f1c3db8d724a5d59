"""All that a run scores its generator by, and why what it does not."""

import logging
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from common import metrics
from common.algorithms.base import ServerState
from common.config import RunConfig
from common.examples import ExampleSet
from common.generation import load_sampler
from common.journal_lines import ScoredWith
from common.metrics import METRICS, Scores, table
from common.metrics.federated import FEDERATED_FID, OF_CLIENTS
from common.models import Sampler
from common.queries import QUERIES
from common.queries.findings import AUDITS, findings
from common.tree import Tree
from server.clients.resilient_grid import ResilientGrid
from server.clients.roster import Roster
from server.evaluation import client_statistics
from server.evaluation.client_statistics import FederatedScorer
from server.evaluation.evaluator import Evaluator, make_evaluator
from server.evaluation.limits import concerns, describe_scores, doubt_of_features
from server.evaluation.steps import SAMPLE, Final, Forgiving, announce, sentences

log = logging.getLogger("fedgan.server")


class Scoring:
    """Scores a run's generators: on the server's held-out images, where it has some, and by what clients tell.

    Args:
        config: The run's.
        roster: Its clients.
        grid: Where they are.
        moments: The file that keeps what clients tell of their images.

    Attributes:
        extractor: The name of the extractor of all scores; None: there is none.
        reasons: Why metrics are not computed, a sentence a reason. It grows as more is known.
        warnings: What is to be said of those that are, in sentences.

    Raises:
        ConfigError: ``evaluation.extractor`` does not take the images.
        DataError: Its weights are missing or unusable.
    """

    def __init__(self, config: RunConfig, roster: Roster, grid: ResilientGrid, moments: Path) -> None:
        self._config, self._roster, self._grid, self._moments = config, roster, grid, moments
        self._evaluator: Evaluator | None = None
        self._extractor: metrics.Extractor | None = None
        self._answers: dict[str, dict[int, Any]] = {}
        self.reasons: list[str] = []
        self.warnings: list[str] = []
        self._has_final = True
        if not config.algorithm_component.publishes_model:
            self.reasons.append(
                f"no samples and no scores: algorithm={config.algorithm!r} leaves generators to clients"
            )
        else:
            self._open()
        self.extractor = self._extractor.name if self._extractor else None
        if self._evaluator and self._evaluator.extractor:
            self.extractor = self._evaluator.extractor.name

    def _open(self) -> None:
        """Finds out what can be computed: before the first round, as an extractor's weights may be missing."""
        found = make_evaluator(self._config, self._roster)
        self._evaluator = found if isinstance(found, Evaluator) else None
        if isinstance(found, Evaluator):
            against = found.limits.reasons()
        else:
            kind, source = self._roster.spec.kind, type(self._config.source)
            against = {name: found for name in table.held_out() if concerns(METRICS[name], kind, source)}
        self._extractor = client_statistics.extractor_for(self._config, self._roster, self._evaluator)
        against |= client_statistics.reasons(self._config, self._roster, self._extractor)
        self.reasons += sentences(against)
        self._federated = FEDERATED_FID.name not in against
        evaluation = self._config.evaluation
        if self._evaluator is not None:
            self.warnings += self._evaluator.limits.remarks(evaluation.final_num_samples)
        elif self._extractor is not None:
            doubt = doubt_of_features(self._extractor.name, evaluation.extractor, self._likely_digits())
            self.warnings += filter(None, [doubt])

    def _likely_digits(self) -> float | None:
        """Returns 1 if clients say that they hold MNIST, whose images the server lacks; else None: nobody knows."""
        numerals = self._roster.class_names == tuple("0123456789")
        source = self._config.source
        return 1.0 if numerals and (source.holds_digits or source.stacks_digits) else None

    @property
    def held_out(self) -> ExampleSet | None:
        """The server's examples that no client trains on; None: it holds none."""
        return self._evaluator.held_out if self._evaluator else None

    @property
    def silent(self) -> bool:
        """Whether there are no scores at all."""
        queried = any(QUERIES[name].between_rounds for name in self._queries())
        return self._scorer_is_out and not queried and not (self._evaluator and self._evaluator.available)

    @property
    def _scorer_is_out(self) -> bool:
        return self._extractor is None or not self._federated

    def published(self, state: ServerState) -> Tree:
        """Returns the networks of a state that are scored and published; empty if none are shared."""
        return state.published(self._config.model_component.roles)

    def quick(self, weights: Tree) -> Scores:
        """Returns the scores between rounds of a generator with these weights; empty where there are none.

        Raises:
            DivergenceError: Its images are not finite.
        """
        steps = Forgiving()
        num = self._config.evaluation.num_samples
        scores = self._score(weights, table.quick(), num, steps, num_held_out=num)
        if self._evaluator is None:
            for name in self._queries():
                if QUERIES[name].between_rounds:
                    scores |= self._ask(name, weights, steps)
        self._add(steps.failed)
        return scores

    def leave_out_final(self, why: str) -> None:
        """Has ``final`` compute nothing, as it is not worth its time."""
        self._has_final = False
        self.reasons.append(f"no final scores: {why}")

    def final(self, state: ServerState) -> Scores:
        """Returns all scores of a run's last generator, and says how far it is; no metric that fails is raised.

        Raises:
            OSError: Something cannot be written, or there is no memory.
        """
        steps, num_samples = Final(), self._config.evaluation.final_num_samples
        weights = self.published(state)
        if not weights or not self._has_final:
            return {}
        looked_at = {"published": weights, "shared": {**weights, **state.parameters}}
        announce(num_samples, self._steps())
        scores = self._score(weights, table.held_out(), num_samples, steps)
        for name in self._queries():
            scores |= self._ask(name, looked_at[QUERIES[name].looks_at], steps)
        self._add(steps.failed)
        return scores

    def audit(self, round: int) -> dict[str, Any] | None:
        """Returns what ``findings`` makes of clients' last answers; None: nobody said what the model gives away."""
        if not any(self._answers.get(name) for name in AUDITS):
            return None
        titles = tuple(QUERIES[name].title for name in AUDITS)
        missing = [reason for reason in self.reasons if reason.startswith(titles)]
        return findings(self._answers, self._config, round, missing, len(self._roster.clients))

    def _ask(self, name: str, weights: Tree, steps: Forgiving) -> Scores:
        """Returns the scores that clients' answers to a query about these weights make; empty if none answers."""
        title = QUERIES[name].title
        ask = partial(client_statistics.ask_of_model, name, self._config, self._roster, self._grid, weights)
        nothing: tuple[dict[int, Any], dict[int, str]] = ({}, {})
        answers, silent = steps.run(title, ask, nothing)
        self._answers[name] = answers
        scores = dict(QUERIES[name].scores(answers, len(self._roster.clients))) if answers else {}
        if silent and not answers:
            steps.failed.setdefault(title, f"no client tells it ({client_statistics.named(silent, self._roster)})")
        return scores

    def made_with(self, scores: Mapping[str, object]) -> ScoredWith | None:
        """Returns what scores between rounds were made with; None where there are none."""
        return describe_scores(scores, self.extractor, self._count(self._config.evaluation.num_samples), 0, ())

    def summary(self, scores: Mapping[str, object]) -> dict[str, Any]:
        """Returns what a summary has beside the final scores: how they were made, and why others were not."""
        evaluation = self._config.evaluation
        num_samples, utility = self._count(evaluation.final_num_samples), evaluation.utility_num_samples
        made = describe_scores(scores, self.extractor, num_samples, utility, self.warnings)
        return ({"scored-with": made} if made else {}) | {"not-scored": self.reasons}

    def _steps(self) -> list[str]:
        own = self._evaluator.steps(self._evaluator.available) if self._evaluator else []
        federated = [] if self._scorer_is_out else [FEDERATED_FID.name]
        return own + federated + [QUERIES[name].title for name in self._queries()]

    def _queries(self) -> list[str]:
        """Returns what clients are asked of the last generator."""
        kind = self._roster.spec.kind
        of_model = {name: query for name, query in QUERIES.items() if query.of_model and kind in query.kinds}
        return [name for name, query in of_model.items() if query.needed(self._config)]

    def _score(
        self,
        weights: Tree,
        names: tuple[str, ...],
        num_samples: int,
        steps: Forgiving,
        num_held_out: int | None = None,
    ) -> Scores:
        if not weights or (self._evaluator is None and self._scorer is None):
            return {}
        evaluator, scorer, num_samples = self._evaluator, self._scorer, self._count(num_samples)
        generator: Sampler = load_sampler(
            self._config.model_component, self._roster.spec, weights, "cuda" if torch.cuda.is_available() else "cpu"
        )
        sample = None
        both = [n for n in names if evaluator and n in evaluator.available and METRICS[n].sample == "shared"]
        if evaluator and scorer and both:
            affected = [*both, FEDERATED_FID.name]
            sample = steps.run(SAMPLE, lambda: evaluator.sample(generator, num_samples), None, affected)
            if sample is None:
                names, scorer = tuple(name for name in names if name not in both), None
        scores = evaluator.score(generator, names, num_samples, sample, steps, num_held_out) if evaluator else {}
        if scorer:
            scores |= steps.run(FEDERATED_FID.name, lambda: scorer.score(generator, num_samples, sample), Scores())
        return scores

    def _count(self, num_samples: int) -> int:
        """Returns how many images are generated for ``num_samples``: without data two of each class, at least."""
        return num_samples if self._evaluator else max(num_samples, 2 * self._roster.spec.num_classes)

    @cached_property
    def _scorer(self) -> FederatedScorer | None:
        """What scores by moments of clients' images, which they are asked for when the first scores are due."""
        if self._scorer_is_out:
            return None
        scorer, silent = client_statistics.ask_moments(
            self._config, self._roster, self._grid, self._extractor, self._moments
        )
        known = [k for k, client in self._roster.clients.items() if client.without_moments]
        if scorer is None:
            self._add(
                dict.fromkeys(
                    client_statistics.NAMES,
                    f"no client sent moments of its images ({client_statistics.named(silent, self._roster)})",
                )
            )
        elif others := {k: reason for k, reason in silent.items() if k not in known}:
            names = client_statistics.named(others, self._roster)
            self._add({f"{OF_CLIENTS} of some clients": f"they sent no moments of their images ({names})"})
        return scorer

    def _add(self, failed: Mapping[str, str]) -> None:
        """Notes what could not be computed, once."""
        for sentence in sentences(failed):
            if sentence not in self.reasons:
                log.warning("%s", sentence)
                self.reasons.append(sentence)
