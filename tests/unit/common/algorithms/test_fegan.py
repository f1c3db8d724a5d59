"""FeGAN: balanced cohorts, and the weights of kl-skewed."""

from dataclasses import replace

import pytest
import torch

from common import tree
from common.algorithms import Client, Reply
from common.algorithms.fedavg import FedAvg
from common.algorithms.fegan import FeGAN
from common.errors import FederationError
from common.models.base import ADVERSARIAL
from common.weightings.kl_skewed import KLSkewed
from tests.unit.common.algorithms.training import make_context


def context_of(*counts, seed=0):
    clients = {k: Client(sum(own), tuple(own) + (0,) * (10 - len(own))) for k, own in enumerate(counts)}
    return make_context(seed=seed, clients=clients)


def test_a_cohort_of_as_many_clients_as_classes_holds_every_class():
    context = context_of(*([0] * (k % 5) + [10 + k] for k in range(40)))  # one class a client, eight a class
    for round in range(1, 30):
        cohort = FeGAN().cohort(5, round, context)
        assert sorted(k % 5 for k in cohort) == [0, 1, 2, 3, 4]
    random = [sorted({k % 5 for k in FedAvg().cohort(5, round, context)}) for round in range(1, 30)]
    assert sum(len(classes) == 5 for classes in random) < 10  # by chance it is 4 % of the rounds


def test_the_next_client_holds_the_class_that_is_rarest_so_far():
    context = context_of([100, 0, 0], [0, 60, 40], [0, 0, 5], [10, 10, 0])
    for round in range(1, 20):
        cohort = FeGAN().cohort(3, round, context)
        held = [sum(context.clients[k].label_counts[label] for k in cohort) for label in range(3)]
        assert all(held), cohort  # three clients can hold all classes, and greedily do


def test_cohorts_are_a_function_of_seed_and_round_and_every_client_has_its_turn():
    context = context_of(*([k % 3 == 0, k % 3 == 1, 1 + k] for k in range(12)))
    cohorts = [FeGAN().cohort(4, round, context) for round in range(1, 200)]
    assert cohorts == [FeGAN().cohort(4, round, context) for round in range(1, 200)]
    assert cohorts != [FeGAN().cohort(4, round, replace(context, seed=1)) for round in range(1, 200)]
    assert all(cohort == sorted(set(cohort)) and len(cohort) == 4 for cohort in cohorts)
    assert {k for cohort in cohorts for k in cohort} == set(range(12))


def test_all_clients_are_a_cohort_too():
    assert FeGAN().cohort(9, 1, context_of([1], [1], [2])) == [0, 1, 2]


def test_a_client_that_keeps_its_labels_to_itself_is_named():
    context = context_of([1], [1])
    with pytest.raises(FederationError, match="partition 1 has not said"):
        FeGAN().cohort(1, 1, replace(context, clients=context.clients | {1: Client(3)}))


def test_the_skewed_client_counts_more_and_the_mean_is_that_of_fedavg_with_kl_skewed():
    context = context_of([30, 30], [0, 60], [30, 30])
    state = FeGAN().init({"generator.w": torch.zeros(2)}, ADVERSARIAL)
    replies = [Reply(k, 60, {"generator.w": torch.tensor([0.0, 1.0]) * (k == 1)}) for k in range(3)]
    after = FeGAN().update(state, replies, context)
    assert float(after.parameters["generator.w"][1]) > 0.34  # a third if all counted the same
    plain = FedAvg().update(state, replies, replace(context, weighting=KLSkewed()))
    assert tree.digest(after.parameters) == tree.digest(plain.parameters)
