"""Copies of several clients' weights: each client's own, in memory that is used again."""

import torch

from client.batched.weight_copies import WeightCopies


def weights(num=3):
    generator = torch.Generator().manual_seed(num)
    return {
        "b.bias": torch.randn(num, 4, generator=generator),
        "a.weight": torch.randn(num, 2, 2, generator=generator),
        "a.steps": torch.arange(num),
    }


def addresses(copies):
    return [next(iter(copy.values())).data_ptr() for copy in copies]


def test_copies_are_those_of_each_client_in_order_of_names_and_of_float32_alone():
    given = weights()
    copies = WeightCopies().take(given)
    assert [list(copy) for copy in copies] == [["a.weight", "b.bias"]] * 3
    for k, copy in enumerate(copies):
        assert all(torch.equal(value, given[name][k]) for name, value in copy.items())
    assert WeightCopies().take({"steps": torch.arange(2)}) == [{}, {}]


def test_memory_is_used_again_only_when_nobody_holds_a_copy():
    pool = WeightCopies()
    first = pool.take(weights())
    kept, before = first[1]["b.bias"], addresses(first)
    second = pool.take({name: value + 1 for name, value in weights().items()})
    assert not set(addresses(second)) & set(before)
    assert torch.equal(kept, weights()["b.bias"][1]), "what is held is not written to"
    del first, second, kept
    assert addresses(pool.take(weights(2))) == before[:2]
    larger = pool.take(weights(5))
    assert [torch.equal(copy["b.bias"], weights(5)["b.bias"][k]) for k, copy in enumerate(larger)] == [True] * 5


def test_who_writes_to_a_copy_does_not_seem_to_write_to_another():
    copies = WeightCopies().take(weights())
    copies[0]["a.weight"].zero_()
    assert copies[0]["a.weight"]._version == 1
    assert copies[1]["a.weight"]._version == 0
