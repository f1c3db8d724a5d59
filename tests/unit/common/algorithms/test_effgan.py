"""EFFGAN: averaging, then fine-tuning, then a mixture of the clients' own generators."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from training import MODEL, SPEC, one_round, trainer_of

from common import tree
from common.algorithms import ALGORITHMS, Client
from common.algorithms.effgan import EFFGAN
from common.algorithms.fedavg import FedAvg
from common.components import parse
from common.config import RunConfig
from common.errors import ConfigError
from common.generation import MIXTURE, generate, load_sampler
from common.models.base import ADVERSARIAL
from server import checkpoint
from server.checkpoint import Checkpoint
from server.clients import admission
from server.rounds.base import Snapshot
from tests.unit.common.algorithms.training import make_context

COUNTS = {0: (9, 0, 1), 3: (0, 6, 4)}
CLIENTS = {k: Client(sum(counts), counts + (0,) * 7) for k, counts in COUNTS.items()}
CONTEXT = make_context(model=MODEL, clients=CLIENTS, num_rounds=5)


def rounds(algorithm, num, memories, state=None, context=CONTEXT):
    state = state or algorithm.init(trainer_of().initial(), ADVERSARIAL)
    for _ in range(num):
        replies = one_round(algorithm, state, memories, context=context)
        state = algorithm.update(state, replies, context)
    return state


def test_without_fine_tuning_it_is_fedavg_to_the_bit():
    ends = [rounds(algorithm, 2, {0: {}, 3: {}}) for algorithm in (FedAvg(), EFFGAN(finetune=0))]
    assert tree.digest(ends[0].parameters) == tree.digest(ends[1].parameters)
    assert tree.digest(ends[0].published(ADVERSARIAL)) == tree.digest(ends[1].published(ADVERSARIAL))


def test_with_all_rounds_of_fine_tuning_each_client_trains_alone():
    memories = {0: {}, 3: {}}
    state = rounds(EFFGAN(finetune=1, ema_half_life=0), 3, memories)
    for k in memories:
        weights = trainer_of().initial()
        for round in (1, 2, 3):
            alone = trainer_of(k, round)
            alone.load(weights)
            alone.fit()
            weights = alone.parameters()
        assert tree.digest(memories[k]["personal"]) == tree.digest(weights)
        published = {key.removeprefix(f"{k}."): v for key, v in state.slots[MIXTURE].items() if key.startswith(f"{k}.")}
        assert tree.digest(published) == tree.digest(tree.select(weights, ["generator"]))
    assert tree.digest(state.parameters) == tree.digest(trainer_of().initial())


@pytest.mark.parametrize("sync", ["both", "generator"])
def test_fine_tuning_starts_from_the_average_and_leaves_it_as_it_is(sync):
    algorithm, memories = EFFGAN(finetune=0.4, sync=sync), {0: {}, 3: {}}  # the last 2 rounds of 5
    state = rounds(algorithm, 3, memories)
    assert state.slots == {}
    assert state.average
    kept = [dict(memory) for memory in memories.values()]
    assert not algorithm.finetunes(replace(state, round=2), CONTEXT)
    assert algorithm.finetunes(state, CONTEXT)
    tuned = rounds(algorithm, 1, memories, state)
    assert tree.digest(tuned.parameters) == tree.digest(state.parameters)
    assert tuned.average == {}
    start = trainer_of(3, 4)
    if sync == "generator":
        start.load(kept[1]["personal"])
    start.load(state.parameters)
    start.fit()
    assert tree.digest(memories[3]["personal"]) == tree.digest(start.parameters())
    assert tree.networks_of(memories[3]["personal"]) == ("generator", "discriminator")
    again = rounds(algorithm, 1, memories, tuned)
    assert tree.digest(again.published(ADVERSARIAL)) != tree.digest(tuned.published(ADVERSARIAL))


def test_a_published_generator_is_the_average_of_its_clients_from_the_shared_average_on():
    algorithm, memories = EFFGAN(finetune=0.4, ema_half_life=2, ema_ramp=1), {0: {}, 3: {}}
    state = rounds(algorithm, 3, memories)
    expected = state.average["generator.layers.0.weight"]
    assert not torch.equal(expected, state.parameters["generator.layers.0.weight"])
    for _ in range(2):
        state = rounds(algorithm, 1, memories, state)
        own = memories[3]["personal"]["generator.layers.0.weight"]
        expected = expected * 0.5**0.5 + own * (1 - 0.5**0.5)
        torch.testing.assert_close(state.slots[MIXTURE]["3.generator.layers.0.weight"], expected)


def test_a_run_for_more_rounds_goes_on_fine_tuning():
    state = rounds(EFFGAN(finetune=1), 1, {0: {}, 3: {}})
    assert EFFGAN(finetune=0.2).finetunes(state, replace(CONTEXT, num_rounds=100))


def test_a_client_that_has_not_fine_tuned_has_the_shared_generator_in_the_mixture():
    algorithm = EFFGAN(finetune=1)
    first = rounds(algorithm, 1, {3: {}})
    entries = {key.partition(".")[0] for key in first.slots[MIXTURE]}
    assert entries == {"-1", "3", "shares"}
    assert first.slots[MIXTURE]["shares"].tolist() == [list(CLIENTS[k].label_counts) for k in (0, 3)]
    shared = {key[3:]: value for key, value in first.slots[MIXTURE].items() if key.startswith("-1.")}
    assert tree.digest(shared) == tree.digest(algorithm.init(trainer_of().initial(), ADVERSARIAL).average)
    both = rounds(algorithm, 1, {0: {}, 3: {}}, first)
    assert {key.partition(".")[0] for key in both.slots[MIXTURE]} == {"0", "3", "shares"}


def test_a_client_that_keeps_its_labels_to_itself_counts_as_if_they_were_even():
    context = replace(CONTEXT, clients={0: CLIENTS[0], 3: Client(50)})
    state = rounds(EFFGAN(finetune=1), 1, {0: {}, 3: {}}, context=context)
    assert state.slots[MIXTURE]["shares"].tolist() == [list(CLIENTS[0].label_counts), [5.0] * 10]


def test_the_mixture_survives_a_checkpoint_to_the_bit_with_more_than_ten_clients(tmp_path):
    context = make_context(model=MODEL, clients={k: Client(1, (k,) * 10) for k in (0, 2, 10)}, num_rounds=2)
    memories = {k: {} for k in context.clients}
    algorithm = EFFGAN(finetune=1)
    state = rounds(algorithm, 1, memories, context=context)
    path = checkpoint.save_checkpoint(tmp_path, Checkpoint(Snapshot(state, memories), {}, {}), keep=1)
    loaded = checkpoint.load_checkpoint(path).snapshot
    ends = []
    for start, kept in ((state, memories), (loaded.state, loaded.clients)):
        end = rounds(algorithm, 1, {k: dict(kept[k]) for k in memories}, start, context)
        images = generate(load_sampler(MODEL, SPEC, end.published(ADVERSARIAL)), torch.arange(30) % 10, 1)
        ends.append((tree.digest(end.published(ADVERSARIAL)), tree.digest({"images": images})))
    assert ends[0] == ends[1]
    assert loaded.state.slots[MIXTURE]["shares"][:, 0].tolist() == [0, 2, 10]


def test_the_template_of_a_reply_is_what_is_sent_in_that_phase():
    for algorithm, networks in ((EFFGAN(finetune=1), ("generator",)), (EFFGAN(finetune=0), None)):
        state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
        (reply,) = one_round(algorithm, state, {0: {}}, context=CONTEXT)
        template = algorithm.reply_template(state, CONTEXT)
        assert template.keys() == reply.arrays.keys()
        assert networks is None or tree.networks_of(template) == networks


@pytest.mark.parametrize("half_life", [0, 2])
def test_a_clients_update_is_measured_from_its_own_last_weights_and_not_from_the_shared_ones(half_life):
    clients = {k: Client(9) for k in range(4)}
    context = replace(CONTEXT, clients=clients)
    algorithm = EFFGAN(finetune=1, ema_half_life=half_life)
    memories = {k: {} for k in clients}
    state = algorithm.init(trainer_of().initial(), ADVERSARIAL)
    for _ in range(12):  # only client 3 is asked, as may happen with a fraction of the clients
        state = rounds(algorithm, 1, {3: memories[3]}, state, context)

    def refused(memories):
        template = algorithm.reply_template(state, context)
        origins = {k: algorithm.origins(state, k, template) for k in clients}
        replies = one_round(algorithm, state, memories, context=context)
        return admission.outliers({reply.partition: reply for reply in replies}, origins, template.keys(), 3.0)

    template = algorithm.reply_template(state, context)
    (gone,) = one_round(algorithm, state, {3: dict(memories[3])}, context=context)
    (fresh,) = one_round(algorithm, state, {1: {}}, context=context)
    assert tree.distance(gone.arrays, template) > 3 * tree.distance(fresh.arrays, template)
    assert refused({k: dict(memory) for k, memory in memories.items()}) == {}
    assert refused({k: {} for k in clients}) == {}  # one that lost its memory begins anew from the shared weights
    thrown = {"personal": {key: 2 * value for key, value in memories[3]["personal"].items()}}
    assert set(refused({**{k: {} for k in clients}, 3: thrown})) == {3}


def test_a_discriminator_alone_cannot_be_published():
    with pytest.raises(ConfigError, match="sync=both or generator"):
        parse("algorithm", ALGORITHMS, "effgan sync=discriminator")


def test_a_run_that_might_end_before_the_fine_tuning_is_refused():
    for finetune, refused in ((0, False), (0.2, True), (1, False)):
        values = {"algorithm": f"effgan finetune={finetune}", "federation.patience": 3}
        if refused:
            with pytest.raises(ConfigError, match=r"federation.patience=3 may end the run before .*effgan"):
                RunConfig.from_flat(values)
        else:
            assert RunConfig.from_flat(values).federation.patience == 3
