"""Scores of the generator that need no image on the server: against what clients tell of theirs, once a run."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from common import metrics, wire
from common.config import RunConfig
from common.errors import CheckpointError, DataError
from common.files import load_sealed, save_sealed
from common.generation import balanced_labels, generate_on_all_cores
from common.metrics import ClientMoments, Sample, Scores, features_on_all_cores
from common.metrics.federated import FEDERATED_FID, OF_CLASSES, OF_CLIENTS
from common.models import Sampler
from common.queries import QUERIES, ClientQuery, Known
from common.seeding import derive_seed
from common.tree import Tree
from server.clients.resilient_grid import ResilientGrid
from server.clients.roster import Roster, one_line
from server.evaluation.evaluator import Evaluator, extractor_of
from server.evaluation.limits import FEWEST, no_extractor

log = logging.getLogger("fedgan.server")

T = TypeVar("T")

MOMENTS = "feature-moments"
"""The query that federated scores are made of."""

_KIND, _VERSION = "fedgan-moments", 1
_NAMED = 10  # clients whose reasons are logged
NAMES = (FEDERATED_FID.name, OF_CLIENTS, OF_CLASSES)


class FederatedScorer:
    """Scores generators by the moments that clients have sent; see ``common/metrics/federated.py``.

    Args:
        config: The run's.
        roster: Its clients.
        extractor: That of the clients.
        clients: What they have sent, by partition; at least one.
    """

    def __init__(
        self, config: RunConfig, roster: Roster, extractor: metrics.Extractor, clients: Mapping[int, ClientMoments]
    ) -> None:
        self._seed = derive_seed(config.seed, "evaluation", "federated")
        self._conditional = config.model_component.conditional
        self._num_clients = len(roster.clients)
        self._num_classes = roster.spec.num_classes
        self._extractor = extractor
        self._clients = clients
        counts = [client.label_counts for client in clients.values()]
        columns = zip(*(row for row in counts if row is not None), strict=True)
        self._held = [None in counts or sum(column) > 0 for column in columns] or [True] * self._num_classes

    def score(self, generator: Sampler, num_samples: int, sample: Sample | None = None) -> Scores:
        """Returns the federated scores of a generator, and ``federated-clients`` if they are not over all of them.

        Args:
            generator: See ``common.generation.generate``.
            num_samples: Generated images.
            sample: Images that the generator made already: taken if it has two at least of every class that a client
                holds. Others have balanced labels.
        """
        if sample is None or sample.features is None or not self._enough(sample.labels):
            labels = balanced_labels(max(num_samples, 2 * self._num_classes), self._num_classes)
            features = features_on_all_cores(self._extractor, generate_on_all_cores(generator, labels, self._seed))
        else:
            labels, features = sample.labels, sample.features
        fakes = metrics.moments_by_label(features, labels if self._conditional else None, self._num_classes)
        return metrics.federated_scores(self._clients, fakes, self._num_clients, self._num_classes)

    def _enough(self, labels: Tensor) -> bool:
        made = labels.bincount(minlength=self._num_classes).tolist()
        return all(count > 1 for count, held in zip(made, self._held, strict=True) if held)


def reasons(config: RunConfig, roster: Roster, extractor: metrics.Extractor | None) -> dict[str, str]:
    """Returns why federated scores cannot be computed, by their names, as far as is known before clients are asked.

    Args:
        config: The run's.
        roster: Its clients.
        extractor: As ``extractor_for`` gives it.
    """
    if roster.spec.kind not in FEDERATED_FID.kinds:
        return {}
    withheld = {k: one_line(client.without_moments) for k, client in roster.clients.items() if client.without_moments}
    if not config.evaluation.federated or config.privacy_component.private:
        private = "under a promise of privacy clients send no moments of their images"
        return dict.fromkeys(NAMES, private if config.evaluation.federated else "evaluation.federated=false")
    if extractor is None:
        return dict.fromkeys(NAMES, no_extractor(config.evaluation, roster.spec))
    if len(withheld) == len(roster.clients):
        return dict.fromkeys(NAMES, f"no client sends moments of its images ({named(withheld, roster)})")
    if (total := sum(client.num_examples for client in roster.clients.values())) < FEWEST:
        return dict.fromkeys(NAMES, f"the clients' {total} image(s) are too few, it takes {FEWEST}")
    found = {}
    if withheld:
        found[f"{OF_CLIENTS} of some clients"] = f"they send no moments of their images ({named(withheld, roster)})"
    if not config.model_component.conditional:
        found[OF_CLASSES] = "the generator is not conditional"
    elif roster.spec.num_classes == 1:
        found[OF_CLASSES] = "there is one class only"
    return found


def extractor_for(config: RunConfig, roster: Roster, evaluator: Evaluator | None) -> metrics.Extractor | None:
    """Returns the extractor of federated scores: the evaluator's where the server has one; None without such scores.

    Raises:
        ConfigError: It does not take the clients' images.
        DataError: Its weights are missing or unusable.
    """
    if not config.evaluation.federated or config.privacy_component.private:
        return None
    return evaluator.extractor if evaluator else extractor_of(config, roster.spec)


def ask_moments(
    config: RunConfig, roster: Roster, grid: ResilientGrid, extractor: metrics.Extractor | None, file: Path
) -> tuple[FederatedScorer | None, dict[int, str]]:
    """Queries all clients for moments of their images' features, and returns what scores by them; None if none has any.

    Clients that refuse, fail or do not answer within ``evaluation.answer-seconds`` are left out, with their reason in
    the log, for all of the run: what the others sent is kept, and a resumed run asks nobody again, so that its figures
    are over the same clients as before.

    Args:
        config: The run's.
        roster: Its clients.
        grid: Where they are.
        extractor: As ``extractor_for`` gives it; without one nobody is asked.
        file: Keeps what clients have sent.

    Returns:
        Beside it, why clients were left out, by partition.
    """
    if extractor is None:
        return None, {}
    features = {"extractor": extractor.name, "weights": config.evaluation.inception_weights}
    if (trees := _kept(file, features)) is not None:
        silent: dict[int, str] = {}
    else:
        answers, silent = grid.ask(MOMENTS, None, config.evaluation.answer_seconds, roster.shared_spec)
        trees = {partition: answer.arrays for partition, answer in answers.items()}
    clients: dict[int, ClientMoments] = _read(
        QUERIES[MOMENTS], trees, silent, roster, extractor.dimension, config.evaluation.folds
    )
    if not clients:
        return None, silent
    if not file.exists():
        tensors = {f"{k}/{key}": value for k in clients for key, value in trees[k].items()}
        save_sealed(file, _KIND, _VERSION, features, tensors)
    return FederatedScorer(config, roster, extractor, clients), silent


def _kept(file: Path, features: Mapping[str, str]) -> dict[int, Tree] | None:
    """Returns what clients sent already, by partition; None if that is not there, or of other features.

    A file that is of no use is removed.
    """
    if not file.exists():
        return None
    try:
        header, tensors = load_sealed(file, _KIND, _VERSION)
        if any(header.get(key) != value for key, value in features.items()):
            raise CheckpointError(f"{file} is of other features than evaluation.extractor says now")
    except CheckpointError as error:
        log.warning("%s: clients are asked for moments again", error)
        file.unlink()
        return None
    trees: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        partition, _, key = name.partition("/")
        trees.setdefault(int(partition), {})[key] = value
    log.info("federated scores are over the %d client(s) that sent moments already", len(trees))
    return dict(sorted(trees.items()))


def ask_of_model(
    name: str, config: RunConfig, roster: Roster, grid: ResilientGrid, weights: Tree
) -> tuple[dict[int, Any], dict[int, str]]:
    """Queries all clients about the published networks; nothing if the run does not want it.

    Args:
        name: Of the query.
        config: The run's.
        roster: Its clients.
        grid: Where they are.
        weights: Those that the query looks at; empty: there are none.

    Returns:
        What clients' answers mean, see the query, by partition; and why others tell nothing.
    """
    query = QUERIES[name]
    if not weights or not query.needed(config):
        return {}, {}
    answers, silent = grid.ask(name, wire.encode_tree(weights), config.evaluation.answer_seconds, roster.shared_spec)
    return _read(query, {partition: answer.arrays for partition, answer in answers.items()}, silent, roster), silent


def _read(
    query: ClientQuery[T],
    trees: Mapping[int, Tree],
    silent: dict[int, str],
    roster: Roster,
    num_features: int = 0,
    folds: int = 0,
) -> dict[int, T]:
    """Returns what answers mean, by partition; ``silent`` gets why others mean nothing, and the log says so."""
    values: dict[int, T] = {}
    for partition, tree in trees.items():
        client = roster.clients[partition]
        known = Known(client.num_examples, roster.spec.num_classes, client.label_counts, num_features, folds)
        try:
            values[partition] = query.read(tree, known)
        except DataError as error:
            silent[partition] = one_line(str(error))
    _log_silent(query.title, silent, roster)
    return values


def _log_silent(what: str, silent: Mapping[int, str], roster: Roster) -> None:
    if silent:
        log.warning("%s: %d of %d clients tell none: %s", what, len(silent), len(roster.clients), named(silent, roster))


def named(silent: Mapping[int, str], roster: Roster) -> str:
    """Returns clients with their reasons in one line, the first ten of them."""
    shown = "; ".join(f"{roster.label(k)}: {silent[k]}" for k in sorted(silent)[:_NAMED])
    return shown + (f"; and {len(silent) - _NAMED} more" if len(silent) > _NAMED else "")
