"""MD-GAN: its slopes, and discriminators that move on, each to another client, and are never lost."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from training import MODEL, SPEC, one_round, trainer_of

from common import tree
from common.aggregators import AGGREGATORS
from common.algorithms import Client, Reply
from common.algorithms.md_gan import MDGAN
from common.config_sections import LocalConfig
from common.models.base import ADVERSARIAL
from common.objectives import OBJECTIVES
from tests.unit.common.algorithms.training import make_context

LOCAL = LocalConfig(steps=2, batch_size=4)
CLIENTS = {k: Client(9, tuple(9 * (label == k) for label in range(10))) for k in range(5)}
CONTEXT = make_context(seed=5, clients=CLIENTS, model=MODEL, spec=SPEC, local=LOCAL)
SMALL = {"steps": 2, "batch_size": 4}


def arriving(payloads):
    return {k: tree.digest(tree.select(payload.arrays, ["discriminator"])) for k, payload in payloads.items()}


def kept(memories):
    return {k: tree.digest(memory["discriminator"]) for k, memory in memories.items()}


def test_every_clients_loss_counts_by_its_share_and_with_its_sign():
    logits = torch.tensor([[2.0, 0.0], [-1.0, 3.0]], dtype=torch.float64)
    shares = torch.tensor([[0.75, 1.0], [0.25, 0.0]], dtype=torch.float64)
    slopes = MDGAN().slopes(logits, shares, OBJECTIVES["non-saturating"]())
    torch.testing.assert_close(slopes, -shares * torch.sigmoid(-logits) / 2)  # softplus(-x)' = -sigmoid(-x)
    upward = MDGAN().slopes(logits, shares, OBJECTIVES["hinge"]())
    torch.testing.assert_close(upward, -shares / 2)


def test_every_discriminator_moves_to_another_client_and_all_are_still_there():
    algorithm = MDGAN()
    state, memories = algorithm.init(trainer_of().initial(), ADVERSARIAL), {k: {} for k in CLIENTS}
    seen = set()
    for _ in range(4):
        replies = one_round(algorithm, state, memories, context=CONTEXT, **SMALL)
        state = algorithm.update(state, replies, CONTEXT)
        before = kept(memories)
        after = arriving(algorithm.broadcast(state, list(CLIENTS), CONTEXT))
        assert sorted(after.values()) == sorted(before.values())
        assert all(after[k] != before[k] for k in CLIENTS)
        seen.add(tuple(list(before.values()).index(after[k]) for k in CLIENTS))
    assert len(seen) > 1  # not always the same way


def test_what_arrives_is_what_is_trained_on():
    algorithm = MDGAN()
    state, memories = algorithm.init(trainer_of().initial(), ADVERSARIAL), {0: {}, 1: {}}
    state = algorithm.update(state, one_round(algorithm, state, memories, context=CONTEXT), CONTEXT)
    payload = algorithm.broadcast(state, [0], CONTEXT)[0]
    trainer = trainer_of(0, 2)
    trainer.fit = lambda **given: {}
    algorithm.run(payload, trainer, memories[0], 0)
    assert tree.digest(memories[0]["discriminator"]) == arriving({0: payload})[0]


def test_one_that_is_requested_later_gets_its_discriminator_then_and_nobody_else_does():
    algorithm = MDGAN()
    state, memories = algorithm.init(trainer_of().initial(), ADVERSARIAL), {k: {} for k in CLIENTS}
    first = one_round(algorithm, state, memories, context=CONTEXT, **SMALL)
    state = algorithm.update(state, first, CONTEXT)
    waiting = arriving(algorithm.broadcast(state, [4], CONTEXT))[4]
    for cohort in ([0, 1], [1, 2, 3]):
        some = {k: memories[k] for k in cohort}
        replies = one_round(algorithm, state, some, context=CONTEXT, **SMALL)
        assert waiting not in arriving(algorithm.broadcast(state, cohort, CONTEXT)).values()
        state = algorithm.update(state, replies, CONTEXT)
    assert arriving(algorithm.broadcast(state, [4], CONTEXT))[4] == waiting


def test_a_discriminator_whose_new_client_did_not_answer_is_sent_again():
    algorithm = MDGAN()
    state, memories = algorithm.init(trainer_of().initial(), ADVERSARIAL), {k: {} for k in range(3)}
    state = algorithm.update(state, one_round(algorithm, state, memories, context=CONTEXT, **SMALL), CONTEXT)
    lost = arriving(algorithm.broadcast(state, [2], CONTEXT))[2]
    replies = one_round(algorithm, state, memories, context=CONTEXT, **SMALL)
    state = algorithm.update(state, replies[:2], CONTEXT)  # the third reply was lost, or refused
    assert arriving(algorithm.broadcast(state, [2], CONTEXT))[2] == lost


def test_a_discriminator_on_which_its_new_client_keeps_failing_is_given_up_after_three_rounds_and_the_journal_says_so():
    algorithm = MDGAN()
    context = replace(CONTEXT, cohort=(0, 1, 2))
    state, memories = algorithm.init(trainer_of().initial(), ADVERSARIAL), {k: {} for k in range(3)}
    state = algorithm.update(state, one_round(algorithm, state, memories, context=context, **SMALL), context)
    sent, incidents_of_rounds = [], []
    for partitions in (
        (0, 1, 2),
        (0, 1),
        (0, 1, 2),
        (0, 1, 2),
        (0, 1, 2),
    ):  # client 2 is asked, but in one round, and fails
        context = replace(CONTEXT, cohort=partitions)
        sent.append(bool(arriving(algorithm.broadcast(state, [2], context))[2] != tree.digest({})))
        replies = one_round(algorithm, state, memories, context=context, **SMALL)[:2]
        incidents_of_rounds.append(algorithm.incidents(state, replies, context))
        state = algorithm.update(state, replies, context)
    assert sent == [True, True, True, True, False]
    assert [list(incidents) for incidents in incidents_of_rounds] == [[], [], [], [2], []]
    assert "was sent 3 times and is given up: it goes on with its own" in incidents_of_rounds[3][2]
    assert set(state.slots) == {"generator-moments", "discriminator-0", "discriminator-1"}


def test_a_discriminator_that_arrives_late_is_no_longer_counted():
    algorithm, context = MDGAN(), replace(CONTEXT, cohort=(0, 1, 2))
    state, memories = algorithm.init(trainer_of().initial(), ADVERSARIAL), {k: {} for k in range(3)}
    for answering in (3, 2, 2, 3, 2, 2):
        replies = one_round(algorithm, state, memories, context=context, **SMALL)[:answering]
        assert algorithm.incidents(state, replies, context) == {}
        state = algorithm.update(state, replies, context)
    assert {key: int(value) for key, value in state.slots["tries"].items()} == {"2": 2}


def test_a_discriminator_that_has_arrived_is_not_sent_again_over_what_its_client_made_of_it():
    algorithm = MDGAN(swap_every=2)
    state, memories = algorithm.init(trainer_of().initial(), ADVERSARIAL), {0: {}, 1: {}}
    sent = []
    for _ in range(4):
        sent.append(any("discriminator" in key for key in algorithm.broadcast(state, [0], CONTEXT)[0].arrays))
        replies = one_round(algorithm, state, memories, context=CONTEXT, **SMALL)
        state = algorithm.update(state, replies, CONTEXT)
    assert sent == [False, False, True, False]


@pytest.mark.parametrize(("every", "rounds"), [(0, []), (1, [1, 2, 3, 4]), (2, [2, 4])])
def test_discriminators_travel_in_the_rounds_of_a_swap_only(every, rounds):
    algorithm = MDGAN(swap_every=every)
    state, memories, travelled = algorithm.init(trainer_of().initial(), ADVERSARIAL), {0: {}, 1: {}}, []
    for round in range(1, 5):
        template = algorithm.reply_template(state, CONTEXT)
        replies = one_round(algorithm, state, memories, context=CONTEXT, **SMALL)
        assert all(reply.arrays.keys() == template.keys() for reply in replies)
        if any(key.startswith("discriminator") for key in template):
            travelled.append(round)
        state = algorithm.update(state, replies, CONTEXT)
    assert travelled == rounds


def test_a_lone_client_keeps_its_discriminator():
    algorithm = MDGAN()
    state, memories = algorithm.init(trainer_of().initial(), ADVERSARIAL), {0: {}}
    state = algorithm.update(state, one_round(algorithm, state, memories, context=CONTEXT, **SMALL), CONTEXT)
    payload = algorithm.broadcast(state, [0], CONTEXT)[0]
    assert not tree.select(payload.arrays, ["discriminator"])


def replies_of(gradients):
    """Returns replies of clients whose logits are zero, so that slopes are -1/2, and whose gradients are these."""
    size = LOCAL.batch_size
    return [
        Reply(k, 9, {"logits": torch.zeros(size), "gradients": torch.full((size, 1, 28, 28), value)})
        for k, value in enumerate(gradients)
    ]


@pytest.mark.parametrize(
    ("aggregate", "expected"), [("mean", 20.4), ("median", 2.0), ("trimmed-mean", 5 / 3), ("krum", 2.0)]
)
def test_a_robust_aggregate_replaces_the_mean_of_the_gradients_with_one_vote_a_client(aggregate, expected):
    algorithm = MDGAN(generator_steps=1, swap_every=0, by_label=False)
    context = replace(CONTEXT, aggregator=AGGREGATORS[aggregate]())
    _, labels = algorithm.inputs(1, context)
    pull = algorithm.pull(replies_of([1.0, 2.0, 2.0, -3.0, 100.0]), labels, context)
    assert torch.allclose(pull, torch.tensor(-0.5 / LOCAL.batch_size * expected))


def test_without_labels_from_all_every_client_counts_alike():
    silent = replace(CONTEXT, clients={**CLIENTS, 3: Client(9, None)})
    _, labels = MDGAN(generator_steps=1).inputs(1, silent)
    replies = replies_of([1.0, 2.0, 6.0, -3.0])
    pulls = [
        MDGAN(generator_steps=1, by_label=by_label).pull(replies, labels, context)
        for by_label, context in ((True, silent), (False, silent), (False, CONTEXT))
    ]
    assert torch.equal(pulls[0], pulls[1])
    assert torch.equal(pulls[0], pulls[2])
    own = MDGAN(generator_steps=1).pull(replies, torch.full((LOCAL.batch_size,), 2), CONTEXT)
    assert torch.allclose(own, torch.tensor(-0.5 / LOCAL.batch_size * 6.0))
