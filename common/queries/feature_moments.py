"""Moments of the features of a client's images, which federated scores are made of."""

from typing import ClassVar

from common import metrics
from common.errors import DataError
from common.metrics import ClientMoments
from common.queries.base import ClientQuery, Known, RefusalError, Respondent, no_moments
from common.tree import Tree

FEWEST = 10
"""Images of a site's own in a group of moments: those of one image would be its features."""


class FeatureMoments(ClientQuery[ClientMoments]):
    """Asks for ``ClientMoments`` of the training images, of each class where labels may be known."""

    title: ClassVar[str] = "moments of features"
    of_model: ClassVar[bool] = False

    def reason_against(self, client: Respondent) -> str:
        if reason := no_moments(client):
            return reason
        if client.own and len(client.examples) < FEWEST:
            return f"{len(client.examples)} images are too few to give moments of: {FEWEST} at least"
        return ""

    def answer(self, question: Tree, client: Respondent) -> Tree:
        if reason := self.reason_against(client):
            raise RefusalError(reason)
        extractor = client.extractor
        if extractor is None:
            raise RefusalError("there is no extractor for its images")
        labels = client.examples.labels if client.discloses_labels else None
        if client.own:  # nothing of a site's own images is kept
            features = extractor(client.examples.stored)
        else:
            features = metrics.kept_features(extractor, client.examples.stored).to(client.device)
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
        found = ClientMoments.from_tree(answer, known.num_features, known.num_classes, known.num_examples)
        if None not in (known.label_counts, found.label_counts) and known.label_counts != found.label_counts:
            raise DataError(f"label counts {list(found.label_counts or ())} are not those of the roll call")
        return found
