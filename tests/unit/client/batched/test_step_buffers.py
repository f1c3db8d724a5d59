"""What a cohort's batches are made of: one pool of examples, and blocks of steps written over each other."""

import pytest
import torch

from client import batches
from client.batched.stacked_trainer import Request
from client.batched.step_buffers import ExamplePool, StepBuffers, stacked
from client.batches import Assignment, Block, Drawn
from client.device_memory import numbered, on_device, resident, take
from client.trainer import Trainer
from common.examples import ImageSpec
from common.tree import FrozenTree
from tests.unit.client.batched.test_group import EXACT, apart, assigned, cohort, in_float64, making, together
from tests.unit.kinds import small_set

__all__ = ["in_float64"]
SPEC, CPU = ImageSpec(1, 28, 10), torch.device("cpu")


def rows(*numbers):
    return torch.tensor(numbers).numpy()


def test_parts_of_one_data_set_share_it_and_others_are_copied_beside_each_other():
    whole = small_set(SPEC, 12, 0, (1, 2))
    parts = [whole.view(rows(3, 1)), whole.view(rows(7, 8, 9)), whole]
    pool = ExamplePool(SPEC, CPU)
    for sets in (parts, [part.subset(rows(*range(len(part)))) for part in parts], [small_set(SPEC, 4, 5, (3,)), whole]):
        places = pool.place(sets)
        for own, where in zip(sets, places, strict=True):
            chosen = torch.arange(len(own)) + where if isinstance(where, int) else where
            examples, labels = pool.take(chosen[None])
            assert torch.equal(examples[0], SPEC.to_input(own.stored))
            assert torch.equal(labels[0], own.labels)
        assert (pool.address[0] == whole.stored.data_ptr()) == (sets is parts)


def test_copies_stay_where_they_are_unless_they_become_more():
    pool = ExamplePool(SPEC, CPU)
    addresses = []
    for nums in ((5, 3), (4, 2), (6, 3)):
        pool.place([small_set(SPEC, num, k, (1,)) for k, num in enumerate(nums)])
        addresses.append(pool.address)
    assert addresses[0] == addresses[1] != addresses[2]


def drawn(start, num):
    return Drawn(torch.arange(start, start + num)[:, None], {"noise": 10.0 * torch.arange(start, start + num)[:, None]})


def test_step_buffers_give_the_batches_of_a_step_by_number_and_by_its_own_count():
    """Two clients, two steps of two batches: client 0 has examples 0 to 3, client 1 4 to 7."""
    whole = small_set(SPEC, 8, 0, (1, 2))
    pool = ExamplePool(SPEC, CPU)
    blocks = [Block(6, 2, {"d": drawn(0, 4)}), Block(6, 2, {"d": drawn(0, 4)})]
    places = pool.place([whole.view(rows(0, 1, 2, 3)), whole.view(rows(4, 5, 6, 7))])
    first, num_steps, together = stacked(blocks, places, CPU)
    assert (first, num_steps) == (6, 2)
    buffers = StepBuffers(pool, together, num_steps)
    buffers.at.fill_(1)
    for step in (1, None):
        batch = buffers.batch("d", 1, step)
        assert torch.equal(batch["examples"][:, 0], SPEC.to_input(whole.stored[[3, 7]]))
        assert batch["draws.noise"].tolist() == [[30.0], [30.0]]
    for step, value in ((0, 1.0), (None, 2.0)):
        buffers.write({"loss": [torch.tensor([value, -value])]}, step)
    assert buffers.found(2)["loss"].tolist() == [[1.0, -1.0], [2.0, -2.0]]
    assert buffers.fits(stacked([Block(8, 1, {"d": drawn(0, 2)})] * 2, places, CPU)[2])
    assert not buffers.fits(stacked([Block(8, 3, {"d": drawn(0, 6)})] * 2, [0, 0], CPU)[2])
    assert not buffers.fits(stacked([Block(8, 2, {"d": drawn(0, 4)})] * 3, [0, 0, 0], CPU)[2])


@pytest.mark.parametrize("recorded", [False, True])
def test_rounds_in_several_blocks_on_parts_of_one_data_set_train_as_in_the_loop(in_float64, monkeypatch, recorded):
    monkeypatch.setattr(batches, "MOST_NUMBERS", 2 * 4 * 784)  # two steps a block
    spec = making(steps=5, learning_rate=2.0**-8, adversary_learning_rate=2.0**-7)
    whole = small_set(SPEC, 40, 0, range(10))
    shards = [whole.view(rows(*range(start, start + 9))) for start in (0, 9, 20)]
    group, members = cohort(spec)
    recordings = []
    if recorded:
        group._graphs.record = lambda compute: recordings.append(compute) or compute
    for round in (1, 2):
        for k, member in enumerate(members):
            assigned(member, k, round=round)
            member.assign(Assignment(shards[k], 0, k, round), None)
        together(group, members)
        assert not group._refused
        for k, member in enumerate(members):
            alone = assigned(Trainer(spec), k)
            alone.assign(Assignment(shards[k], 0, k, round), None)
            alone.fit()
            assert apart(member, alone) < EXACT
    assert len(recordings) == recorded


def test_what_a_member_draws_before_it_waits_is_taken_once():
    spec = making()
    _, members = cohort(spec, num=2)
    request = Request()
    phases = members[0].step_phases(None)
    members[0]._fit = lambda member, requested: {}
    members[0].fit()
    kept = members[0]._drawn
    assert members[0].blocks(phases, kept[0])[0] is kept[1]
    assert members[0]._drawn is None
    generator, blocks = members[0].blocks(phases, request)
    assert generator is not kept[1]
    assert torch.equal(next(blocks).phases["discriminator"].chosen, next(kept[2]).phases["discriminator"].chosen)


def test_a_copy_on_another_device_is_made_once():
    values, meta = torch.arange(6.0), torch.device("meta")
    assert resident(values, CPU) is values
    assert resident(values, meta) is resident(values, meta)
    assert resident(values.clone(), meta) is not resident(values, meta)
    assert take(values, torch.tensor([4, 0])).tolist() == [4.0, 0.0]


def test_a_device_is_known_by_its_number_as_that_of_its_tensors_is():
    assert numbered(torch.device("cpu:0")) == CPU  # as cuda is cuda:0, where there is one
    assert torch.device("cpu:0") != CPU
    assert ExamplePool(SPEC, torch.device("cpu:0"))._device == CPU
    values = torch.ones(2)
    assert resident(values, torch.device("cpu:0")) is values


def test_weights_are_moved_to_a_device_once_for_all_who_load_them():
    meta = torch.device("meta")
    weights = FrozenTree({"b": torch.ones(2), "a": torch.zeros(2, 3)})
    moved, again = on_device(weights, meta), on_device(weights, meta)
    assert {key: (value.shape, value.device) for key, value in moved.items()} == {
        key: (value.shape, meta) for key, value in weights.items()
    }
    assert moved["a"]._base is again["a"]._base
    assert on_device(weights, CPU) is weights
    counted = FrozenTree({"a": torch.zeros(2), "steps": torch.zeros((), dtype=torch.int64)})
    assert on_device(counted, meta) is counted
