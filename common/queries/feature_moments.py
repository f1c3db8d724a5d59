"""Moments of the features of a client's images, which federated scores are made of."""

from typing import ClassVar

import torch

from common import metrics
from common.errors import DataError
from common.metrics import ClientMoments
from common.queries.base import ClientQuery, Known, RefusalError, Respondent, no_moments
from common.tree import Tree

FEWEST = 10
"""Images of a site's own in a group of moments: those of one image would be its features."""


class FeatureMoments(ClientQuery[ClientMoments]):
    """Asks for ``ClientMoments`` of the training images, or with folds of those held out; by class as far as known."""

    title: ClassVar[str] = "moments of features"
    of_model: ClassVar[bool] = False

    def reason_against(self, client: Respondent) -> str:
        if reason := no_moments(client):
            return reason
        num = 0 if client.scored_on is None else len(client.scored_on)
        if num < (FEWEST if client.own else 1):
            return f"{num} images are too few to give moments of: {FEWEST if client.own else 1} at least"
        return ""

    def answer(self, question: Tree, client: Respondent) -> Tree:
        if reason := self.reason_against(client):
            raise RefusalError(reason)
        extractor = client.extractor
        if extractor is None:
            raise RefusalError("there is no extractor for its images")
        images = client.scored_on
        assert images is not None
        labels = images.labels if client.discloses_labels else None
        if client.own:  # nothing of a site's own images is kept
            features = extractor(images.stored)
        else:
            features = metrics.kept_features(extractor, images.stored).to(client.device)
        try:
            found = ClientMoments.of(
                features,
                None if labels is None else labels.to(features.device),
                client.spec.num_classes,
                fewest=FEWEST if client.own else 1,  # the server could compute those of a simulated client itself
            )
        except DataError as error:
            raise RefusalError(str(error)) from None
        return found.tree()

    def read(self, answer: Tree, known: Known) -> ClientMoments:
        num = _num_held_out(answer, known) if known.folds else known.num_examples
        found = ClientMoments.from_tree(answer, known.num_features, known.num_classes, num)
        if known.folds:  # the roll call is of what is trained on
            return found
        if None not in (known.label_counts, found.label_counts) and known.label_counts != found.label_counts:
            raise DataError(f"label counts {list(found.label_counts or ())} are not those of the roll call")
        return found


def _num_held_out(answer: Tree, known: Known) -> int:
    """Returns how many images a client says that its fold has.

    Raises:
        DataError: None, or more than can be beside those that it trains on.
    """
    counts = answer.get("counts", torch.zeros(0))
    num = 0 if counts.dtype.is_floating_point else int(counts.sum())
    if not 0 < num <= known.num_examples + 1:  # of two folds or more, by classes
        raise DataError(f"{num} images cannot be one of {known.folds} folds beside {known.num_examples} others")
    return num
