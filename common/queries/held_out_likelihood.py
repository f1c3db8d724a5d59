"""How well the published model expects a client's held-out texts."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from common.errors import DataError
from common.generation import load_sampler
from common.metrics.federated_next_token import FEDERATED_NEXT_TOKEN, federated_scores
from common.metrics.next_token import tally
from common.queries.base import Figures, Known, RefusalError, Respondent, TextQuery
from common.tree import Tree

FEWEST = 10
"""Held-out rows of a site's own: sums over fewer would say what single lines are like."""

_MOST_NATS = 1e3  # a character: no probability of float32 is so small


class HeldOutLikelihood(TextQuery[Tensor]):
    """Asks for ``sums``, float64 (3,): held-out characters, those rightly expected, and nats; see ``metrics.tally``.

    The scores are those of ``federated_scores``.
    """

    title: ClassVar[str] = FEDERATED_NEXT_TOKEN.name
    between_rounds: ClassVar[bool] = True

    def answer(self, question: Tree, client: Respondent) -> Tree:
        if reason := self.reason_against(client):
            raise RefusalError(reason)
        rows, fewest = client.test, FEWEST if client.own else 1
        if rows is None or len(rows) < fewest:
            num = 0 if rows is None else len(rows)
            raise RefusalError(f"{num} held-out row(s) of text are too few to give sums of: {fewest} at least")
        sampler = load_sampler(client.config.model_component, client.spec, question, client.device)
        return {"sums": tally(sampler, rows.stored, rows.labels).sum(0)}

    def read(self, answer: Tree, known: Known) -> Tensor:
        sums = answer.get("sums", torch.zeros(0))
        if sums.dtype != torch.float64 or sums.shape != (3,):
            raise DataError(f"sums are {tuple(sums.shape)} {sums.dtype}, not (3,) torch.float64")
        characters, right, nats = sums.tolist()
        whole = characters.is_integer() and right.is_integer() and 0 <= right <= characters and characters > 0
        if not (whole and math.isfinite(nats) and 0 <= nats <= _MOST_NATS * characters):
            raise DataError(f"{right:g} of {characters:g} characters in {nats:g} nats are no sums of predictions")
        return sums

    def scores(self, answers: Mapping[int, Tensor], num_clients: int) -> Figures:
        return federated_scores(answers, num_clients)
