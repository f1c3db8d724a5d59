"""F2U: the most forgiving discriminator, and it alone, teaches the generator."""

import pytest
import torch

from common.algorithms import Client
from common.algorithms.f2u import F2U
from common.config import RunConfig
from common.errors import ConfigError
from common.objectives import OBJECTIVES
from tests.unit.common.algorithms.training import make_context

LOGITS = torch.tensor([[2.0, -3.0, 0.5], [-1.0, 0.4, 9.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("shares", "winners"),
    [
        ([[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]], [[1, 0, 0], [0, 1, 1]]),
        ([[0.1, 0.1, 1.0], [0.9, 0.9, 0.0]], [[1, 0, 1], [0, 1, 0]]),  # who does not hold the label has no say
    ],
)
def test_only_the_largest_logit_of_those_who_may_forgive_moves_the_loss(shares, winners):
    shares, winners = torch.tensor(shares, dtype=torch.float64), torch.tensor(winners, dtype=torch.float64)
    slopes = F2U().slopes(LOGITS, shares, OBJECTIVES["non-saturating"]())
    torch.testing.assert_close(slopes, -winners * torch.sigmoid(-LOGITS) / 3)


def test_by_label_is_off_where_it_is_switched_off_or_a_client_keeps_its_labels_to_itself():
    labels = torch.tensor([0, 1])
    clients = {0: Client(4, (4, 0)), 1: Client(4, (2, 2))}
    known, silent = make_context(clients=clients), make_context(clients={**clients, 1: Client(4, None)})
    assert F2U().shares([0, 1], labels, known).tolist() == [[4 / 6, 0.0], [2 / 6, 1.0]]
    assert F2U(by_label=False).shares([0, 1], labels, known).tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert F2U().shares([0, 1], labels, silent).tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_an_aggregate_that_is_no_mean_is_refused():
    with pytest.raises(ConfigError, match=r"median.*takes the largest of the clients' logits"):
        RunConfig(algorithm="f2u", aggregate="median")
