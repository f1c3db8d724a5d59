import inspect

import pytest
import torch
import torch.nn.functional as F
from torch._C import _functorch
from torch._functorch import pyfunctorch

from client.functional.vectorised import Generators, vectorised
from common.objectives.augment import CHANGES, change, num_uniforms
from common.seeding import torch_generator


def streams(num=3):
    return [torch_generator(k, "test") for k in range(num)]


def test_what_it_takes_of_functorch_is_there():
    # Private: a new torch may move them, and this test says so.
    tensor = torch.arange(6.0).view(2, 3)
    level = _functorch._vmap_increment_nesting(3, "error")
    try:
        assert _functorch.current_level() == level
        batched = _functorch._add_batch_dim(tensor, 1, level)
        assert _functorch.is_batchedtensor(batched)
        assert not _functorch.is_batchedtensor(tensor)
        assert (batched.shape, _functorch.maybe_get_bdim(batched)) == ((2,), 1)
        assert _functorch.maybe_get_bdim(tensor) == -1
        assert _functorch.get_unwrapped(batched) is not None
        assert torch.equal(_functorch._remove_batch_dim(batched, level, 3, 0), tensor.T)
    finally:
        _functorch._vmap_decrement_nesting()
    assert inspect.isfunction(pyfunctorch.temporarily_pop_interpreter_stack)


@pytest.mark.parametrize("name", CHANGES)
def test_the_images_of_each_client_are_changed_as_alone(name):
    images, uniforms = torch.randn(3, 4, 3, 8, 8), torch.rand(3, 4, num_uniforms([name]))
    together = vectorised(lambda own, numbers: change(own, [name], numbers))(images, uniforms)
    alone = [change(own, [name], numbers) for own, numbers in zip(images, uniforms, strict=True)]
    torch.testing.assert_close(together, torch.stack(alone))


@pytest.mark.parametrize(
    "draw", [torch.randn, torch.rand, lambda *size, generator: torch.randperm(5, generator=generator)]
)
def test_draws_are_those_of_each_generator_to_the_bit_and_go_on(draw):
    together = Generators(streams())
    mirrors = streams()
    for _ in range(2):
        drawn = vectorised(lambda _: draw(2, 3, generator=together))(torch.zeros(3))
        assert torch.equal(drawn, torch.stack([draw(2, 3, generator=own) for own in mirrors]))
    assert together.used


def test_gradients_inside_are_each_clients_own_and_have_a_graph():
    def penalty(weight, x):
        looked_at = x.detach().requires_grad_(True)
        assert looked_at.requires_grad
        (gradient,) = torch.autograd.grad((looked_at @ weight).tanh().sum(), looked_at, create_graph=True)
        return gradient.square().sum()

    weights = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    inputs = torch.randn(3, 5, 4, dtype=torch.float64)
    found = vectorised(penalty)(weights, inputs)
    expected = torch.stack([penalty(weight, x) for weight, x in zip(weights, inputs, strict=True)])
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(found.sum(), weights), torch.autograd.grad(expected.sum(), weights), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_whether_a_tensor_has_a_graph_is_seen_inside():
    weights, constants = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3)
    seen = []

    def look(weight, constant):
        seen.append((weight.requires_grad, (2 * weight).requires_grad, constant.requires_grad))
        seen.append((weight.detach().requires_grad, constant.requires_grad_(False).requires_grad))
        return weight

    vectorised(look)(weights, constants)
    assert seen == [(True, True, False), (False, False)]


def test_gradients_of_what_is_common_to_all_are_refused():
    common = torch.randn(3, requires_grad=True)
    with pytest.raises(NotImplementedError, match="in common"):
        vectorised(lambda x: torch.autograd.grad((x * common).sum(), common)[0])(torch.randn(2, 3))
    with pytest.raises(NotImplementedError, match="grad_outputs"):
        vectorised(lambda x: torch.autograd.grad(2 * x, x, torch.ones(3))[0])(torch.randn(2, 3, requires_grad=True))


def test_what_is_clamped_in_place_is_clamped_for_all():
    values = torch.tensor([[-2.0, 0.5], [3.0, -0.1]])
    vectorised(lambda own: own.clamp_(-1.0, 1.0))(values)
    assert values.tolist() == [[-1.0, 0.5], [1.0, pytest.approx(-0.1)]]


@pytest.mark.parametrize("length", [1, 5])
def test_attention_is_each_clients_own_in_one_call(length, monkeypatch):
    generator, calls = torch_generator(0, "test"), []
    queries = torch.randn(3, 2, 4, length, 8, generator=generator)
    keys, values = torch.randn(2, 3, 2, 4, 5, 8, generator=generator)

    def attend(*given):
        return F.scaled_dot_product_attention(*given, is_causal=length > 1)

    alone = torch.stack([attend(*own) for own in zip(queries, keys, values, strict=True)])
    true = F.scaled_dot_product_attention
    with monkeypatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: calls.append(1) or true(*a, **k))
        together = vectorised(lambda *given: true(*given, is_causal=length > 1))(queries, keys, values)
    torch.testing.assert_close(together, alone)
    assert len(calls) == 1
    with pytest.raises(NotImplementedError, match="all clients have in common"):
        vectorised(lambda own: attend(own, keys[0], values[0]))(queries)


def test_a_memory_written_out_is_torchs_own():
    generator = torch_generator(0, "test")
    vectors, hidden, cells = torch.randn(3, 2, 7, 4, generator=generator), *torch.randn(2, 3, 2, 5, generator=generator)
    weights = [torch.randn(3, *size, generator=generator) for size in ((20, 4), (20, 5), (20,), (20,))]

    def run(vectors, hidden, cells, *weights):
        return torch.lstm(vectors, (hidden[None], cells[None]), weights, True, 1, 0.0, True, False, True)

    given = vectors, hidden, cells, *weights
    alone = [torch.stack(results) for results in zip(*(run(*own) for own in zip(*given, strict=True)), strict=True)]
    torch.testing.assert_close(list(vectorised(run)(*given)), alone)
