"""Text from noise: by hand, with prompts, of any length, and of mixtures."""

import pytest
import torch
from torch import nn

from common.examples import TextSpec
from common.examples.text import END_TOKEN, PAD_TOKEN, UNKNOWN_TOKEN
from common.generation import Mixture, draw_noise
from common.models.tokens import TextSampler, TokenNetwork
from common.models.transformer import Transformer
from common.seeding import torch_generator
from common.writing import noise_of_texts, tokens_of, unknown_characters, until, write_in_parts

SPEC = TextSpec(9, 4, "abc", 2)
A, B, C = 3, 4, 5


class Follows(TokenNetwork):
    """After each token its follower for sure; after the end of a text ``first``, or the label's letter."""

    def __init__(self, after, spec=SPEC):
        super().__init__()
        self.spec, self.after = spec, after
        self.place = nn.Parameter(torch.empty(0))

    def begin(self, labels):
        return None

    def advance(self, tokens, labels, state):
        following = torch.tensor([self.after.get(int(token), END_TOKEN) for token in tokens])
        return nn.functional.one_hot(following, self.spec.num_tokens) * 1000.0, None

    def forward(self, tokens, labels):
        return torch.stack([self.advance(column, labels, None)[0] for column in tokens.T], dim=1)


@pytest.fixture
def written():
    """Returns a sampler with weights of a transformer, and what writes texts with it."""
    networks = Transformer(layers=1, heads=1, width=8).build(SPEC, seed=3)
    sampler = TextSampler(networks["tokens"]).eval()

    def write(num=3, length=9, seed=0, prompts=(), sampler=sampler):
        return torch.cat(list(write_in_parts(sampler, torch.arange(num) % 2, seed, length, prompts)))

    return write


def test_a_text_goes_on_from_its_own_prompt_whatever_stands_beside_it():
    sampler = TextSampler(Follows({END_TOKEN: A, A: B, B: C, C: END_TOKEN}))
    prompts = tokens_of(SPEC, ["", "a", "ab", "cab"])
    made = sampler(torch.zeros(4, 4), torch.zeros(4, dtype=torch.int64), prompts)
    assert made.tolist() == [
        [A, B, C, END_TOKEN],
        [B, C, END_TOKEN, PAD_TOKEN],
        [C, END_TOKEN, PAD_TOKEN, PAD_TOKEN],
        [C, END_TOKEN, PAD_TOKEN, PAD_TOKEN],
    ]


def test_prompts_of_several_lengths_are_as_each_alone(written):
    prompts = ["", "abcabcabcabcab", "b", "ca"]
    together = written(4, 12, prompts=prompts)
    noise = noise_of_texts(4, (9,), 12, 0)
    sampler = TextSampler(Transformer(layers=1, heads=1, width=8).build(SPEC, seed=3)["tokens"]).eval()
    for place, prompt in enumerate(prompts):
        alone = sampler(noise[place : place + 1], torch.tensor([place % 2]), tokens_of(SPEC, [prompt]))
        assert torch.equal(SPEC.to_stored(alone)[0], together[place])


def test_longer_and_more_texts_begin_with_shorter_and_fewer(written):
    assert torch.equal(written(70, 30)[:5, :12], written(5, 12))
    assert not torch.equal(written(5, 12, seed=1), written(5, 12))
    assert torch.equal(noise_of_texts(5, (9,), 9, 7), draw_noise(5, (9,), 7))
    noise = noise_of_texts(400, (9,), 40, 0)
    assert abs(float(noise.mean())) < 0.03
    assert abs(float(noise.std()) - 1) < 0.03
    assert len(noise.unique()) > 0.99 * noise.numel()


def test_temperature_and_top_p_are_those_that_are_requested():
    sampler = TextSampler(Follows({}), 1.0, 1.0)
    logits = torch.zeros(1, SPEC.num_tokens)
    logits[0, A] = torch.tensor(3.0).log()  # with the end: 3 of 6 to a, 1 of 6 each to b, c and the end
    likely = sampler._probabilities(logits)
    torch.testing.assert_close(likely[0, [END_TOKEN, A, B, C]], torch.tensor([1 / 6, 1 / 2, 1 / 6, 1 / 6]).double())
    cold = sampler.adapted(temperature=0.5)._probabilities(logits)
    torch.testing.assert_close(cold[0, A], torch.tensor(9 / 12).double())
    assert sampler.adapted(top_p=0.5)._probabilities(logits)[0].count_nonzero() == 1
    assert sampler.adapted(top_p=0.5, temperature=None).temperature == 1.0
    with pytest.raises(Exception, match="truncation=2"):
        sampler.adapted(truncation=2.0)


def test_work_ends_where_who_waits_for_it_says_so():
    class EnoughError(Exception):
        pass

    steps = []

    def step():
        steps.append(1)
        if len(steps) == 3:
            raise EnoughError

    sampler = TextSampler(Follows({END_TOKEN: A, A: A}))
    with pytest.raises(EnoughError):
        sampler(torch.zeros(2, 1000), torch.zeros(2, dtype=torch.int64), on_step=step)
    assert len(steps) == 3


def test_unknown_characters_of_a_prompt_are_named():
    assert unknown_characters(SPEC, ["abx", "yab", "x"]) == "xy"
    assert SPEC.encode("axb").tolist() == [A, UNKNOWN_TOKEN, B]
    assert unknown_characters(TextSpec(9, 4, "", 1), ["é€x"]) == ""
    assert (until("ab--c--d", "--"), until("abc", "--"), until("abc", "")) == ("ab", "abc", "abc")


def mixture(shares):
    return Mixture([TextSampler(Follows({END_TOKEN: it, it: it})) for it in (A, B)], torch.tensor(shares)).eval()


def test_a_mixture_writes_texts_of_any_length_by_the_shares_of_the_label():
    both = mixture([[1.0, 0.0], [0.0, 1.0]])
    for length in (4, 9, 20):
        made = both(torch.randn(8, length, generator=torch_generator(0)), torch.arange(8) % 2)
        assert made.tolist() == [[A] * length, [B] * length] * 4
    prompts = tokens_of(SPEC, ["ab", "b", "a"])
    given = both(torch.zeros(3, 3), torch.tensor([0, 1, 0]), prompts)
    assert given.tolist() == [[END_TOKEN, 0, 0], [B, B, B], [A, A, A]]
    assert both.adapted(temperature=0.5).generators[1].temperature == 0.5
    assert both.generators[1].temperature == 1.0


def test_who_writes_a_longer_text_of_a_mixture_is_who_writes_a_row():
    both = mixture([[1.0, 1.0], [1.0, 1.0]])
    noise = noise_of_texts(100, (9,), 40, 0)
    labels = torch.zeros(100, dtype=torch.int64)
    chosen = both.choose(noise, labels)
    assert torch.equal(chosen, both.choose(noise[:, :9], labels))
    assert 30 < int(chosen.sum()) < 70


def test_a_mixture_expects_what_its_members_do_in_proportion_to_their_shares():
    both = mixture([[3.0, 0.0], [1.0, 1.0]])
    tokens = torch.tensor([[END_TOKEN, A, A], [END_TOKEN, A, A]])
    found = both.log_probabilities(tokens, torch.tensor([0, 1])).exp()
    assert found.shape == (2, 2, SPEC.num_tokens)
    torch.testing.assert_close(found[0, 0, [A, B]], torch.tensor([0.75, 0.25]))
    torch.testing.assert_close(found[0, 1, [A, END_TOKEN]], torch.tensor([0.75, 0.25]))
    torch.testing.assert_close(found[1, 0, [A, B]], torch.tensor([0.0, 1.0]))
