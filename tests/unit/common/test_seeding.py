import torch
from hypothesis import given
from hypothesis import strategies as st

from common.seeding import derive_seed, numpy_generator, torch_generator

SCOPE = st.tuples(st.integers(0, 2**40), st.text(max_size=5), st.integers(0, 2**40))


@given(SCOPE, SCOPE)
def test_different_scopes_have_different_seeds(a, b):
    assert (derive_seed(*a) == derive_seed(*b)) == (a == b)


@given(SCOPE)
def test_seeds_fit_every_generator(scope):
    assert 0 <= derive_seed(*scope) < 2**63


def test_seeds_are_the_same_on_every_machine():
    # Written down once: a change here changes every result that users have.
    assert derive_seed(0, "client", 3, "round", 7) == 3773057003922877929


def test_generators_repeat_and_leave_the_global_ones_alone():
    before = torch.random.get_rng_state()
    first, again = (torch.randn(4, generator=torch_generator(1, "x")) for _ in range(2))
    assert torch.equal(first, again)
    assert numpy_generator(1, "x").integers(1000) == numpy_generator(1, "x").integers(1000)
    assert torch.equal(before, torch.random.get_rng_state())
