"""What a client query is: both halves of a question beside the rounds that each client answers from its own images."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import torch

from common import metrics
from common.audit import Canaries
from common.config import RunConfig
from common.examples import ExampleSet, ExampleSpec, ImageSpec, TextSpec
from common.tree import Tree

T = TypeVar("T")

Figures = metrics.Scores
"""Scores by name; a list has a figure a client, by partition, None where it is unknown."""


class RefusalError(Exception):
    """The client does not say it; the message is why."""


@dataclass(frozen=True, eq=False)
class Respondent:
    """A client that answers a query, with what it holds. Nothing of it leaves the client but what the query returns.

    Attributes:
        config: The run's.
        partition: The client's partition id.
        examples: What it trains on, canaries among them.
        held_out: Images that nobody trains on; None without ``evaluation.holdout`` and ``evaluation.folds``.
        test: What the data hold out of the sources of its examples, or the fold; None where the data name no sources.
        spec: Of the examples, and the number of classes.
        own: Whether the images are a site's own, which nobody else has; else a part of a data set that is split.
        discloses_labels: Whether the server may know how many images each class has.
        discloses_moments: Whether the server may have sums over its examples: moments of features, or likelihoods.
        device: Where to compute.
        canaries: Those of ``evaluation.canaries``; what is trained on of them stands at the end of ``examples``.
    """

    config: RunConfig
    partition: int
    examples: ExampleSet
    held_out: ExampleSet | None
    test: ExampleSet | None
    spec: ExampleSpec
    own: bool
    discloses_labels: bool
    discloses_moments: bool
    device: torch.device
    canaries: Canaries | None = None

    @property
    def natural(self) -> ExampleSet:
        """What it trains on, without canaries."""
        if self.canaries is None:
            return self.examples
        return self.examples.subset(np.arange(len(self.examples) - int(self.canaries.included.sum())))

    @property
    def scored_on(self) -> ExampleSet | None:
        """What federated scores are against: what it trains on, or with folds what is held out; None: nothing is."""
        return self.held_out if self.config.evaluation.folds else self.examples

    @property
    def extractor(self) -> metrics.Extractor | None:
        """Of the images' features, the same one to all clients of a process; None: there is none for them."""
        evaluation, spec = self.config.evaluation, self.spec
        if not isinstance(spec, ImageSpec):
            return None
        stacks = self.config.source.stacks_digits
        weights = evaluation.inception_weights
        return _kept(evaluation.extractor, spec.channels, spec.size, weights, self.device, stacks)


@dataclass(frozen=True)
class Known:
    """What the server knows of a client, to hold its answer against.

    Attributes:
        num_examples: Images that it holds.
        num_classes: How many there are.
        label_counts: Images of each class; None from a client that keeps them to itself, or was sent no query.
        num_features: Of the run's extractor; 0: there is none.
        folds: Those of the run's ``evaluation.folds``.
    """

    num_examples: int
    num_classes: int
    label_counts: tuple[int, ...] | None = None
    num_features: int = 0
    folds: int = 0


class ClientQuery(ABC, Generic[T]):
    """Base of the client queries.

    The client's half is ``answer``. The server's half says when a run asks (``needed``), what an answer means
    (``read``), and which scores all of them make (``scores``).
    """

    title: ClassVar[str] = ""
    """What it is called in logs and in the reasons why something is not computed."""

    kinds: ClassVar[frozenset[str]] = frozenset({"images"})
    """The kinds of example that it is about."""

    of_model: ClassVar[bool] = True
    """Whether a run asks it at its end, of the published networks; else whatever needs the answers asks it."""

    looks_at: ClassVar[Literal["published", "shared"]] = "published"
    """Which weights a query ``of_model`` is about: those of the published networks, or all that the server holds."""

    between_rounds: ClassVar[bool] = False
    """Whether a run asks it of each round that is scored as well, where the server has no examples of its own to score
    with; each time the weights travel to every client once more."""

    def needed(self, config: RunConfig) -> bool:
        """Returns whether a run asks it; by default each does."""
        return True

    def reason_against(self, client: Respondent) -> str:
        """Returns why a client does not answer, whatever the question; empty: it does, as far as can be said before."""
        return ""

    @abstractmethod
    def answer(self, question: Tree, client: Respondent) -> Tree:
        """Returns what a client sends.

        Args:
            question: The weights that it ``looks_at`` where the query is ``of_model``, else empty; not to be written
                to.
            client: The client that answers.

        Raises:
            RefusalError: It sends nothing; says why.
        """

    @abstractmethod
    def read(self, answer: Tree, known: Known) -> T:
        """Returns what an answer means.

        Args:
            answer: From a client, who may have sent anything.
            known: Of that client.

        Raises:
            DataError: It cannot be an answer; says why.
        """

    def findings(self, answer: T) -> dict[str, Any]:
        """Returns what an answer adds to what an audit says of the client, as JSON has it; by default nothing."""
        return {}

    def scores(self, answers: Mapping[int, T], num_clients: int) -> Figures:
        """Returns the scores that the answers make; by default none.

        Args:
            answers: What ``read`` returned, by partition, ascending; one at least.
            num_clients: In the federation.
        """
        return {}


class TextQuery(ClientQuery[T]):
    """Base of queries about what a published model makes of texts, of clients that may give sums over theirs."""

    kinds: ClassVar[frozenset[str]] = frozenset({TextSpec.kind})

    def needed(self, config: RunConfig) -> bool:
        return config.evaluation.federated

    def reason_against(self, client: Respondent) -> str:
        return no_moments(client)


def no_moments(client: Respondent) -> str:
    """Returns why a client gives no sums over its examples, if its site says so; else empty."""
    return "" if client.discloses_moments else "disclose-moments=false"


def by_client(figures: Mapping[int, float], num_clients: int) -> list[float | None]:
    """Returns figures by partition as a list, with None for the clients that have none."""
    return [figures.get(partition) for partition in range(num_clients)]


@functools.lru_cache(maxsize=1)
def _kept(
    name: str, channels: int, size: int, weights: str, device: torch.device, stacks: bool
) -> metrics.Extractor | None:
    return metrics.extractor_for(name, channels, size, weights, device, stacks_digits=stacks)
