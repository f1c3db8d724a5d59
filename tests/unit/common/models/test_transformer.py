"""The transformer, by its definition."""

import math

import pytest
import torch
import torch.nn.functional as F

from common.errors import ConfigError
from common.examples import TextSpec
from common.examples.text import END_TOKEN
from common.models.transformer import Mixing, Transformer, attended, rotation, turned
from common.objectives import Batch
from common.objectives.next_token import NextToken
from common.seeding import torch_generator

SPEC = TextSpec(9, 5, "abcde", 3)


def decoder(spec=SPEC, **options):
    return Transformer(**{"layers": 2, "heads": 2, "width": 16} | options).build(spec, 0)["tokens"].eval()


def test_attention_is_a_mean_of_values_up_to_the_query_by_hand():
    generator = torch_generator(0, "test")
    queries, keys, values = torch.randn(3, 2, 4, 5, 8, generator=generator)
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(8)
    shares = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -math.inf).softmax(-1)
    torch.testing.assert_close(attended(queries, keys, values), shares @ values, atol=1e-5, rtol=0)
    last = attended(queries[..., -1:, :], keys, values)
    torch.testing.assert_close(last, shares[..., -1:, :] @ values, atol=1e-5, rtol=0)


def test_rotary_positions_by_hand():
    # per head 4: angles of place p are p and p / 100; halves are the two coordinates
    turn = rotation(3, 1, 4, torch.zeros(1))
    found = turned(torch.tensor([[1.0, 0.0, 0.0, 2.0]]), turn)
    expected = [math.cos(3), -2 * math.sin(0.03), math.sin(3), 2 * math.cos(0.03)]
    assert found.tolist()[0] == pytest.approx(expected, abs=1e-6)


def test_scores_of_turned_vectors_depend_on_how_far_apart_they_are_alone():
    query, key = torch.randn(2, 1, 8, generator=torch_generator(0, "test"), dtype=torch.float64)

    def score(one, other):
        return turned(query, rotation(one, 1, 8, query)) @ turned(key, rotation(other, 1, 8, key)).T

    assert score(2, 5).item() == pytest.approx(score(40, 43).item(), abs=1e-6)
    assert abs(score(2, 5).item() - score(2, 6).item()) > 1e-3


def test_it_has_as_many_weights_as_by_hand():
    # a block: attention 16 * 48 + 48, out 16 * 16 + 16, wide 16 * 64 + 64, narrow 64 * 16 + 16, two norms of 16,
    # two mixings of three earlier places
    block = 816 + 272 + 1088 + 1040 + 32 + 2 * 3 * 16
    # tokens (3 + 5) * 16 that logits are made with too, labels 3 * 16, a norm
    assert sum(weight.numel() for weight in decoder().parameters()) == 2 * block + 128 + 48 + 16
    assert sum(weight.numel() for weight in decoder(conditional=False).parameters()) == 2 * block + 128 + 16
    assert not [name for name in decoder(mixing=1).state_dict() if "mix" in name], "stored runs have no such weights"
    assert sum(weight.numel() for weight in decoder(mixing=1).parameters()) == 2 * (block - 96) + 128 + 48 + 16


def test_mixing_adds_earlier_places_by_hand():
    mixing = Mixing(2, 3)
    with torch.no_grad():
        mixing.weight.copy_(torch.tensor([[10.0, 0.5], [100.0, 0.0]]))  # of one place back, and of two
    vectors = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]])
    mixed, last = mixing(vectors, None)
    assert mixed.tolist() == [[[1, 2], [3 + 10, 4 + 1], [5 + 30 + 100, 6 + 2], [7 + 50 + 300, 8 + 3]]]
    assert last.tolist() == vectors[:, 2:].tolist()
    first, kept = mixing(vectors[:, :1], None)
    torch.testing.assert_close(torch.cat([first, mixing(vectors[:, 1:], kept)[0]], dim=1), mixed)


def test_it_starts_nearly_even():
    spec = TextSpec(65, 33, "".join(map(chr, range(40, 110))), 3)
    network = decoder(spec, layers=4, heads=4, width=128)
    tokens = torch.randint(1, spec.num_tokens, (8, 64), generator=torch_generator(0, "tokens"))
    logits = network(tokens, torch.zeros(8).long())
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    assert math.log(spec.num_tokens) - 0.2 < loss.item() < math.log(spec.num_tokens) + 0.3


@pytest.mark.parametrize("mixing", [1, 2, 4])
def test_beyond_the_context_it_goes_on_from_the_last_half_of_it(mixing):
    network, context = decoder(mixing=mixing), SPEC.length - 1
    generator = torch_generator(0, "tokens")
    tokens, labels = torch.randint(1, 8, (2, 3 * context), generator=generator), torch.tensor([0, 2])
    state = network.begin(labels)
    with torch.no_grad():
        for place in range(tokens.shape[1]):
            logits, state = network.advance(tokens[:, place], labels, state)
            # full at 8, it begins again from the last 4 and the new one, and is full again every 4
            first = 0 if place < context else (place - context) // 4 * 4 + 4
            expected = network(tokens[:, first : place + 1], labels)[:, -1]
            torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
            assert place + 1 - first <= context


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigError, match="width=16 is no multiple of twice heads=3"):
        decoder(heads=3)


def test_a_small_one_learns_to_count():
    """Class k counts on from its k-th character; the first of a text follows from the label alone."""
    spec = TextSpec(7, 1, "abcdef", 3)
    networks = Transformer(layers=1, heads=2, width=16).build(spec, 0)
    labels = torch.arange(12) % 3
    texts = 3 + (labels[:, None] + torch.arange(6)) % 6
    rows = torch.cat([torch.full((12, 1), END_TOKEN), texts], dim=1)
    (phase,) = NextToken().phases()
    optimiser = torch.optim.Adam(networks.parameters(), lr=0.02)
    for _ in range(60):
        loss, watched = phase.loss(networks, Batch(rows, labels, {}, torch.Generator()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert watched["training-accuracy"] == 1
    sampler = Transformer(layers=1, heads=2, width=16, temperature=0.2).sampler(networks.eval())
    noise = torch.randn(12, 6, generator=torch_generator(0, "noise"))
    with torch.no_grad():
        assert torch.equal(sampler(noise, labels), texts)
